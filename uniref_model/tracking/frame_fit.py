"""Between a frame of any size and the model's one size.

Frames of the authors' models ("shortest_edge") keep their aspect, with padding right and bottom. For all
others ("stretch") a frame is stretched to the model size, as in training; where that would distort it by more
than `MAX_DISTORTION`, it is stretched only so far, centred, and the rest is filled with the mean colour (zero
to the network).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .shrinking import shrink

MAX_DISTORTION = 1.75
"""Highest ratio between the frame's aspect and its aspect at model size; a square frame in 7:4 has 1.75, a
4:3 one 1.31."""

Region = tuple[slice, slice]
"""Rows and columns of a picture."""


def within(region: Region, larger: Region) -> Region:
    """A region, seen from a larger one."""
    rows, columns = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(region, larger, strict=True))
    return rows, columns


@dataclass(frozen=True)
class FrameGeometry:
    """frame (h, w) and model (H, W) in pixels; the frame fills top, left, height, width of the model's
    image."""

    frame: tuple[int, int]
    model: tuple[int, int]
    top: int
    left: int
    height: int
    width: int

    @classmethod
    def fit(cls, frame: tuple[int, int], model: tuple[int, int], resize: str = "stretch") -> FrameGeometry:
        """resize: the model's way, `ModelSpec.resize`."""
        if resize == "shortest_edge":
            scale = min(model[0] / frame[0], model[1] / frame[1])
            height, width = (max(1, int(side * scale + 0.5)) for side in frame)
            return cls(frame, model, 0, 0, min(height, model[0]), min(width, model[1]))
        aspect = frame[1] / frame[0]
        wanted = min(max(model[1] / model[0], aspect / MAX_DISTORTION), aspect * MAX_DISTORTION)
        height = min(model[0], max(1, round(model[1] / wanted)))
        width = min(model[1], max(1, round(model[0] * wanted)))
        return cls(frame, model, (model[0] - height) // 2, (model[1] - width) // 2, height, width)

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the model's image that show the frame."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def image_to_model(self, image: np.ndarray, fill: Sequence[float]) -> np.ndarray:
        """uint8 [h,w,3], the frame or a smaller picture of it -> uint8 [H,W,3]. Shrinking averages (as the
        antialiased resize of training), growing is bilinear. Large frames too are averaged in one step: what
        is cheaper is a grey value off here and there, which a small network may answer with another mask."""
        if image.shape[0] >= self.height and image.shape[1] >= self.width:
            resized = shrink(image, (self.height, self.width))
        elif image.shape[:2] == (1, 1):  # OpenCV 4.5 cannot enlarge a single pixel
            resized = np.repeat(np.repeat(image, self.height, axis=0), self.width, axis=1)
        else:
            resized = cv2.resize(image, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        if (self.height, self.width) == self.model:
            return resized
        canvas = np.empty((*self.model, 3), np.uint8)
        canvas[:] = np.round(fill).astype(np.uint8)
        canvas[self.inside] = resized
        return canvas

    def mask_to_model(self, mask: np.ndarray) -> np.ndarray:
        """bool or uint8 [h,w] -> f32 [H,W] of 0 and 1: nearest pixel (as the authors' code), nothing in the
        border.

        An object too thin for that keeps every pixel it touches.
        """
        binary = (mask != 0).astype(np.uint8)
        small = cv2.resize(binary, (self.width, self.height), interpolation=cv2.INTER_NEAREST_EXACT)
        if not small.any():
            area = cv2.resize(binary * 255.0, (self.width, self.height), interpolation=cv2.INTER_AREA)
            small = area > 0
        return self._framed(small.astype(np.float32))

    def mask_to_model_floor(self, mask: np.ndarray) -> np.ndarray:
        """As `mask_to_model`, but rounded as torch's "nearest" does (down, in float32), and an object may
        vanish: the authors' protocol to the pixel."""
        return self._framed((mask[self._floor] != 0).astype(np.float32))

    @property
    def _floor(self) -> tuple[np.ndarray, ...]:
        return np.ix_(*(_floor(*sides) for sides in self._sides))

    @property
    def _sides(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows, then columns, of the frame and of what shows it in the model's image."""
        return (self.frame[0], self.height), (self.frame[1], self.width)

    def part_to_model(self, part: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
        """As `mask_to_model`, but uint8, of a mask that is empty outside a box (x, y, width, height) of the
        frame, and uint8 [height,width] in it."""
        small = self._picked(part, box, [_nearest(*sides) for sides in self._sides])
        if small.any():
            return small
        x, y, width, height = box
        mask = np.zeros(self.frame, np.uint8)
        mask[y : y + height, x : x + width] = part
        return self.mask_to_model(mask).astype(np.uint8)

    def part_to_model_floor(self, part: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
        """The same, as `mask_to_model_floor`."""
        return self._picked(part, box, [_floor(*sides) for sides in self._sides])

    def _picked(
        self, part: np.ndarray, box: tuple[int, int, int, int], places: list[np.ndarray]
    ) -> np.ndarray:
        """uint8 [H,W] of 0 and 1. places: which rows and columns of the frame the model's are taken from."""
        spans = []
        for axis, (start, length) in enumerate(((box[1], box[3]), (box[0], box[2]))):
            taken = places[axis]
            spans.append(slice(*np.searchsorted(taken, (start, start + length))))
            part = part.take(taken[spans[axis]] - start, axis)
        canvas = np.zeros(self.model, np.uint8)
        canvas[self.inside][tuple(spans)] = part != 0
        return canvas

    def _framed(self, small: np.ndarray) -> np.ndarray:
        canvas = np.zeros(self.model, small.dtype)
        canvas[self.inside] = small
        return canvas

    def probability_to_region(
        self, probability: np.ndarray, region: tuple[slice, slice], buffer: np.ndarray
    ) -> np.ndarray:
        """f32 [H,W] -> f32 of a region of the frame, as `probability_to_frame` computes it there. buffer:
        f32, of as many numbers as the frame has; the answer lies in it.

        Only blocks are computed that begin at a pixel's edge in both sizes, and one more on each side: so
        every pixel is weighed with the same neighbours.
        """
        blocks = [
            _blocks(span, frame, model)
            for span, frame, model in zip(region, self.frame, (self.height, self.width), strict=True)
        ]
        (rows, model_rows), (columns, model_columns) = blocks
        part = probability[self.inside][model_rows, model_columns]
        shape = rows.stop - rows.start, columns.stop - columns.start
        out = buffer[: shape[0] * shape[1]].reshape(shape)
        cv2.resize(np.ascontiguousarray(part), shape[::-1], dst=out, interpolation=cv2.INTER_LINEAR)
        return out[
            region[0].start - rows.start : region[0].stop - rows.start,
            region[1].start - columns.start : region[1].stop - columns.start,
        ]

    def probability_to_frame(self, probability: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """f32 [H,W] -> f32 [h,w], bilinear, pixel centres aligned (align_corners=False)."""
        part = np.ascontiguousarray(probability[self.inside])
        return cv2.resize(part, (self.frame[1], self.frame[0]), dst=out, interpolation=cv2.INTER_LINEAR)

    def from_part(self, probability: np.ndarray, part: FrameGeometry, corner: tuple[int, int]) -> np.ndarray:
        """f32 [H,W] of a part of the frame that begins at pixel `corner` (x, y) -> of the whole frame; 0
        beside it. Bilinear, pixel centres aligned."""
        rows, columns = (
            _mapping(*sides)
            for sides in (
                (self.top, self.height, self.frame[0], corner[1], part.top, part.height, part.frame[0]),
                (self.left, self.width, self.frame[1], corner[0], part.left, part.width, part.frame[1]),
            )
        )
        matrix = np.array([[columns[0], 0, columns[1]], [0, rows[0], rows[1]]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(probability, matrix, self.model[::-1], flags=flags, borderValue=0)

    def point_to_model(self, x: float, y: float) -> tuple[float, float]:
        """Frame pixels to model pixels."""
        return self.left + x * self.width / self.frame[1], self.top + y * self.height / self.frame[0]

    def region_to_frame(self, rows: slice, columns: slice) -> tuple[slice, slice]:
        """Frame pixels that can be touched by model pixels of these rows and columns, one model pixel of
        margin included."""
        return (
            _scale(rows, self.top, self.frame[0] / self.height, self.frame[0]),
            _scale(columns, self.left, self.frame[1] / self.width, self.frame[1]),
        )


@lru_cache(maxsize=32)
def _nearest(frame: int, model: int) -> np.ndarray:
    """Which of a frame's rows (or columns) each of the model's is, by cv2.INTER_NEAREST_EXACT."""
    places = np.arange(frame, dtype=np.float32)[:, None]
    return cv2.resize(places, (1, model), interpolation=cv2.INTER_NEAREST_EXACT)[:, 0].astype(int)


@lru_cache(maxsize=32)
def _floor(frame: int, model: int) -> np.ndarray:
    """Which of a frame's rows (or columns) each of the model's is, by torch's "nearest"."""
    return np.minimum(np.floor(np.arange(model) * np.float32(frame / model)).astype(int), frame - 1)


def _blocks(span: slice, frame: int, model: int) -> tuple[slice, slice]:
    """What holds `span` of a frame's rows or columns, in frame and in model pixels (see
    `probability_to_region`)."""
    count = math.gcd(frame, model)
    wide, narrow = frame // count, model // count
    start = max(span.start // wide - 1, 0)
    stop = min(-(-span.stop // wide) + 1, count)
    return slice(start * wide, stop * wide), slice(start * narrow, stop * narrow)


def _mapping(
    offset: int, length: int, frame: int, corner: int, part_offset: int, part_length: int, part_frame: int
) -> tuple[float, float]:
    """(factor, shift) from a whole frame's model pixel to that of a part of it, both counted from the middle
    of the first one."""
    of_frame, to_part = frame / length, part_length / part_frame
    factor = of_frame * to_part
    return factor, ((0.5 - offset) * of_frame - corner) * to_part + part_offset - 0.5


def _scale(span: slice, offset: int, factor: float, limit: int) -> slice:
    start = int(np.floor((span.start - offset - 1) * factor))
    stop = int(np.ceil((span.stop - offset + 1) * factor))
    return slice(min(max(start, 0), limit), min(max(stop, 0), limit))


def upsample_logits(logits: np.ndarray, size: tuple[int, int], method: str) -> np.ndarray:
    """Quarter-size logits f32 [H/4,W/4] -> [H,W].

    "aligned" is the authors' `aligned_bilinear` (VOS): value i sits at pixel 4i + 2, edges repeated.
    "bilinear" is the plain align_corners=False form (RVOS): value i sits at 4i + 1.5.
    """
    if method == "bilinear":
        return cv2.resize(logits, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    step_y, step_x = logits.shape[0] / size[0], logits.shape[1] / size[1]
    matrix = np.array([[step_x, 0, -0.5], [0, step_y, -0.5]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(logits, matrix, (size[1], size[0]), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Elementwise, without overflow."""
    values = np.clip(logits, -30.0, 30.0)
    np.exp(np.negative(values, out=values), out=values)
    values += 1.0
    return np.divide(1.0, values, out=values)
