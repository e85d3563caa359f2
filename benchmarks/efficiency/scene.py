"""Frames every contender sees: coloured boxes that move to and fro over noise, so that all keep in view."""

from __future__ import annotations

import math

import numpy as np

PERIOD = 16
"""Frames after which the motion repeats."""


class Scene:
    """`count` boxes in a grid of cells. image(i) is uint8 RGB [h,w,3], labels(i) uint8 [h,w], 1..count."""

    def __init__(self, size: tuple[int, int], count: int) -> None:
        generator = np.random.default_rng(0)
        self.size, self.count = size, count
        self._ground = generator.integers(90, 140, (*size, 3), np.uint8)
        self._colours = generator.integers(0, 256, (count, 3), np.uint8)
        self._frames = [self._draw(index) for index in range(PERIOD)]

    def image(self, index: int) -> np.ndarray:
        """The frame of this index."""
        return self._frames[index % PERIOD][0]

    def labels(self, index: int) -> np.ndarray:
        """Which box each pixel of the frame belongs to; 0 for none."""
        return self._frames[index % PERIOD][1]

    def _draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.size
        columns = math.ceil(math.sqrt(self.count))
        rows = math.ceil(self.count / columns)
        cell_h, cell_w = height // rows, width // columns
        shift = abs(index - PERIOD // 2) / PERIOD  # 0.5 -> 0 -> 0.5
        image, labels = self._ground.copy(), np.zeros(self.size, np.uint8)
        for number in range(self.count):
            top = (number // columns) * cell_h + cell_h // 4
            left = (number % columns) * cell_w + int(shift * cell_w / 2) + cell_w // 8
            place = slice(top, top + cell_h // 2), slice(left, left + cell_w // 2)
            image[place], labels[place] = self._colours[number], number + 1
        return image, labels
