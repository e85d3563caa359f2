"""What the synthetic cameras see: named things that move, and where they are at any time.

Places depend on the time alone, so a listener knows from a result's stamp where the thing was in that image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

COLOURS = {
    "red": (210, 40, 40),
    "yellow": (230, 205, 50),
    "blue": (40, 70, 200),
    "green": (50, 160, 60),
}
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Actor:
    """A thing of one colour: "ball" or "box". away: (from, to) as shares of `period` in which it is out of
    the picture."""

    colour: str
    kind: str
    row: float
    phase: float
    period: float = 12.0
    away: tuple[float, float] = (1.0, 1.0)

    @property
    def prompt(self) -> str:
        return f"the {self.colour} {self.kind}"

    def is_away(self, time: float) -> bool:
        """Whether it is out of the picture at this time (s)."""
        return self.away[0] <= (time / self.period + self.phase) % 1.0 < self.away[1]

    def box(self, time: float, size: tuple[int, int]) -> Box | None:
        """x, y, width, height in pixels of an image of `size` (height, width); None while away."""
        if self.is_away(time):
            return None
        height, width = size
        side = height // 4
        angle = 2 * math.pi * (time / self.period + self.phase)
        x = int((0.5 + 0.38 * math.sin(angle)) * (width - side))
        y = int((self.row + 0.03 * math.cos(2 * angle)) * (height - side))
        return x, y, side, side


ACTORS = (
    Actor("red", "ball", 0.04, 0.0),
    Actor("yellow", "box", 0.5, 0.35),
    Actor("blue", "box", 0.96, 0.6),
    Actor("green", "ball", 0.5, 0.85),
)


class Scene:
    """Draws actors on a textured ground. image(time) is uint8 RGB [h,w,3]."""

    def __init__(self, size: tuple[int, int], actors: tuple[Actor, ...], seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        height, width = size
        coarse = generator.integers(90, 150, (9, 16, 3), np.uint8)
        self._ground = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        self.size, self.actors = size, actors

    def image(self, time: float) -> np.ndarray:
        """The picture at a time (s)."""
        image = self._ground.copy()
        for actor in self.actors:
            box = actor.box(time, self.size)
            if box is not None:
                self._draw(image, actor, box)
        return image

    @staticmethod
    def _draw(image: np.ndarray, actor: Actor, box: Box) -> None:
        x, y, width, height = box
        colour = COLOURS[actor.colour]
        shade = tuple(int(0.7 * value) for value in colour)
        if actor.kind == "ball":
            middle, radius = (x + width // 2, y + height // 2), width // 2
            cv2.circle(image, middle, radius, shade, -1, cv2.LINE_AA)
            cv2.circle(image, (middle[0] - 2, middle[1] - 3), radius * 7 // 8, colour, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(image, (x, y), (x + width - 1, y + height - 1), colour, -1)
            cv2.rectangle(image, (x, y + height * 3 // 4), (x + width - 1, y + height - 1), shade, -1)


def overlap(one: Box, other: Box) -> float:
    """IoU of two boxes."""
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[0] + one[2], other[0] + other[2]), min(one[1] + one[3], other[1] + other[3])
    inner = max(0, right - left) * max(0, bottom - top)
    return inner / max(one[2] * one[3] + other[2] * other[3] - inner, 1)
