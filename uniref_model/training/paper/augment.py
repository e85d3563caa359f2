"""Crop, scale jitter and flip of a frame with its object, and of the words that say left and right."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from uniref_model.datasets.training.base import Box, Frame, box_of_mask
from uniref_model.training.paper.config import DatasetConfig

SIDE_STEP = 32
"""Short sides are drawn in steps of this, as in the authors' lists of sizes."""
CROP_RANGE = (384, 600)
"""Sides of a random crop in pixels, cut to the image: detectron2's "absolute_range"."""

_SIDES = re.compile(r"\b(left|right|lft|rt)(?=(?:most|hand|handed|side|ward|wards|er)?\b)")
_OPPOSITE = {"left": "right", "right": "left", "lft": "rt", "rt": "lft"}
_ORDINALS = re.compile(r"first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth", re.IGNORECASE)


@dataclass(frozen=True)
class Geometry:
    """Crop to a window, resize to a size, then flip left-right."""

    window: tuple[int, int, int, int]  # x, y, width, height in the frame
    size: tuple[int, int]  # (height, width) of the result
    flip: bool

    def __call__(self, frame: Frame) -> Frame | None:
        """The frame's picture, mask and box; None where nothing of the object is left.

        Pictures are resized as at inference (bilinear, antialiased), masks to the nearest pixel.
        """
        x, y, width, height = self.window
        size = self.size[1], self.size[0]
        image = Image.fromarray(frame.image[y : y + height, x : x + width])
        image = self._flipped(np.asarray(image.resize(size, Image.Resampling.BILINEAR)))
        if frame.mask is None:
            box = self._box(frame.box)
            return None if box is None else Frame(image, None, box)
        part = Image.fromarray(frame.mask[y : y + height, x : x + width].astype(np.uint8))
        mask = self._flipped(np.asarray(part.resize(size, Image.Resampling.NEAREST))).astype(bool)
        box = box_of_mask(mask)
        return None if box is None else Frame(image, mask, box)

    def _flipped(self, array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array[:, ::-1] if self.flip else array)

    def _box(self, box: Box) -> Box | None:
        x, y, width, height = self.window
        x0, x1 = (min(max(v - x, 0), width) * self.size[1] / width for v in (box[0], box[2]))
        y0, y1 = (min(max(v - y, 0), height) * self.size[0] / height for v in (box[1], box[3]))
        if x1 - x0 < 1 or y1 - y0 < 1:
            return None
        if self.flip:
            x0, x1 = self.size[1] - x1, self.size[1] - x0
        return x0, y0, x1, y1


def draw_short_side(config: DatasetConfig, rng: np.random.Generator) -> int:
    """A short side in the data set's range, in steps of SIDE_STEP from its lower end."""
    low, high = config.short_side
    return low + SIDE_STEP * int(rng.integers((high - low) // SIDE_STEP + 1))


def resized(size: tuple[int, int], short_side: int, long_side: int) -> tuple[int, int]:
    """(height, width) with the short side at `short_side`, less where the long side would pass `long_side`
    (detectron2's ResizeShortestEdge)."""
    scale = short_side / min(size)
    if max(size) * scale > long_side:
        scale = long_side / max(size)
    return tuple(max(int(side * scale + 0.5), 1) for side in size)


def draw_geometry(
    size: tuple[int, int], crop: bool, short_side: int, long_side: int, flip: bool, rng: np.random.Generator
) -> Geometry:
    """An augmentation for a frame of `size` (height, width)."""
    window = draw_window(size, rng) if crop else (0, 0, size[1], size[0])
    return Geometry(window, resized((window[3], window[2]), short_side, long_side), flip)


def draw_window(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random crop window (x, y, width, height); each side in CROP_RANGE, at most the image's."""
    height, width = (
        int(rng.integers(min(side, CROP_RANGE[0]), min(side, CROP_RANGE[1]) + 1)) for side in size
    )
    x, y = int(rng.integers(size[1] - width + 1)), int(rng.integers(size[0] - height + 1))
    return x, y, width, height


def swap_sides(text: str) -> str:
    """What an expression becomes when its picture is flipped: left and right change places, also inside
    leftmost or right-hand, but not inside bright."""
    return _SIDES.sub(lambda found: _OPPOSITE[found[1].lower()], text.lower())


def counts_objects(text: str) -> bool:
    """Whether an expression counts ("the third from the left"): a crop would make it wrong."""
    return _ORDINALS.search(text) is not None
