"""Multi-dataset sampling as in Detic: data sets by weight, batches of one data set and one orientation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from uniref_model.datasets.training import TrainingSet
from uniref_model.training.paper.config import DatasetConfig
from uniref_model.training.paper.samples import Key

BLOCK = 4096
"""Samples drawn at once; any number gives the same samples only with the same BLOCK."""


class MultiDatasetBatches(Sampler):
    """Endless batches of keys for one process.

    All processes draw the same stream (seed) of data sets in proportion to their weights, whatever their
    sizes, and of items uniformly with replacement; process `rank` takes every `processes`-th sample. A batch
    is given out when samples of one data set that are all wide or all tall fill it, so little is padded.

    start: batches to skip; the stream goes on exactly where a stopped run left it.
    """

    def __init__(
        self,
        sets: Sequence[TrainingSet],
        configs: Sequence[DatasetConfig],
        seed: int,
        rank: int = 0,
        processes: int = 1,
        start: int = 0,
    ) -> None:
        self._sets, self._configs = tuple(sets), tuple(configs)
        self._seed, self._rank, self._processes, self._start = seed, rank, processes, start
        weights = np.asarray([config.weight for config in configs], np.float64)
        self.probabilities = weights / weights.sum()

    def keys(self) -> Iterator[Key]:
        """The stream of all processes."""
        rng = np.random.default_rng(self._seed)
        lengths = np.asarray([len(dataset) for dataset in self._sets])
        position = 0
        while True:
            chosen = rng.choice(len(self._sets), BLOCK, p=self.probabilities)
            items = (rng.random(BLOCK) * lengths[chosen]).astype(np.int64)
            for dataset, item in zip(chosen.tolist(), items.tolist(), strict=True):
                yield Key(dataset, item, position)
                position += 1

    def __iter__(self) -> Iterator[list[Key]]:
        groups: dict[tuple[int, bool], list[Key]] = {}
        given = 0
        for key in self.keys():
            if key.position % self._processes != self._rank:
                continue
            height, width = self._sets[key.dataset].size(key.item)
            group = groups.setdefault((key.dataset, width > height), [])
            group.append(key)
            if len(group) == self._configs[key.dataset].batch_size:
                given += 1
                if given > self._start:
                    yield list(group)
                group.clear()
