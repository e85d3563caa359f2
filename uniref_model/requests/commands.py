"""From commands, spoken words, masks and services to calls of the trackers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from ..errors import MaskError, ObjectIdError, PromptError, UniRefError
from ..known_objects import check_known_name
from ..limits import MAX_PIXELS, MAX_TEXT, check_text, quoted
from ..prompts import Prompt
from ..tracking.ids import ObjectIds
from ..tracking.spoken import (
    Forget,
    ForgetKnown,
    Pause,
    Resume,
    Teach,
    match_exactly,
    match_part,
    match_words,
    parse_spoken,
)
from ..tracking.teaching import Teacher
from ..tracking.types import TrackedObject
from .camera import Camera, ShownObject, find_drawn, find_shown
from .messages import AddRequest, TeachRequest, read_add, read_masks, read_teach

_MOST_NAMED = 20  # ids that an answer lists


class CommandError(UniRefError):
    """A command that cannot be carried out as it stands: unknown action, unknown camera, node not
    configured."""


@dataclass(frozen=True)
class Answer:
    """What was done. object_ids: the objects concerned. message: a sentence for people. remarks: what of it
    is not quite as asked. views: of the known object concerned."""

    object_ids: tuple[str, ...]
    message: str
    remarks: tuple[str, ...] = ()
    views: int = 0


class Action(IntEnum):
    """The constants of TrackCommand.msg."""

    ADD = 1
    REMOVE = 2
    CLEAR = 3
    PAUSE = 4
    RESUME = 5
    REANCHOR = 6
    TEACH = 7
    FORGET_KNOWN = 8


class Commands:
    """Carries out commands on the cameras' trackers. Every method raises UniRefError with a text for
    people."""

    def __init__(
        self,
        cameras: Callable[[], Mapping[str, Camera]],
        set_enabled: Callable[[bool], str],
        ids: ObjectIds,
        max_pixels: Callable[[], int] = lambda: MAX_PIXELS,
        teacher: Callable[[], Teacher | None] = lambda: None,
        added: Callable[[Camera, str, Prompt], None] = lambda camera, object_id, prompt: None,
    ) -> None:
        """cameras: by name, empty while the node is not configured; their trackers share `ids`. set_enabled:
        pauses or resumes, says what it did. max_pixels: of a mask. teacher: keeps what is taught; None where
        nothing can be. added: told of every object that was added, with its prompt."""
        self._cameras = cameras
        self._set_enabled = set_enabled
        self._ids = ids
        self._max_pixels = max_pixels
        self._teacher = teacher
        self._added = added

    def carry_out(self, command: Any) -> Answer:
        """Do what a TrackCommand says."""
        actions = {
            Action.ADD: self.add,
            Action.REMOVE: lambda c: self.remove(c.object_id, c.camera),
            Action.CLEAR: lambda c: self.clear(c.camera),
            Action.PAUSE: lambda c: self.set_enabled(False),
            Action.RESUME: lambda c: self.set_enabled(True),
            Action.REANCHOR: lambda c: self.reanchor(c.object_id, c.camera),
            Action.TEACH: self.teach,
            Action.FORGET_KNOWN: lambda c: self.forget_known(c.text),
        }
        action = actions.get(command.action)
        if action is None:
            raise CommandError(f"action is {command.action}, expected one of ADD=1 to FORGET_KNOWN=8")
        return action(command)

    def say(self, words: str) -> Answer:
        """Carry out spoken words: a control such as "forget the red mug", else something to look for."""
        match parse_spoken(check_text(words.strip(), "the prompt", MAX_TEXT, PromptError)):
            case Forget(target=target):
                return self.clear() if target is None else self.forget(target)
            case Pause():
                return self.set_enabled(False)
            case Resume():
                return self.set_enabled(True)
            case Teach(name=name):
                return self.teach_request(TeachRequest(check_known_name(name)))
            case ForgetKnown(name=name):
                return self.forget_known(name)
            case look:
                return self._add(AddRequest(Prompt(look.prompt or None)))

    def add(self, message: Any) -> Answer:
        """Add one object, on one camera or on all. message: TrackCommand or AddObject.Request.

        What is drawn on an image goes, when no camera is named, to those that hold the image of its stamp.
        """
        return self._add(read_add(message, self._max_pixels()))

    def _add(self, request: AddRequest) -> Answer:
        cameras = self._meant(request)
        object_id = self._ids.claim(request.object_id)
        done: list[Camera] = []
        remarks: list[str] = []
        try:
            for camera in cameras:
                prompt, remark = _placed(camera, request)
                remarks += remark
                camera.tracker.add(prompt, object_id=object_id, label=request.label)
                self._added(camera, object_id, prompt)
                done.append(camera)
        except Exception:
            for camera in done:  # on all cameras or on none
                with contextlib.suppress(ObjectIdError):  # somebody removed it meanwhile
                    camera.tracker.remove(object_id)
            if not done:  # nobody has seen it
                self._ids.give_back(object_id)
            raise
        text = request.prompt.text
        what = f"looking for {quoted(text)}" if text else "following what was marked"
        return Answer((object_id,), "; ".join([f"object {object_id}: {what}", *remarks]), tuple(remarks))

    def click(self, point: Any, camera: str) -> Answer:
        """Add what a person clicked at in the overlay (geometry_msgs/Point, pixels).

        A click has no header: it is meant for the image shown last, the one of the last overlay that was
        published. A click on an object that is tracked already adds nothing, so a second click does no harm.
        """
        chosen = self._chosen(camera)[0]
        shown = chosen.shown or chosen.last
        if shown is None:
            raise MaskError("a click before the first image was processed")
        height, width = shown.frame.size
        if not (0 <= point.x < width and 0 <= point.y < height):  # true for not-a-number too
            raise MaskError(
                f"the click at ({point.x:g}, {point.y:g}) is outside the image of {width}x{height} pixels"
            )
        slot = int(shown.frame.label_image[int(point.y), int(point.x)])
        known = {item.id for item in chosen.tracker.objects}
        hit = [item.id for item in shown.frame.objects if item.slot == slot and item.id in known]
        if hit:
            return Answer(tuple(hit), f"object {hit[0]} is there already")
        prompt = Prompt(points=[(point.x, point.y)], image=shown.rgb)
        return self._add(AddRequest(prompt, camera=chosen.name))

    def add_masks(self, message: Any, camera: str = "") -> Answer:
        """Add every object of a mask image (mono8: one object, 0 and one other value; mono16: one a value).

        Without a camera's name: to those that hold the image of its stamp, else to all. Those that can be
        added are, when one cannot; the error then says which.
        """
        added: list[str] = []
        remarks: list[str] = []
        for request in read_masks(message, camera, self._max_pixels()):
            try:
                answer = self._add(request)
            except UniRefError as error:
                before = f" (added before it: {_list(added)})" if added else ""
                raise type(error)(f"{request.label or 'mask'}: {error}{before}") from error
            added += answer.object_ids
            remarks += answer.remarks
        text = f"following {len(added)} marked: {_list(added)}"
        return Answer(tuple(added), "; ".join([text, *dict.fromkeys(remarks)]))

    def remove(self, who: str, camera: str = "") -> Answer:
        """Remove the object with exactly this id; or with exactly this label or prompt, when only one has it.

        An id that was given out never falls back to words: asked twice, the second time finds nothing.
        """
        found = self._find(who, camera, match_exactly)
        if not found:
            raise self._nobody(who, camera)
        if len(found) > 1:
            raise ObjectIdError(f"{quoted(who)} names the objects {_list(found)}, expected one; use the id")
        return self._remove(found)

    def forget(self, words: str, camera: str = "") -> Answer:
        """Remove what spoken words name: an id, else every object of just these words (articles aside), else
        the only one whose label or prompt has them in it. Raises PromptError for no words."""
        if not words:
            raise PromptError("forget what? Say which object, such as 'the red mug', or everything")
        named = self._find(words, camera, match_words)
        found = named or self._find(words, camera, match_part)
        if not found:
            raise self._nobody(words, camera)
        if len(found) > 1 and not named:
            raise ObjectIdError(
                f"{quoted(words)} is part of the names of the objects {_list(found)}, expected one; say the "
                "whole name, or the id"
            )
        return self._remove(found)

    def _remove(self, found: Mapping[str, list[Camera]]) -> Answer:
        for object_id, cameras in found.items():
            for one in cameras:
                one.tracker.remove(object_id)
        return Answer(tuple(found), f"removed {_list(found)}")

    def _find(
        self, who: str, camera: str, match: Callable[[str, list[TrackedObject]], list[str]]
    ) -> dict[str, list[Camera]]:
        """The objects that `match` finds, by id, and the cameras that have them; of an id that was given out,
        the one object that it means, if it is there."""
        there = [(item, one) for one in self._chosen(camera) for item in one.tracker.objects]
        ids = [who] if self._ids.was_given(who) else match(who, [item for item, _ in there])
        found = {object_id: [one for item, one in there if item.id == object_id] for object_id in ids}
        return {object_id: cameras for object_id, cameras in found.items() if cameras}

    def _nobody(self, who: str, camera: str) -> ObjectIdError:
        known = self._known(camera)
        if self._ids.was_given(who):
            return ObjectIdError(f"the object {quoted(who)} is not there any more{known}")
        return ObjectIdError(f"no object has the id, label or prompt {quoted(who)}{known}")

    def clear(self, camera: str = "") -> Answer:
        """Remove every object."""
        removed = dict.fromkeys(
            object_id for one in self._chosen(camera) for object_id in one.tracker.clear()
        )
        return Answer(
            tuple(removed), f"removed {_list(removed)}" if removed else "there was nothing to remove"
        )

    def reanchor(self, object_id: str, camera: str = "") -> Answer:
        """Anchor the object anew at the next image in which it is seen well."""
        cameras = [one for one in self._chosen(camera) if object_id in {o.id for o in one.tracker.objects}]
        if not cameras:
            raise ObjectIdError(f"no object has the id {quoted(object_id)}{self._known(camera)}")
        for one in cameras:
            one.tracker.reanchor(object_id)
        return Answer((object_id,), f"object {object_id} will be anchored anew when next seen well")

    def teach(self, message: Any) -> Answer:
        """Know a thing by a name from now on. message: TeachObject.Request, or TrackCommand with the name as
        its text."""
        return self.teach_request(read_teach(message, self._max_pixels()))

    def teach_request(self, request: TeachRequest) -> Answer:
        """As `teach`. What is drawn without a stamp means the image that was shown last."""
        teacher = self._known_to()
        shown = self._shown_to(request)
        item = teacher.teach(request.name, shown.image, shown.prompt, replace=request.replace)
        for camera in self._chosen(""):
            if shown.object_id in camera.tracker.object_ids:
                camera.tracker.call(shown.object_id, item.name)
            camera.tracker.refresh_known()
        count = len(item.views)
        what = f"object {shown.object_id} is" if shown.object_id else "this is"
        text = f"{what} {quoted(item.name)} from now on, known by {count} view{'s' * (count > 1)}"
        return Answer((shown.object_id,) if shown.object_id else (), text, views=count)

    def forget_known(self, name: str) -> Answer:
        """Forget what the object of this name looks like; what is followed under it is followed on."""
        teacher = self._known_to()
        teacher.known.forget(name)
        for camera in self._chosen(""):
            camera.tracker.refresh_known()
        return Answer((), f"forgot what {quoted(name)} looks like")

    def _known_to(self) -> Teacher:
        self._chosen("")  # says when the node is not configured
        teacher = self._teacher()
        if teacher is None:
            raise CommandError("nothing can be taught here: there is no folder of known objects")
        return teacher

    def _shown_to(self, request: TeachRequest) -> ShownObject:
        cameras = self._chosen(request.camera)
        if request.prompt is None:
            return find_shown(cameras, request.object_id)
        return find_drawn(cameras, request.prompt, request.stamp)

    def set_enabled(self, enabled: bool) -> Answer:
        """Process images, or keep the objects and process none."""
        return Answer((), self._set_enabled(enabled))

    def _chosen(self, name: str) -> list[Camera]:
        cameras = self._cameras()
        if not cameras:
            raise CommandError("the node is not configured yet")
        if not name:
            return list(cameras.values())
        if name not in cameras:
            raise CommandError(
                f"camera {quoted(name)} is unknown, expected one of {', '.join(map(repr, cameras))}"
            )
        return [cameras[name]]

    def _meant(self, request: AddRequest) -> list[Camera]:
        """The cameras a request is for."""
        cameras = self._chosen(request.camera)
        if len(cameras) > 1 and request.of_a_stamp:
            return [camera for camera in cameras if camera.holds(request.stamp)] or cameras
        return cameras

    def _known(self, camera: str) -> str:
        ids = dict.fromkeys(item.id for one in self._chosen(camera) for item in one.tracker.objects)
        return f"; there are {_list(ids)}" if ids else "; there are no objects"


def _list(ids: Iterable[str]) -> str:
    """Ids for people, the first few of many."""
    known = list(ids)
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    return ", ".join(known[:_MOST_NAMED]) + more


def _placed(camera: Camera, request: AddRequest) -> tuple[Prompt, list[str]]:
    """The prompt with the image of its stamp, where the camera holds it; and remarks for people."""
    prompt = request.prompt
    if not request.of_a_stamp:
        return prompt, []
    image = camera.image_at(request.stamp)
    if not isinstance(image, str):
        return replace(prompt, image=image), []
    if request.exact_stamp:
        raise MaskError(f"{camera.topic}: {image}, and exact_stamp asks for no other (held_images)")
    return prompt, [f"{camera.topic}: {image}, so this applies to the next image"]
