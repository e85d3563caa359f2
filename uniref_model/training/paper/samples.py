"""From data sets to training samples: every sample is decided by the run's seed and its place in the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.training import Drawn, Frame, TrainingSet
from uniref_model.errors import PromptError
from uniref_model.runtime.text import normalise_prompt
from uniref_model.training.paper.augment import counts_objects, draw_geometry, draw_short_side, swap_sides
from uniref_model.training.paper.config import DatasetConfig

ATTEMPTS = 50
"""Draws before a data set is given up: an object may be hidden or cropped away, a phrase without a word."""


class Key(NamedTuple):
    """Which sample. position: its place in the run's stream of samples, of which all its chance comes."""

    dataset: int
    item: int
    position: int


@dataclass(frozen=True)
class Sample:
    """One object to find in `current`, by `text` ("" : none), by its mask in `reference`, or by both."""

    current: Frame
    reference: Frame | None
    text: str
    dataset: int


class SampleStream(Dataset):
    """Keys to samples. seed: the run's."""

    def __init__(self, sets: Sequence[TrainingSet], configs: Sequence[DatasetConfig], seed: int) -> None:
        self.sets, self.configs, self.seed = tuple(sets), tuple(configs), seed

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self.sets)

    def __getitem__(self, key: Key) -> Sample:
        """The sample of a key; where its item has nothing to learn from, another item of the same data set.

        Raises DatasetError naming a broken file, or the data set when ATTEMPTS draws gave nothing.
        """
        dataset, config = self.sets[key.dataset], self.configs[key.dataset]
        rng = np.random.default_rng([self.seed, key.position])
        item = key.item
        for _ in range(ATTEMPTS):
            drawn = dataset.draw(item, rng)
            sample = None if drawn is None else make_sample(drawn, config, key.dataset, rng)
            if sample is not None:
                return sample
            item = int(rng.integers(len(dataset)))
        raise DatasetError(f"data set {config.name!r}: {ATTEMPTS} draws gave no object to learn from")


def make_sample(drawn: Drawn, config: DatasetConfig, dataset: int, rng: np.random.Generator) -> Sample | None:
    """Augment what was drawn. None where the object or the words do not survive.

    A clip keeps its flip, and one from a video also its scale; a clip from a still picture is two different
    augmentations of it, each with a scale and a crop of its own.
    """
    flip, crop = rng.random() < 0.5, rng.random() < config.crop
    text = ""
    if config.task != "VOS":
        try:
            text = normalise_prompt(swap_sides(drawn.phrase) if flip else drawn.phrase)
        except PromptError:
            return None
        crop = crop and not counts_objects(text)
    short_side = draw_short_side(config, rng)
    current = _augment(drawn.frames[-1], crop, short_side, config, flip, rng)
    if current is None or not config.clips:
        return None if current is None else Sample(current, None, text, dataset)
    if text and rng.random() < config.language_only:
        return Sample(current, None, text, dataset)
    if len(drawn.frames) == 1:
        # a pseudo-video: without another window the two frames would show the same
        short_side, crop = draw_short_side(config, rng), not counts_objects(text)
    reference = _augment(drawn.frames[0], crop, short_side, config, flip, rng)
    return None if reference is None else Sample(current, reference, text, dataset)


def _augment(
    frame: Frame, crop: bool, short_side: int, config: DatasetConfig, flip: bool, rng: np.random.Generator
) -> Frame | None:
    """The frame through a random geometry; whole where a crop would lose the object."""
    size = frame.image.shape[:2]
    result = draw_geometry(size, crop, short_side, config.long_side, flip, rng)(frame)
    if result is None and crop:
        result = draw_geometry(size, False, short_side, config.long_side, flip, rng)(frame)
    return result
