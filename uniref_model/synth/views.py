"""Views of one still, and things of other stills laid over them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..datasets.plain import Annotation
from .things.colours import ColourNames, name_colours

_CUT_SIDE = 200  # longest side of a cut-out, pixels
_CUT_AREA = 900  # pixels of its picture that a cut-out covers at least


@dataclass(frozen=True)
class Cut:
    """A thing cut out of its picture: RGBA uint8 [h,w,4], what it is, and which thing it is."""

    rgba: np.ndarray
    item: Annotation
    identity: str


@dataclass(frozen=True)
class Part:
    """An object of a clip under construction: its masks in the three frames, and what to call it."""

    item: Annotation
    masks: list[np.ndarray]
    colours: ColourNames
    identity: str
    asked: bool = True


def views_of(
    rng: np.random.Generator, shape: tuple[int, int], focus: np.ndarray, size: tuple[int, int]
) -> list[np.ndarray]:
    """Picture -> frame, 3x3, for the three frames: near one another, the first one further off.

    In use a whole picture is stretched to the frame, whatever its shape: so it is here half of the time, and
    else anything between that and an undistorted crop. The frame stays within the picture but for what
    turning shows: a mirrored border would hold copies of the things that no label knows of.
    """
    whole = np.array([size[1] / shape[1], size[0] / shape[0]])
    share = 1.0 if rng.random() < 0.5 else rng.random()
    zoom = 1.0 if rng.random() < 0.35 else float(np.exp(rng.uniform(0, np.log(1.7))))
    base = zoom * whole**share * whole.max() ** (1 - share) * np.exp(np.array([1, -1]) * rng.normal(0, 0.05))
    middle = np.array([(focus[0] + focus[2]) / 2, (focus[1] + focus[3]) / 2])
    target = np.array(size[::-1]) * rng.uniform(0.25, 0.75, 2)
    views = []
    much = float(rng.uniform(0.3, 1.3))
    for far in (1.0 * much, 0.25 * much, 0.0):
        scale = np.maximum(base * np.exp(rng.normal(0, 0.2 * far)), 0.93 * whole)
        angle = rng.normal(0, 0.14 * far) + rng.normal(0, 0.02)
        turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        drifted = target + rng.normal(0, 0.1 * far, 2) * np.array(size[::-1])
        place = _kept_inside(drifted, middle, scale, shape, size)
        matrix = np.eye(3)
        matrix[:2, :2] = np.diag(scale) @ turned
        matrix[:2, 2] = place - matrix[:2, :2] @ middle
        views.append(_perspective(rng, size, 0.12 * far) @ matrix)
    return views


def _kept_inside(
    target: np.ndarray, middle: np.ndarray, reach: np.ndarray, shape: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """`target` moved so that the frame shows little beyond the picture's borders."""
    low = np.array(size[::-1]) - reach * (np.array(shape[::-1]) - middle)
    high = reach * middle
    return np.clip(target, np.minimum(low, high), np.maximum(low, high))


def _perspective(rng: np.random.Generator, size: tuple[int, int], amount: float) -> np.ndarray:
    height, width = size
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    moved = corners + np.float32(rng.normal(0, max(amount, 1e-6), (4, 2)) * (width, height) * 0.5)
    return cv2.getPerspectiveTransform(corners, np.float32(moved))


def warp(picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int], how: int, border: int) -> np.ndarray:
    return cv2.warpPerspective(picture, matrix, size[::-1], flags=how, borderMode=border)


def smeared(rng: np.random.Generator, frame: np.ndarray) -> np.ndarray:
    """Now and then the blur of a moving camera."""
    if rng.random() > 0.12:
        return frame
    length = int(rng.integers(3, 9))
    kernel = np.zeros((length, length), np.float32)
    if rng.random() < 0.6:
        kernel[length // 2] = 1 / length
    else:
        kernel[:, length // 2] = 1 / length
    return cv2.filter2D(frame, -1, kernel)


def cut_out(image: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """RGBA of a thing with a soft edge; None where it is too small, or goes on beyond the picture."""
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    height, width = mask.shape
    if mask.sum() < _CUT_AREA or x <= 1 or y <= 1 or x + w >= width - 1 or y + h >= height - 1:
        return None
    rows, columns = slice(max(y - 2, 0), y + h + 2), slice(max(x - 2, 0), x + w + 2)
    alpha = cv2.erode(mask[rows, columns].astype(np.uint8) * 255, np.ones((3, 3), np.uint8))
    rgba = np.dstack([image[rows, columns], cv2.GaussianBlur(alpha, (0, 0), 0.8)])
    scale = min(1.0, _CUT_SIDE / max(rgba.shape[:2]))
    return cv2.resize(rgba, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else rgba


def paste(
    rng: np.random.Generator, frames: list[np.ndarray], parts: list[Part], cut: Cut, *, upright: bool
) -> Part:
    """Lay a cut-out over all three frames, moving a little of its own; what it covers is covered."""
    height, width = frames[0].shape[:2]
    rgba = np.ascontiguousarray(cut.rgba[:, ::-1]) if rng.random() < 0.5 else cut.rgba
    side = float(np.exp(rng.uniform(np.log(0.18), np.log(0.85)))) * height
    place = rng.uniform(0.05, 0.95, 2) * (width, height)
    gain = np.float32(np.exp(rng.normal(0, 0.15)))
    tilt = rng.normal(0, 0.1) if upright else rng.uniform(-np.pi, np.pi)
    masks = []
    for t, far in enumerate((1.0, 0.2, 0.0)):
        scale = side / max(rgba.shape[:2]) * np.exp(rng.normal(0, 0.15 * far))
        angle = tilt + rng.normal(0, 0.15 * far)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        at = place + rng.normal(0, 0.12 * far, 2) * (width, height)
        matrix = np.column_stack((turn, at - turn @ (np.array(rgba.shape[1::-1]) / 2)))
        shape = {"dsize": (width, height), "flags": cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR}
        laid = cv2.warpAffine(rgba, matrix, borderMode=cv2.BORDER_CONSTANT, **shape)
        alpha = laid[..., 3:].astype(np.float32) / 255
        colour = np.clip(laid[..., :3].astype(np.float32) * gain, 0, 255)
        frames[t] = (frames[t] * (1 - alpha) + colour * alpha).astype(np.uint8)
        mask = laid[..., 3] > 127
        for part in parts:
            part.masks[t] &= ~mask
        masks.append(mask)
    colours = name_colours(rgba[..., :3], rgba[..., 3])
    return Part(cut.item, masks, colours, cut.identity)
