"""From messages to prompts: what a sender states is checked before it is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import MaskError
from ..image_messages import one_object, to_mask
from ..known_objects import check_known_name
from ..limits import MAX_PIXELS, MAX_POINTS, check_count, check_name, quoted
from ..prompts import Prompt
from ..tracking.ids import check_object_id
from .stamps import in_words, is_set


@dataclass(frozen=True, eq=False)
class AddRequest:
    """An object to add: its prompt, and what else a message says of it.

    stamp: of the image that the prompt's mask, points or box belong to (builtin_interfaces/Time); zero or
    None for the next. camera: whose image, "" for all that it may mean. exact_stamp: whether no other image
    than that of the stamp will do.
    """

    prompt: Prompt
    object_id: str | None = None
    label: str | None = None
    stamp: Any = None
    camera: str = ""
    exact_stamp: bool = False

    @property
    def of_a_stamp(self) -> bool:
        """Whether it belongs to the image of its stamp, which is not in the prompt yet."""
        drawn_elsewhere = self.prompt.drawn and self.prompt.image is None
        return drawn_elsewhere and self.stamp is not None and is_set(self.stamp)


@dataclass(frozen=True, eq=False)
class TeachRequest:
    """Something to be known by a name: the object of an id, or what the prompt's mask, points or box mean in
    the image of `stamp`, as in `AddRequest`; with neither, the object that is followed. replace: instead of
    the views there are."""

    name: str
    object_id: str = ""
    prompt: Prompt | None = None
    stamp: Any = None
    camera: str = ""
    replace: bool = False


def read_teach(message: Any, max_pixels: int = MAX_PIXELS) -> TeachRequest:
    """Read a TeachObject.Request, or a TrackCommand whose text is the name. max_pixels: of a mask.

    Raises MaskError, ObjectIdError, KnownObjectError or LimitError.
    """
    drawn, stamp = _read_drawn(message, max_pixels)
    if message.object_id:
        check_object_id(message.object_id)
        if drawn:
            raise MaskError(f"found an object_id and {', '.join(drawn)}, expected one of these")
    return TeachRequest(
        check_known_name(message.name if hasattr(message, "name") else message.text),
        message.object_id,
        Prompt(**drawn) if drawn else None,
        stamp,
        message.camera,
        getattr(message, "replace", False),
    )


def read_add(message: Any, max_pixels: int = MAX_PIXELS) -> AddRequest:
    """Read the fields that TrackCommand and AddObject.Request share; max_pixels: of a mask.

    Raises MaskError, PromptError, ObjectIdError or LimitError.
    """
    check_name(message.label, "the label")
    if message.object_id:
        check_object_id(message.object_id)
    drawn, stamp = _read_drawn(message, max_pixels)
    prompt = Prompt(text=message.text or None, **drawn)
    return AddRequest(
        prompt,
        message.object_id or None,
        message.label or None,
        stamp,
        message.camera,
        getattr(message, "exact_stamp", False),  # a bag may be older than the field
    )


def _read_drawn(message: Any, max_pixels: int) -> tuple[dict[str, Any], Any]:
    """What of mask, points, labels and box is there, by `Prompt`'s names, and the stamp of its image."""
    check_count(len(message.points), "points", MAX_POINTS, MaskError)
    check_count(len(message.point_labels), "point_labels", MAX_POINTS, MaskError)
    mask, box = message.mask, message.box
    has_mask = bool(mask.width or mask.height or len(mask.data))
    values = {
        "mask": _mask_of(mask, max_pixels) if has_mask else None,
        "points": [(point.x, point.y) for point in message.points] or None,
        "labels": list(message.point_labels) or None,
        "box": (box.x_offset, box.y_offset, box.width, box.height) if box.width or box.height else None,
    }
    return {name: value for name, value in values.items() if value is not None}, _stamp_of(message, has_mask)


def read_masks(message: Any, camera: str = "", max_pixels: int = MAX_PIXELS) -> Iterator[AddRequest]:
    """Every object of a mask image (mono8: one object, 0 and one other value; mono16: one a value). Raises
    MaskError, LimitError."""
    values = to_mask(message, max_pixels)
    stamp = message.header.stamp
    if not np.any(values):
        raise MaskError("the mask is empty: every pixel is 0")
    if values.dtype == np.uint8:
        yield AddRequest(Prompt(mask=one_object(values)), stamp=stamp, camera=camera)
        return
    for value in np.flatnonzero(np.bincount(values.ravel())):
        if value:
            yield AddRequest(Prompt(mask=values == value), label=f"mask {value}", stamp=stamp, camera=camera)


def _mask_of(message: Any, max_pixels: int) -> np.ndarray:
    """The one object of a command's mask, bool [h,w]. Raises MaskError, LimitError."""
    if message.encoding not in ("mono8", "8UC1"):
        raise MaskError(f"the mask's encoding is {quoted(message.encoding)}, expected mono8 or 8UC1")
    return one_object(to_mask(message, max_pixels))


def _stamp_of(message: Any, has_mask: bool) -> Any:
    """The stamp of the image that a message refers to: its own, else its mask's. Raises MaskError when they
    are of two images."""
    own, masks = message.header.stamp, message.mask.header.stamp
    if not has_mask or not is_set(masks):
        return own
    if is_set(own) and own != masks:
        raise MaskError(
            f"the command refers to the image of {in_words(own)} and its mask to that of {in_words(masks)}, "
            "expected one stamp, or one of them zero"
        )
    return masks
