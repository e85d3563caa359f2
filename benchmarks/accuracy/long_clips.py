"""Generated clips of many frames: drawn objects that drift, turn, hide each other and leave the picture.

Made of the parts that training clips are made of, which have three frames only. Here the first frame grows
old, and the previous one can lead astray: what a choice of references is about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from uniref_model.synth.backgrounds import make_background
from uniref_model.synth.library import Library, Thing
from uniref_model.synth.packs.sprites import SpritePack
from uniref_model.synth.photometry import Camera, Canvas, Finish, lay
from uniref_model.synth.things.colours import COLOURS

OBJECTS = 3
_NAMED = [name for name in COLOURS if name not in ("brown", "beige", "grey", "gray", "silver", "gold")]


@dataclass(frozen=True)
class LongClip:
    """images uint8 [T,H,W,3] RGB, labels uint8 [T,H,W], and for each object a phrase that means it alone."""

    images: np.ndarray
    labels: np.ndarray
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class _Path:
    """Sines in position, size and turn; `away` are the frames in which it is out of the picture."""

    middle: np.ndarray
    swing: np.ndarray
    phase: np.ndarray
    period: np.ndarray
    size: float
    away: range

    def at(self, frame: int) -> tuple[float, float, float, float, float]:
        """x, y in 0..1, size over frame height, roll and yaw in radians."""
        x, y, grow, roll, yaw = self.swing * np.sin(2 * np.pi * (frame / self.period + self.phase))
        x, y = self.middle[0] + x + 2.0 * (frame in self.away), self.middle[1] + y
        return x, y, self.size * np.exp(grow), roll, 3 * yaw


def long_clips(size: tuple[int, int], frames: int, seed: int) -> Iterator[LongClip]:
    """Endless clips of `size` (height, width)."""
    library = Library(SpritePack.empty(), {"procedural": 1.0})
    index = 0
    while True:
        yield _clip(np.random.default_rng((seed, index)), library, size, frames)
        index += 1


def _clip(rng: np.random.Generator, library: Library, size: tuple[int, int], frames: int) -> LongClip:
    colours = [str(name) for name in rng.permutation(_NAMED)[:OBJECTS]]
    things = [library.thing(rng, str(rng.choice(library.nouns)), colour) for colour in colours]
    paths = [_path(rng, number, frames) for number in range(OBJECTS)]
    ground = make_background(rng, *size, [])
    camera = Camera.random(rng)
    images, labels = [], []
    for frame in range(frames):
        canvas = Canvas(ground.copy(), np.zeros(size, np.uint8))
        for number, (thing, path) in enumerate(zip(things, paths, strict=True), 1):
            _paint(canvas, thing, path.at(frame), number)
        images.append(camera.shoot(rng, canvas.image))
        labels.append(canvas.ids)
    phrases = tuple(
        f"the {colour} {thing.names.usual}" for colour, thing in zip(colours, things, strict=True)
    )
    return LongClip(np.stack(images), np.stack(labels), phrases)


def _path(rng: np.random.Generator, number: int, frames: int) -> _Path:
    start = int(rng.uniform(0.4, 0.7) * frames)
    leaves = number == 0 and rng.random() < 0.5
    return _Path(
        middle=np.array([0.22 + 0.28 * number, rng.uniform(0.4, 0.6)]),
        swing=np.array([0.2, 0.14, 0.2, 0.4, 0.5]) * rng.uniform(0.5, 1.0, 5),
        phase=rng.random(5),
        period=frames * rng.uniform(0.4, 1.2, 5),
        size=float(rng.uniform(0.25, 0.45)),
        away=range(start, start + frames // 6) if leaves else range(0),
    )


def _paint(canvas: Canvas, thing: Thing, pose: tuple[float, float, float, float, float], number: int) -> None:
    height, width = canvas.ids.shape
    x, y, size, roll, yaw = pose
    scale = size * height
    cosine, sine = np.cos(roll) * scale, np.sin(roll) * scale
    to_frame = np.array([[cosine, -sine, x * width], [sine, cosine, y * height], [0, 0, 1.0]])
    lay(canvas, thing.shape.view(yaw, 0.2, int(scale)), to_frame, number, Finish(blur=0.5, shadow=0.3))
