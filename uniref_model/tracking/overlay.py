"""A picture for people: every object tinted and outlined in its colour; its id, label, state and score."""

from __future__ import annotations

import colorsys
import unicodedata
from functools import lru_cache

import cv2
import numpy as np

from .types import TrackedFrame, TrackedObject, TrackState

Box = tuple[int, int, int, int]

TINT = 0.3
_FONT = cv2.FONT_HERSHEY_DUPLEX
_GOLDEN = 0.61803398875  # steps of the hue by this never come near each other soon
_FINE = 3  # letters are drawn so many times larger, and shrunk: OpenCV's own are ragged when small
_DARK, _LIGHT = (18, 18, 18), (245, 245, 245)
_LUMINANCE = (0.299, 0.587, 0.114)
_PLATE = 0.72  # opacity of the dark plates


def slot_colour(slot: int) -> tuple[int, int, int]:
    """RGB of a slot, always the same, neighbours far apart."""
    red, green, blue = colorsys.hsv_to_rgb((0.08 + slot * _GOLDEN) % 1.0, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_overlay(image: np.ndarray, frame: TrackedFrame, *, status: str = "") -> np.ndarray:
    """uint8 RGB [h,w,3] and what was found in it -> a drawn copy. Raises ValueError when their sizes differ.

    status: a short text for the upper right corner, such as "9.8 FPS".
    """
    if image.shape[:2] != frame.size:
        raise ValueError(f"the image is {image.shape[:2]}, the tracked frame {frame.size} (height, width)")
    canvas = image.copy()
    letters = _letter_height(frame.size)
    seen = [(item, item.box) for item in frame.objects if item.box is not None]
    for item, box in seen:
        _draw_mask(canvas, item, box, max(1, round(letters / 6)))
    line = letters + letters // 2 + 4
    taken: list[Box] = []
    for index, item in enumerate(item for item in frame.objects if item.box is None):
        place = 4, 4 + index * (line + 3)
        taken.append(_plate(canvas, _caption(item), place, letters, item.slot, dark=True))
    if status:
        width = _lettering(_ascii(status), letters).shape[1] + letters + 4
        taken.append(_plate(canvas, status, (frame.size[1] - width - 4, 4), letters, None, dark=True))
    for item, box in seen:
        place = _free_place(box, _lettering(_caption(item), letters).shape[1] + letters + 4, line, taken)
        taken.append(_plate(canvas, _caption(item), place, letters, item.slot, dark=False))
    return canvas


def _letter_height(size: tuple[int, int]) -> int:
    """Pixels from the top of a capital to the base line."""
    return int(np.clip(round(min(size) / 42), 8, 30))


def _draw_mask(canvas: np.ndarray, item: TrackedObject, box: Box, thickness: int) -> None:
    """Tint, and a line in the object's colour with a dark one round it, so that it shows on any ground."""
    x, y, width, height = box
    colour = slot_colour(item.slot)
    region = canvas[y : y + height, x : x + width]
    cv2.copyTo(cv2.LUT(region, _tint(colour)), item.mask, region)
    contours, _ = cv2.findContours(item.mask.copy(), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(x, y))
    cv2.drawContours(canvas, contours, -1, _DARK, thickness + 2, cv2.LINE_AA)
    cv2.drawContours(canvas, contours, -1, colour, thickness, cv2.LINE_AA)


@lru_cache(maxsize=256)
def _tint(colour: tuple[int, int, int]) -> np.ndarray:
    """What becomes of each value of each channel under the colour, uint8 [1,256,3]."""
    values = np.arange(256)[None, :, None] * (1 - TINT) + np.array(colour) * TINT
    return values.astype(np.uint8)


def _caption(item: TrackedObject) -> str:
    name = _ascii(item.label)
    shown = name if name == item.id else f"{item.id} {name}"
    if item.box is not None:
        return f"{shown}  {item.score:.2f}{_found(item)}"
    state = "not in view" if item.state is TrackState.TRACKED else item.state.value
    return f"{shown}  {state}"


def _found(item: TrackedObject) -> str:
    """By what a known object was found; of others it goes without saying."""
    if not item.known or not item.found.by:
        return ""
    view = f" {item.found.view}" if item.found.by == "view" else ""
    return f"  by {item.found.by.replace('_', ' ')}{view}"


def _ascii(text: str) -> str:
    # OpenCV's built-in fonts have ASCII only: accents are dropped, other letters become "?".
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return plain.encode("ascii", "replace").decode()


def _free_place(box: Box, width: int, height: int, taken: list[Box]) -> tuple[int, int]:
    """Upper left corner for an object's plate: above its box, or else where no other plate is. taken: (left,
    top, right, bottom)."""
    x, y = box[0], box[1] - height - 2
    candidates = [(x, y), (x, box[1] + box[3] + 2), (x, box[1] + 2), (x + box[2] - width, y)]
    for left, top in candidates:
        free = all(
            left >= right or left + width <= start or top >= bottom or top + height <= above
            for start, above, right, bottom in taken
        )
        if free and top >= 0:
            return left, top
    return candidates[0]


def _plate(
    canvas: np.ndarray, text: str, corner: tuple[int, int], letters: int, slot: int | None, *, dark: bool
) -> Box:
    """Text on a plate, held inside the image; returns (left, top, right, bottom).

    corner: upper left. slot: in whose colour the plate is, or, when it is dark, a bar at its left.
    """
    alpha = _lettering(_ascii(text), letters)
    margin = letters // 2 + 2
    height, width = alpha.shape[0] + 4, alpha.shape[1] + 2 * margin
    left = max(0, min(corner[0], canvas.shape[1] - width))
    top = max(0, min(corner[1], canvas.shape[0] - height))
    region = canvas[top : top + height, left : left + width]
    ground = np.array(_DARK if dark or slot is None else slot_colour(slot))
    ink = np.array(_LIGHT if ground @ _LUMINANCE < 120 else _DARK)
    opacity = _PLATE if dark else 0.92
    region[:] = region * (1 - opacity) + ground * opacity
    if dark and slot is not None:
        region[:, : max(3, letters // 4)] = slot_colour(slot)
    place = region[2 : 2 + alpha.shape[0], margin : margin + alpha.shape[1]]
    share = alpha[: place.shape[0], : place.shape[1], None]
    place[:] = place * (1 - share) + ink * share
    return left, top, left + width, top + height


@lru_cache(maxsize=128)
def _lettering(text: str, letters: int) -> np.ndarray:
    """How much of each pixel the letters cover, f32 [h,w], 0 to 1, read-only. letters: a capital's height."""
    fine = letters * _FINE
    thickness = max(1, round(fine / 8))
    scale = cv2.getFontScaleFromHeight(_FONT, fine, thickness)
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    above, below = fine // 5, fine // 3
    canvas = np.zeros((above + fine + below, width + 2 * _FINE), np.uint8)
    cv2.putText(canvas, text, (_FINE, above + fine), _FONT, scale, 255, thickness, cv2.LINE_AA)
    size = (max(1, canvas.shape[1] // _FINE), max(1, canvas.shape[0] // _FINE))
    shrunk = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    shrunk.flags.writeable = False
    return shrunk
