"""What commands ask of a camera, and which picture of which camera shows what is to be taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import KnownObjectError, MaskError
from ..limits import quoted
from ..prompts import Prompt
from ..tracking.tracker import Tracker
from ..tracking.types import TrackedFrame
from .stamps import is_set


class ProcessedImage(Protocol):
    """A processed image: the tracker's answer, and its pixels, uint8 RGB [h,w,3]."""

    @property
    def frame(self) -> TrackedFrame: ...

    @property
    def rgb(self) -> np.ndarray: ...


class Camera(Protocol):
    """What a command may concern: a tracker, and the images that it was shown. topic: its name for people.
    last: the last processed image; shown: the last that went out as an overlay."""

    name: str
    tracker: Tracker

    @property
    def last(self) -> ProcessedImage | None: ...

    @property
    def shown(self) -> ProcessedImage | None: ...

    @property
    def topic(self) -> str: ...

    def holds(self, stamp: Any) -> bool:
        """Whether the image with this stamp (builtin_interfaces/Time) is held."""

    def image_at(self, stamp: Any) -> np.ndarray | str:
        """The held image with this stamp, RGB uint8 [h,w,3]; or why there is none. Raises ImageError."""


@dataclass(frozen=True, eq=False)
class ShownObject:
    """Where something to be taught is: a picture, uint8 RGB [h,w,3], what points at it there, and the id of
    the object that is followed there, if it is one."""

    image: np.ndarray
    prompt: Prompt
    object_id: str = ""


def find_shown(cameras: Sequence[Camera], object_id: str = "") -> ShownObject:
    """The object of this id, in the image shown last; without an id the only one in view, else the one that
    was added last. Raises KnownObjectError."""
    for wanted in [object_id] if object_id else _last_added_first(cameras):
        for camera in cameras:
            found = _in_view(camera, wanted)
            if found is not None:
                return found
    if object_id:
        raise KnownObjectError(f"the object {quoted(object_id)} is not seen now: nothing can be shown of it")
    raise KnownObjectError(
        "nothing that is followed is seen now: click it first, or give a mask, points or a box"
    )


def _last_added_first(cameras: Sequence[Camera]) -> list[str]:
    return list(dict.fromkeys(name for camera in cameras for name in reversed(camera.tracker.object_ids)))


def _in_view(camera: Camera, object_id: str) -> ShownObject | None:
    shown = camera.shown or camera.last
    if shown is None or object_id not in camera.tracker.object_ids:
        return None
    item = shown.frame.object(object_id)
    if item is None or item.box is None:
        return None
    return ShownObject(shown.rgb, Prompt(mask=shown.frame.label_image == item.slot), object_id)


def find_drawn(cameras: Sequence[Camera], prompt: Prompt, stamp: Any = None) -> ShownObject:
    """The image that a mask, points or a box belong to: of their stamp, else the one shown last. Raises
    MaskError, ImageError."""
    if stamp is not None and is_set(stamp):
        reasons = []
        for camera in cameras:
            image = camera.image_at(stamp)
            if not isinstance(image, str):
                return ShownObject(image, prompt)
            reasons.append(f"{camera.topic}: {image}")
        raise MaskError("; ".join(reasons))
    if len(cameras) > 1:
        raise MaskError(
            f"of which camera is this? Name one of {', '.join(repr(camera.name) for camera in cameras)}, or "
            "give the image's stamp"
        )
    shown = cameras[0].shown or cameras[0].last
    if shown is None:
        raise MaskError("no image was processed yet")
    return ShownObject(shown.rgb, prompt)
