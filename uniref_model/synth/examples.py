"""The clip generator as a source of training examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from uniref_model.synth.compose import Clip, ClipGenerator
from uniref_model.synth.config import ClipConfig
from uniref_model.synth.packs.sprites import SpritePack
from uniref_model.synth.pairs import Example


@dataclass(frozen=True)
class GeneratedExamples:
    """Endless examples from generated clips; picklable, so that worker processes can make their own.

    pack: sprite pack file, or None for procedural objects alone. validation: use the pack's held-out
    pictures.
    """

    pack: Path | None
    clips: ClipConfig
    validation: bool = False

    def __call__(self, size: tuple[int, int], seed: int) -> Iterator[Example]:
        """Clips of `size` (height, width); validation clips come from seeds that training never uses."""
        pack = SpritePack.empty() if self.pack is None else SpritePack.load(self.pack).split(self.validation)
        config = replace(self.clips, height=size[0], width=size[1])
        generator = ClipGenerator(pack, config, seed=2 * seed + int(self.validation))
        index = 0
        while True:
            yield to_example(generator.clip(index))
            index += 1


def to_example(clip: Clip) -> Example:
    """A generated clip in the form the pair sampler reads."""
    return Example(clip.images, clip.labels, clip.expressions, clip.absent)


@dataclass(frozen=True)
class MixedExamples:
    """Examples of two makers, two at a time, since clips of stills come in pairs. share: of the first."""

    one: Callable[[tuple[int, int], int], Iterator[Example]]
    other: Callable[[tuple[int, int], int], Iterator[Example]]
    share: float

    def __call__(self, size: tuple[int, int], seed: int) -> Iterator[Example]:
        """Endless examples of `size` (height, width)."""
        rng = np.random.default_rng(seed)
        one, other = self.one(size, seed), self.other(size, seed)
        while True:
            source = one if rng.random() < self.share else other
            yield next(source)
            yield next(source)
