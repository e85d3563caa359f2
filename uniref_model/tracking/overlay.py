"""A picture for people: every object tinted and outlined in its colour, with its label, state and score."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

from .types import TrackedFrame, TrackedObject, TrackState

TINT = 0.35
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GOLDEN = 0.61803398875  # steps of the hue by this never come near each other soon


def slot_colour(slot: int) -> tuple[int, int, int]:
    """RGB of a slot, always the same, neighbours far apart."""
    red, green, blue = colorsys.hsv_to_rgb((0.08 + slot * _GOLDEN) % 1.0, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_overlay(image: np.ndarray, frame: TrackedFrame) -> np.ndarray:
    """uint8 RGB [h,w,3] and what was found in it -> a drawn copy. Raises ValueError when their sizes
    differ."""
    if image.shape[:2] != frame.size:
        raise ValueError(f"the image is {image.shape[:2]}, the tracked frame {frame.size} (height, width)")
    canvas = image.copy()
    scale = max(0.4, min(image.shape[:2]) / 900)
    for item in frame.objects:
        if item.box is not None:
            _draw_mask(canvas, item, max(1, round(2 * scale)))
    unseen = [item for item in frame.objects if item.box is None]
    for item in frame.objects:
        if item.box is not None:
            _write(canvas, _caption(item), (item.box[0], item.box[1]), slot_colour(item.slot), scale)
    for line, item in enumerate(unseen):
        place = (4, round((line + 1) * 34 * scale) + 4)
        _write(canvas, _caption(item), place, slot_colour(item.slot), scale)
    return canvas


def _draw_mask(canvas: np.ndarray, item: TrackedObject, thickness: int) -> None:
    x, y, width, height = item.box
    colour = slot_colour(item.slot)
    region = canvas[y : y + height, x : x + width]
    inside = item.mask > 0
    region[inside] = (region[inside] * (1 - TINT) + np.array(colour) * TINT).astype(np.uint8)
    contours, _ = cv2.findContours(item.mask.copy(), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x, y))
    cv2.drawContours(canvas, contours, -1, colour, thickness)


def _caption(item: TrackedObject) -> str:
    # OpenCV's built-in font has ASCII only.
    name = item.label.encode("ascii", "replace").decode()
    shown = name if name == item.id else f"{item.id} {name}"
    if item.box is not None:
        return f"{shown} {item.score:.2f}"
    state = "not in view" if item.state is TrackState.TRACKED else item.state.value
    return f"{shown}: {state}"


def _write(
    canvas: np.ndarray, text: str, corner: tuple[int, int], colour: tuple[int, int, int], scale: float
) -> None:
    """Text on a filled plate whose lower left corner is `corner`, held inside the image."""
    thickness = max(1, round(1.5 * scale))
    (width, height), base = cv2.getTextSize(text, _FONT, scale, thickness)
    x = max(0, min(corner[0], canvas.shape[1] - width - 4))
    y = max(height + base + 2, min(corner[1], canvas.shape[0]))
    cv2.rectangle(canvas, (x, y - height - base - 2), (x + width + 4, y), colour, cv2.FILLED)
    cv2.putText(canvas, text, (x + 2, y - base), _FONT, scale, (0, 0, 0), thickness, cv2.LINE_AA)
