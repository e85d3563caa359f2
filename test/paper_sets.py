"""The tiny data sets of `training_sets`, opened as the paper's training opens them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from uniref_model.training.paper.config import DatasetConfig
from uniref_model.training.paper.sets import open_dataset

CONFIGS = Path(__file__).resolve().parents[1] / "config" / "training"
SPAN = 10


def row(name: str, **changes) -> DatasetConfig:
    tasks = {"visual_genome": "RIS", "refcoco": "RIS", "ref_youtube_vos": "RVOS"}
    values = {"task": tasks.get(name, "VOS"), "weight": 1.0, "batch_size": 2, "short_side": (64, 96)}
    return DatasetConfig(name, **(values | {"long_side": 128} | changes))


def open_set(data: Path, name: str, **changes):
    return open_dataset(row(name, **changes), data, SPAN)


def draws(dataset, count: int = 40):
    rng = np.random.default_rng(0)
    found = [dataset.draw(int(rng.integers(len(dataset))), rng) for _ in range(count)]
    return [drawn for drawn in found if drawn is not None]
