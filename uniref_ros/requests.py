"""From commands, spoken words, masks and services to calls of the trackers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from uniref_model.errors import MaskError, ObjectIdError, PromptError, UniRefError
from uniref_model.limits import (
    MAX_PIXELS,
    MAX_POINTS,
    MAX_TEXT,
    check_count,
    check_name,
    check_text,
    quoted,
)
from uniref_model.tracking.ids import ObjectIds, check_object_id
from uniref_model.tracking.spoken import (
    Forget,
    Pause,
    Resume,
    match_exactly,
    match_part,
    match_words,
    parse_spoken,
)
from uniref_model.tracking.types import TrackedObject
from uniref_ros.camera import Camera
from uniref_ros.conversion import one_object, to_mask
from uniref_ros.msg import TrackCommand
from uniref_ros.stamps import in_words

_MOST_NAMED = 20  # ids that an answer lists


class CommandError(UniRefError):
    """A command that cannot be carried out as it stands: unknown action, unknown camera, node not
    configured."""


@dataclass(frozen=True)
class Answer:
    """What was done. object_ids: the objects concerned. message: a sentence for people. remarks: what of it
    is not quite as asked."""

    object_ids: tuple[str, ...]
    message: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wish:
    """The references and names of an object to add, taken out of a message and checked.

    stamp: of the image that mask, points and box refer to; zero or None for the next. image: that image
    itself, uint8 RGB [h,w,3], where it is known.
    """

    object_id: str | None = None
    label: str | None = None
    text: str | None = None
    mask: np.ndarray | None = None
    points: tuple[tuple[float, float], ...] = ()
    point_labels: tuple[int, ...] | None = None
    box: tuple[int, int, int, int] | None = None
    stamp: Any = None
    image: np.ndarray | None = None

    @property
    def is_marked(self) -> bool:
        """Whether it refers to places in an image, not by words alone."""
        return self.mask is not None or bool(self.points) or self.box is not None

    @property
    def is_stamped(self) -> bool:
        return self.stamp is not None and _is_set(self.stamp)


def read_wish(request: Any, max_pixels: int = MAX_PIXELS) -> Wish:
    """Read the fields that TrackCommand and AddObject.Request share.

    What the sender states (sizes, lengths) is checked before it is looked at. Raises MaskError, PromptError,
    ObjectIdError or LimitError.
    """
    check_count(len(request.points), "points", MAX_POINTS, MaskError)
    check_count(len(request.point_labels), "point_labels", MAX_POINTS, MaskError)
    _check_texts(request)
    mask, box = request.mask, request.box
    has_mask = bool(mask.width or mask.height or len(mask.data))
    has_box = bool(box.width or box.height)
    given = [
        name for name, there in (("mask", has_mask), ("points", request.points), ("box", has_box)) if there
    ]
    if len(given) > 1:
        raise MaskError(f"{' and '.join(given)} are given together, expected one of them")
    if not given and not request.text:
        raise PromptError("nothing to look for: text, mask, points and box are all empty")
    if has_box and not (box.width and box.height):
        raise MaskError(f"a box of {box.width}x{box.height} pixels, expected at least 1x1")
    points = tuple((float(point.x), float(point.y)) for point in request.points)
    for point in points:
        if not all(math.isfinite(value) for value in point):
            raise MaskError(f"the point {point} is not finite")
    labels = tuple(int(value) for value in request.point_labels)
    if labels and len(labels) != len(points):
        raise MaskError(f"{len(labels)} point_labels for {len(points)} points, expected as many or none")
    return Wish(
        object_id=request.object_id or None,
        label=request.label or None,
        text=request.text or None,
        mask=_mask_of(mask, max_pixels) if has_mask else None,
        points=points,
        point_labels=labels or None,
        box=(box.x_offset, box.y_offset, box.width, box.height) if has_box else None,
        stamp=_stamp_of(request, has_mask),
    )


def _check_texts(request: Any) -> None:
    check_text(request.text, "the text", MAX_TEXT, PromptError)
    check_name(request.label, "the label")
    if request.object_id:
        check_object_id(request.object_id)


def _mask_of(message: Any, max_pixels: int) -> np.ndarray:
    """The one object of a command's mask, bool [h,w]. Raises MaskError, LimitError."""
    if message.encoding not in ("mono8", "8UC1"):
        raise MaskError(f"the mask's encoding is {quoted(message.encoding)}, expected mono8 or 8UC1")
    return one_object(to_mask(message, max_pixels))


def _stamp_of(request: Any, has_mask: bool) -> Any:
    """The stamp of the image that a request refers to: its own, else its mask's. Raises MaskError when they
    are of two images."""
    own, masks = request.header.stamp, request.mask.header.stamp
    if not has_mask or not _is_set(masks):
        return own
    if _is_set(own) and own != masks:
        raise MaskError(
            f"the command refers to the image of {in_words(own)} and its mask to that of {in_words(masks)}, "
            "expected one stamp, or one of them zero"
        )
    return masks


def _is_set(stamp: Any) -> bool:
    return bool(stamp.sec or stamp.nanosec)


class Commands:
    """Carries out commands on the cameras' trackers. Every method raises UniRefError with a text for
    people."""

    def __init__(
        self,
        cameras: Callable[[], Mapping[str, Camera]],
        set_enabled: Callable[[bool], str],
        ids: ObjectIds,
        max_pixels: Callable[[], int] = lambda: MAX_PIXELS,
    ) -> None:
        """cameras: by name, empty while the node is not configured; their trackers share `ids`. set_enabled:
        pauses or resumes, says what it did. max_pixels: of a mask."""
        self._cameras = cameras
        self._set_enabled = set_enabled
        self._ids = ids
        self._max_pixels = max_pixels

    def carry_out(self, command: TrackCommand) -> Answer:
        """Do what a TrackCommand says."""
        actions = {
            TrackCommand.ADD: self.add,
            TrackCommand.REMOVE: lambda c: self.remove(c.object_id, c.camera),
            TrackCommand.CLEAR: lambda c: self.clear(c.camera),
            TrackCommand.PAUSE: lambda c: self.set_enabled(False),
            TrackCommand.RESUME: lambda c: self.set_enabled(True),
            TrackCommand.REANCHOR: lambda c: self.reanchor(c.object_id, c.camera),
        }
        action = actions.get(command.action)
        if action is None:
            raise CommandError(f"action is {command.action}, expected one of ADD=1 to REANCHOR=6")
        return action(command)

    def say(self, words: str) -> Answer:
        """Carry out spoken words: a control such as "forget the red mug", else something to look for."""
        match parse_spoken(check_text(words.strip(), "the prompt", MAX_TEXT, PromptError)):
            case Forget(target=None):
                return self.clear()
            case Forget(target=target):
                return self.forget(target)
            case Pause():
                return self.set_enabled(False)
            case Resume():
                return self.set_enabled(True)
            case look:
                return self.add(TrackCommand(text=look.prompt))

    def add(self, request: Any) -> Answer:
        """Add one object, on one camera or on all. request: TrackCommand or AddObject.Request.

        What is marked in an image goes, when no camera is named, to those that hold the image of its stamp.
        """
        wish = read_wish(request, self._max_pixels())
        return self._add(wish, self._meant(wish, request.camera))

    def _add(self, wish: Wish, cameras: list[Camera]) -> Answer:
        object_id = self._ids.claim(wish.object_id)
        done: list[Camera] = []
        remarks: list[str] = []
        try:
            for camera in cameras:
                remarks += _add_to(camera, wish, object_id)
                done.append(camera)
        except Exception:
            for camera in done:  # on all cameras or on none
                with contextlib.suppress(ObjectIdError):  # somebody removed it meanwhile
                    camera.tracker.remove(object_id)
            if not done:  # nobody has seen it
                self._ids.give_back(object_id)
            raise
        what = f"looking for {quoted(wish.text)}" if wish.text else "following what was marked"
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
        return self._add(Wish(points=((float(point.x), float(point.y)),), image=shown.rgb), [chosen])

    def add_masks(self, message: Any, camera: str = "") -> Answer:
        """Add every object of a mask image (mono8: one object, 0 and one other value; mono16: one a value).

        Without a camera's name: to those that hold the image of its stamp, else to all. Those that can be
        added are, when one cannot; the error then says which.
        """
        values = to_mask(message, self._max_pixels())
        if values.dtype == np.uint8:
            values, labels = one_object(values), [None]
        else:
            labels = [int(value) for value in np.flatnonzero(np.bincount(values.ravel())) if value]
        if not np.any(values):
            raise MaskError("the mask is empty: every pixel is 0")
        added: list[str] = []
        remarks: list[str] = []
        for label in labels:
            name = None if label is None else f"mask {label}"
            mask = values if label is None else values == label
            wish = Wish(label=name, mask=mask, stamp=message.header.stamp)
            try:
                answer = self._add(wish, self._meant(wish, camera))
            except UniRefError as error:
                before = f" (added before it: {_list(added)})" if added else ""
                raise type(error)(f"{name or 'mask'}: {error}{before}") from error
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
        found = self._find(words, camera, match_words) or self._find(words, camera, match_part)
        if not found:
            raise self._nobody(words, camera)
        if len(found) > 1 and not self._find(words, camera, match_words):
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

    def _meant(self, wish: Wish, name: str) -> list[Camera]:
        """The cameras a wish is for."""
        cameras = self._chosen(name)
        if len(cameras) > 1 and wish.is_marked and wish.is_stamped:
            return [camera for camera in cameras if camera.holds(wish.stamp)] or cameras
        return cameras

    def _known(self, camera: str) -> str:
        ids = dict.fromkeys(item.id for one in self._chosen(camera) for item in one.tracker.objects)
        return f"; there are {_list(ids)}" if ids else "; there are no objects"


def _list(ids: Iterable[str]) -> str:
    """Ids for people, the first few of many."""
    known = list(ids)
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    return ", ".join(known[:_MOST_NAMED]) + more


def _add_to(camera: Camera, wish: Wish, object_id: str) -> list[str]:
    """Add the object to one camera's tracker. Returns remarks for people."""
    tracker, names = camera.tracker, {"object_id": object_id, "label": wish.label}
    if not wish.is_marked:
        tracker.add_text(wish.text, **names)
        return []
    image, remarks = wish.image, []
    if image is None and wish.is_stamped:
        found = camera.image_at(wish.stamp)
        if isinstance(found, str):
            remarks = [f"{camera.topic}: {found}, so this applies to the next image"]
        else:
            image = found
    options = {**names, "image": image, "prompt": wish.text}
    if wish.mask is not None:
        tracker.add_mask(wish.mask, **options)
    elif wish.box is not None:
        tracker.add_box(wish.box, **options)
    else:
        tracker.add_points(wish.points, wish.point_labels, **options)
    return remarks
