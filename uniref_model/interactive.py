"""Clicks and boxes drawn as soft masks: the reference a model with `interactive: true` answers with the
object's mask.

Training and the tracker draw with these same functions, so that the network sees in use what it saw in
training. A real mask is 0 or 1 nearly everywhere; a box is a flat 0.5 and a click a smooth bump, so the three
cannot be confused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

POINT_SIGMA = 0.02
"""Width of a click's bump, as a part of sqrt(H * W): about 7 pixels at 256x448."""

BOX_VALUE = 0.5


def draw_points(
    points: Sequence[tuple[float, float]], labels: Sequence[int], size: tuple[int, int]
) -> np.ndarray:
    """Soft mask f32 [H,W] of clicks (x, y) in pixels of that size; label 1 raises a bump of 1, label 0
    presses one down."""
    height, width = size
    sigma = POINT_SIGMA * float(np.sqrt(height * width))
    mask = np.zeros(size, np.float32)
    for wanted in (1, 0):  # presses last, so that a press beside a bump always shows
        for (x, y), label in zip(points, labels, strict=True):
            if int(label) == wanted:
                bump = _bump(x, y, sigma, size)
                mask = np.maximum(mask, bump) if wanted else mask * (1 - bump)
    return mask


def draw_box(box: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
    """Soft mask f32 [H,W] of a box (x, y, width, height) in pixels of that size: 0.5 inside, 0 outside."""
    height, width = size
    x, y, w, h = box
    mask = np.zeros(size, np.float32)
    left, top = max(round(x), 0), max(round(y), 0)
    right, bottom = min(round(x + w), width), min(round(y + h), height)
    mask[top : max(bottom, top + 1), left : max(right, left + 1)] = BOX_VALUE
    return mask


def _bump(x: float, y: float, sigma: float, size: tuple[int, int]) -> np.ndarray:
    rows = np.exp(-0.5 * ((np.arange(size[0], dtype=np.float32) + 0.5 - y) / sigma) ** 2)
    columns = np.exp(-0.5 * ((np.arange(size[1], dtype=np.float32) + 0.5 - x) / sigma) ** 2)
    return rows[:, None] * columns[None, :]
