"""Coloured discs and squares that move: the least data on which training must succeed."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from uniref_model.synth.expressions import Expression
from uniref_model.synth.pairs import Example

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230), "yellow": (230, 220, 50)}
SHAPES = ("disc", "square")


def toy_examples(size: tuple[int, int], seed: int) -> Iterator[Example]:
    """Endless clips of three frames with two objects of different colours on a grey textured ground."""
    rng = np.random.default_rng(seed)
    while True:
        yield _example(size, rng)


def _example(size: tuple[int, int], rng: np.random.Generator) -> Example:
    height, width = size
    names = rng.permutation(list(COLOURS))
    ground = cv2.resize(rng.integers(90, 160, (8, 14, 3), dtype=np.uint8), (width, height))
    images, labels = np.stack([ground] * 3), np.zeros((3, height, width), np.uint8)
    expressions = []
    for value, name in enumerate(names[:2], 1):
        shape = SHAPES[int(rng.integers(2))]
        radius = int(rng.uniform(0.1, 0.2) * height)
        middle = (
            np.array([width * (0.25 if value == 1 else 0.75), height / 2])
            + rng.uniform(-0.1, 0.1, 2) * height
        )
        for frame in range(3):
            x, y = (middle + rng.uniform(-0.08, 0.08, 2) * height).astype(int)
            for canvas, colour in ((images[frame], COLOURS[name]), (labels[frame], value)):
                if shape == "disc":
                    cv2.circle(canvas, (int(x), int(y)), radius, colour, -1)
                else:
                    corner = (int(x - radius), int(y - radius))
                    cv2.rectangle(canvas, corner, (int(x + radius), int(y + radius)), colour, -1)
        expressions.append([Expression(f"the {name} {shape}", (0, 1, 2))])
    return Example(images, labels, expressions, [f"the {names[2]} disc"])
