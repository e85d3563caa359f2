"""Few-shot segmentation: one picture with a mask shows a thing, and it is found in another picture.

The task says that the thing is there, so every answer counts, however low its score. How many of them a
tracker would have given, by the model's own threshold, is said too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..datasets.evaluation.fss1000 import Example, Fss1000
from ..runtime.base import Runtime
from ..tracking import Tracker, TrackerConfig
from .metrics import mean


def run_fewshot(
    runtime: Runtime,
    dataset: Fss1000,
    *,
    limit: int | None = None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, title: None,
) -> dict[str, Any]:
    """Ask every picture of every class with another one of its class, one shot.

    limit: only the first classes. on_progress: called with (done, total, class) before each class.
    Returns: {"model", "classes", "queries", "mIoU": mean over classes of pooled IoU, "FB-IoU": mean of the
    pooled IoU of things and of all else, "right": share with IoU over 0.5, "answered": share over the model's
    threshold, "by_class"}. Raises DatasetError naming a file that is missing or wrong.
    """
    names = list(dataset.classes)[:limit]
    counts: dict[str, np.ndarray] = {}
    rows: list[tuple[float, float]] = []
    for done, name in enumerate(names):
        on_progress(done, len(names), name)
        counts[name] = np.zeros((2, 2), np.int64)
        for query, support in _pairs(name, dataset.classes[name]):
            score, pixels = _ask(runtime, query, support)
            counts[name] += pixels
            rows.append((score, _iou(pixels[1])))
    on_progress(len(names), len(names), "done")
    threshold = runtime.spec.mask_threshold
    return {
        "model": runtime.describe(),
        "classes": len(names),
        "queries": len(rows),
        "mIoU": round(mean(_iou(item[1]) for item in counts.values()), 4),
        "FB-IoU": round(mean(_iou(part) for part in sum(counts.values())), 4),
        "right": round(mean(j > 0.5 for _, j in rows), 4),
        "answered": round(mean(score > threshold for score, _ in rows), 4),
        "by_class": {name: round(_iou(item[1]), 4) for name, item in counts.items()},
    }


def _pairs(name: str, examples: Sequence[Example]) -> list[tuple[Example, Example]]:
    """Every example as a query, with a support drawn from the others by the names alone."""
    pairs = []
    for index, query in enumerate(examples):
        digest = hashlib.sha256(f"{name}/{query.image_path.name}".encode()).digest()
        step = 1 + int.from_bytes(digest[:4], "big") % (len(examples) - 1)
        pairs.append((query, examples[(index + step) % len(examples)]))
    return pairs


def _ask(runtime: Runtime, query: Example, support: Example) -> tuple[float, np.ndarray]:
    """The score, and pixels as [[intersection, union] of the background, the same of the thing]."""
    shown, mask = support.read()
    image, truth = query.read()
    tracker = Tracker(runtime, TrackerConfig(mask_threshold=0.0))
    tracker.add_mask(mask, image=shown)
    frame = tracker.step(image)
    found = frame.label_image > 0
    score = float(frame.objects[0].score) if frame.objects else 0.0
    return score, np.array([_overlap(~found, ~truth), _overlap(found, truth)])


def _overlap(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    return int(np.count_nonzero(a & b)), int(np.count_nonzero(a | b))


def _iou(counts: Sequence[int]) -> float:
    intersection, union = counts
    return float(intersection / union) if union else 1.0
