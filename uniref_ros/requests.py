"""From commands, spoken words, masks and services to calls of the trackers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from uniref_model.errors import MaskError, ObjectIdError, PromptError, UniRefError
from uniref_model.tracking.spoken import Forget, Pause, Resume, match_objects, parse_spoken
from uniref_ros.camera import Camera
from uniref_ros.conversion import to_mask
from uniref_ros.msg import TrackCommand

MAX_TEXT = 1000
"""Longest text of an object to look for, longest label and longest id; anything longer was not meant as one,
and it goes into every message."""

MAX_POINTS = 1000
"""Most clicks for one object."""


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
        return self.stamp is not None and bool(self.stamp.sec or self.stamp.nanosec)


def read_wish(request: Any) -> Wish:
    """Read the fields that TrackCommand and AddObject.Request share. Raises MaskError or PromptError."""
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
    for name in ("text", "label", "object_id"):
        length = len(getattr(request, name))
        if length > MAX_TEXT:
            raise PromptError(f"{name} has {length} characters, expected at most {MAX_TEXT}")
    if len(request.points) > MAX_POINTS:
        raise MaskError(f"{len(request.points)} points, expected at most {MAX_POINTS}")
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
        mask=to_mask(mask) if has_mask else None,
        points=points,
        point_labels=labels or None,
        box=(box.x_offset, box.y_offset, box.width, box.height) if has_box else None,
        stamp=request.header.stamp,
    )


class IdBook:
    """Gives out object ids. One for the whole life of the node, so that no id comes back on another camera or
    after the node was configured anew."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._next = 1

    def claim(self, wanted: str | None) -> str:
        """The wanted id, or the next free number. Raises ObjectIdError when the wanted one was used
        before."""
        if wanted is not None:
            if wanted in self._used:
                raise ObjectIdError(f"object id {wanted!r} was used before, expected a new one")
            return wanted
        while str(self._next) in self._used:
            self._next += 1
        return str(self._next)

    def spend(self, object_id: str) -> None:
        """Note that an object has this id now."""
        self._used.add(object_id)


class Commands:
    """Carries out commands on the cameras' trackers. Every method raises UniRefError with a text for
    people."""

    def __init__(
        self, cameras: Callable[[], Mapping[str, Camera]], set_enabled: Callable[[bool], str], ids: IdBook
    ) -> None:
        """cameras: by name, empty while the node is not configured. set_enabled: pauses or resumes, says what
        it did."""
        self._cameras = cameras
        self._set_enabled = set_enabled
        self._ids = ids

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
        match parse_spoken(words):
            case Forget(target=None):
                return self.clear()
            case Forget(target=target):
                return self.remove(target, several=True)
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
        wish = read_wish(request)
        return self._add(wish, self._meant(wish, request.camera))

    def _add(self, wish: Wish, cameras: list[Camera]) -> Answer:
        object_id = self._ids.claim(wish.object_id)
        done: list[Camera] = []
        remarks: list[str] = []
        try:
            for camera in cameras:
                remarks += _add_to(camera, wish, object_id)
                done.append(camera)
        except UniRefError:
            for camera in done:  # on all cameras or on none
                camera.tracker.remove(object_id)
            if done:
                self._ids.spend(object_id)
            raise
        self._ids.spend(object_id)
        what = f"looking for {wish.text!r}" if wish.text else "following what was marked"
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
        """Add every object of a mask image (mono8: one object, mono16: one a value).

        Without a camera's name: to those that hold the image of its stamp, else to all. Those that can be
        added are, when one cannot; the error then says which.
        """
        values = to_mask(message)
        labels = [None] if values.dtype == np.uint8 else [int(v) for v in np.unique(values) if v]
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
                before = f" (added before it: {', '.join(added)})" if added else ""
                raise type(error)(f"{name or 'mask'}: {error}{before}") from error
            added += answer.object_ids
            remarks += answer.remarks
        text = f"following {len(added)} marked: {', '.join(added)}"
        return Answer(tuple(added), "; ".join([text, *dict.fromkeys(remarks)]))

    def remove(self, who: str, camera: str = "", *, several: bool = False) -> Answer:
        """Remove the object with this id; or with this label or prompt, when only one has it.

        several: remove all whom the words name, when more than one.
        """
        found: dict[str, list[Camera]] = {}
        for one in self._chosen(camera):
            for object_id in match_objects(who, one.tracker.objects):
                found.setdefault(object_id, []).append(one)
        if not found:
            raise ObjectIdError(f"no object has the id, label or prompt {who!r}{self._known(camera)}")
        if len(found) > 1 and not several:
            raise ObjectIdError(f"{who!r} names the objects {', '.join(found)}, expected one; use the id")
        for object_id, cameras in found.items():
            for one in cameras:
                one.tracker.remove(object_id)
        return Answer(tuple(found), f"removed {', '.join(found)}")

    def clear(self, camera: str = "") -> Answer:
        """Remove every object."""
        removed = dict.fromkeys(
            object_id for one in self._chosen(camera) for object_id in one.tracker.clear()
        )
        return Answer(
            tuple(removed), f"removed {', '.join(removed)}" if removed else "there was nothing to remove"
        )

    def reanchor(self, object_id: str, camera: str = "") -> Answer:
        """Anchor the object anew at the next image in which it is seen well."""
        cameras = [one for one in self._chosen(camera) if object_id in {o.id for o in one.tracker.objects}]
        if not cameras:
            raise ObjectIdError(f"no object has the id {object_id!r}{self._known(camera)}")
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
            raise CommandError(f"camera {name!r} is unknown, expected one of {', '.join(map(repr, cameras))}")
        return [cameras[name]]

    def _meant(self, wish: Wish, name: str) -> list[Camera]:
        """The cameras a wish is for."""
        cameras = self._chosen(name)
        if len(cameras) > 1 and wish.is_marked and wish.is_stamped:
            return [camera for camera in cameras if camera.holds(wish.stamp)] or cameras
        return cameras

    def _known(self, camera: str) -> str:
        ids = dict.fromkeys(item.id for one in self._chosen(camera) for item in one.tracker.objects)
        return f"; there are {', '.join(ids)}" if ids else "; there are no objects"


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
