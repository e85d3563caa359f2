"""Clips to batches in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from uniref_model.synth.pairs import Batch, Example, PairSampler
from uniref_model.training.config import Phase, TrainingConfig

ExampleMaker = Callable[
    [tuple[int, int], int], Iterator[Example]
]  # (height, width), seed -> endless examples


class BatchStream(IterableDataset):
    """Endless batches of the given phases in turn; every worker of every process draws its own clips."""

    def __init__(
        self, make: ExampleMaker, config: TrainingConfig, phases: Sequence[Phase], seed: int
    ) -> None:
        super().__init__()
        self._make, self._config, self._phases, self._seed = make, config, tuple(phases), seed

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        seed = 1009 * self._seed + (0 if worker is None else worker.id)
        sources = [self._batches(phase, seed) for phase in self._phases]
        while True:
            for source in sources:
                yield next(source)

    def _batches(self, phase: Phase, seed: int) -> Iterator[Batch]:
        sampler = pair_sampler(self._config, phase, seed)
        examples = self._make((phase.height, phase.width), seed)
        while True:
            batch = sampler.batch([next(examples) for _ in range(phase.clips)])
            if batch.frame:
                yield batch


def pair_sampler(config: TrainingConfig, phase: Phase, seed: int) -> PairSampler:
    """The phase's sampler of pairs."""
    minimum = max(int(config.minimum_area * phase.height * phase.width), 8)
    return PairSampler(config.pairs, minimum, np.random.default_rng(seed))


def loader(stream: BatchStream, workers: int) -> DataLoader:
    """Batches as they are made; workers keep to one thread and step back before the training itself.

    Workers are spawned: forked ones inherit the locks of OpenCV's and torch's thread pools and hang.
    """
    return DataLoader(
        stream,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=3 if workers else None,
        worker_init_fn=_polite,
        multiprocessing_context="spawn" if workers else None,
    )


def _polite(_: int) -> None:
    import os

    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    os.nice(5)
