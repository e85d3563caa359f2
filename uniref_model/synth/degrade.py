"""Reference masks as they arrive in use: hints instead of masks, and the tracker's own mistakes."""

from __future__ import annotations

import cv2
import numpy as np

from uniref_model.prompts import draw_box, draw_points


def hint(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A click (half the time), scribble or box for the boolean mask [h,w] -> float32 [h,w]."""
    choice = rng.random()
    if choice < 0.35:
        return _box(mask, rng)
    points = _points(mask, rng, 1 if choice < 0.85 else int(rng.integers(3, 8)))
    return draw_points(points, [1] * len(points), mask.shape)


def _box(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    jitter = rng.normal(0, 0.05, 4) * (w, h, w, h)
    return draw_box((x + jitter[0], y + jitter[1], max(w + jitter[2], 2), max(h + jitter[3], 2)), mask.shape)


def _points(mask: np.ndarray, rng: np.random.Generator, count: int) -> list[tuple[float, float]]:
    """Random pixels well inside the mask, as people click; several lie on a line (a scribble)."""
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= rng.uniform(0.2, 0.7) * depth.max())
    picks = rng.integers(len(rows), size=2)
    ends = np.stack([columns[picks], rows[picks]], 1) + 0.5
    return [tuple(ends[0] + (ends[1] - ends[0]) * t) for t in np.linspace(0, 1, count)]


def degrade(mask: np.ndarray, other: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """One plausible tracking error on the boolean mask [h,w] -> float32 [h,w], never empty.

    other: another object's boolean mask, part of which may leak in.
    """
    scale = max(int(np.sqrt(mask.sum())), 2)
    size = int(rng.integers(1, max(2, scale // 4) + 1))
    result = _ERRORS[int(rng.integers(len(_ERRORS)))](mask.astype(np.uint8), other, size, rng)
    return (result if result.any() else mask).astype(np.float32)


def _kernel(size: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (size // 2) + 1,) * 2)


def _erode(mask, other, size, rng):
    return cv2.erode(mask, _kernel(size))


def _dilate(mask, other, size, rng):
    return cv2.dilate(mask, _kernel(size + 1))


def _shift(mask, other, size, rng):
    dx, dy = rng.integers(-size, size + 1, 2)
    return cv2.warpAffine(
        mask, np.float32([[1, 0, dx], [0, 1, dy]]), mask.shape[::-1], flags=cv2.INTER_NEAREST
    )


def _smooth(mask, other, size, rng):
    return (cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.3 + size / 2) > rng.uniform(0.3, 0.6)).astype(
        np.uint8
    )


def _hole(mask, other, size, rng):
    rows, columns = np.nonzero(mask)
    pick = int(rng.integers(len(rows)))
    return cv2.circle(mask.copy(), (int(columns[pick]), int(rows[pick])), 2 * size, 0, -1)


def _half(mask, other, size, rng):
    """Only one side is left, as behind an occluder."""
    x, y, w, h = cv2.boundingRect(mask)
    result = mask.copy()
    if rng.random() < 0.5:
        result[:, : x + int(w * rng.uniform(0.2, 0.6))] = 0
    else:
        result[: y + int(h * rng.uniform(0.2, 0.6))] = 0
    return result


def _leak(mask, other, size, rng):
    if other is None or not other.any():
        return _dilate(mask, other, size, rng)
    x, y, w, h = cv2.boundingRect(other.astype(np.uint8))
    part = np.zeros_like(mask)
    part[y : y + max(h // 2, 1), x : x + w] = 1
    return mask | (part & other.astype(np.uint8))


_ERRORS = (_erode, _dilate, _shift, _smooth, _hole, _half, _leak)
