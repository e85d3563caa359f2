"""Made-up frames: coloured boxes that move to and fro over noise."""

from __future__ import annotations

import numpy as np

SHIFTS = (0, 2, 4, 2)
"""Pixels to the right, frame by frame, over and over."""


def boxes(count: int, shape: tuple[int, int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Four frames uint8 [h,w,3] of `count` boxes, and the boxes' masks bool [h,w] in the first."""
    generator = np.random.default_rng(0)
    height, width = shape
    ground = generator.integers(90, 140, (height, width, 3), np.uint8)
    colours = generator.integers(0, 256, (count, 3), np.uint8)
    rows, step = slice(height // 4, 3 * height // 4), width // count
    spans = [slice(index * step, index * step + max(1, 2 * step // 3)) for index in range(count)]
    pictures, masks = [], []
    for shift in SHIFTS:
        picture = ground.copy()
        for span, colour in zip(spans, colours, strict=True):
            picture[rows, span.start + shift : span.stop + shift] = colour
        pictures.append(picture)
    for span in spans:
        mask = np.zeros(shape, bool)
        mask[rows, span] = True
        masks.append(mask)
    return pictures, masks
