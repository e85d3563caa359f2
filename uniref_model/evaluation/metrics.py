"""Region similarity J, boundary accuracy F, and the averages each benchmark publishes.

J and F follow the DAVIS definitions (Perazzi et al., CVPR 2016). All functions are pure and work on numpy
arrays. Scores are fractions in 0..1; averages over nothing are NaN, never 0, so that "not measured" cannot
read as "bad".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np

BOUNDARY_TOLERANCE = 0.008
"""Distance, as a fraction of the image diagonal, within which a boundary pixel counts as found (DAVIS)."""

PRECISION_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Score:
    """J and F of one mask, or their mean over masks."""

    j: float
    f: float

    @property
    def jf(self) -> float:
        """J&F, the mean of both."""
        return (self.j + self.f) / 2


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean; NaN for no values."""
    listed = list(values)
    return float(np.mean(listed)) if listed else math.nan


def mean_score(scores: Iterable[Score]) -> Score:
    """Mean J and mean F."""
    listed = list(scores)
    return Score(mean(s.j for s in listed), mean(s.f for s in listed))


def jaccard(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two bool [h,w] masks; 1 when both are empty."""
    union = np.count_nonzero(predicted | truth)
    return float(np.count_nonzero(predicted & truth) / union) if union else 1.0


def boundary(mask: np.ndarray) -> np.ndarray:
    """One-pixel outline of a bool [h,w] mask: pixels unlike their right, lower or lower-right neighbour.

    The last row and column compare along the border only and the corner is never boundary, as in the DAVIS
    toolkit.
    """
    outline = np.zeros(mask.shape, bool)
    outline[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    inner = outline[:-1]
    inner |= mask[:-1] ^ mask[1:]
    inner[:, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return outline


@lru_cache(maxsize=8)
def _disc(radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)


def boundary_f(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Boundary F measure of two bool [h,w] masks: harmonic mean of boundary precision and recall.

    A boundary pixel is right when the other outline is within ceil(0.008 * diagonal) pixels. 1 when neither
    has an outline.
    """
    outline_p, outline_t = boundary(predicted), boundary(truth)
    count_p, count_t = np.count_nonzero(outline_p), np.count_nonzero(outline_t)
    if not count_p or not count_t:
        return 1.0 if count_p == count_t else 0.0
    disc = _disc(math.ceil(BOUNDARY_TOLERANCE * math.hypot(*truth.shape)))
    near_t = cv2.dilate(outline_t.astype(np.uint8), disc) > 0
    near_p = cv2.dilate(outline_p.astype(np.uint8), disc) > 0
    precision = np.count_nonzero(outline_p & near_t) / count_p
    recall = np.count_nonzero(outline_t & near_p) / count_t
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def score_mask(predicted: np.ndarray, truth: np.ndarray, ignore: np.ndarray | None = None) -> Score:
    """J and F of bool [h,w] masks. Pixels where `ignore` is true count for neither side.

    Raises ValueError when the shapes differ.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"predicted mask is {predicted.shape}, the ground truth is {truth.shape}")
    predicted, truth = predicted.astype(bool), truth.astype(bool)
    if ignore is not None:
        predicted, truth = predicted & ~ignore, truth & ~ignore
    return Score(jaccard(predicted, truth), boundary_f(predicted, truth))


def youtube_vos_g(seen: Sequence[Score], unseen: Sequence[Score]) -> dict[str, float]:
    """YouTube-VOS overall score: G is the mean of J and F over seen and over unseen categories (Xu et al.,
    2018).

    Args are per-object scores. G is NaN when one of the two groups is empty.
    """
    s, u = mean_score(seen), mean_score(unseen)
    return {"G": (s.j + s.f + u.j + u.f) / 4, "J_seen": s.j, "F_seen": s.f, "J_unseen": u.j, "F_unseen": u.f}


def best_assignment(scores: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (prediction, object) that maximise the sum of scores [predictions, objects] (DAVIS unsupervised
    task)."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-scores)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


@dataclass
class ReferringTotals:
    """Running totals of referring image segmentation: oIoU (pooled), mIoU (mean of samples) and Pr@X (share
    of IoU at least X)."""

    intersection: int = 0
    union: int = 0
    ious: list[float] = field(default_factory=list)

    def add(self, predicted: np.ndarray, truth: np.ndarray) -> float:
        """Add one expression's bool [h,w] masks and return their IoU (1 when both are empty)."""
        intersection, union = np.count_nonzero(predicted & truth), np.count_nonzero(predicted | truth)
        return self.add_counts(intersection, union)

    def add_counts(self, intersection: int, union: int) -> float:
        """Add one expression by its pixel counts."""
        self.intersection += intersection
        self.union += union
        iou = intersection / union if union else 1.0
        self.ious.append(iou)
        return iou

    def summary(self) -> Mapping[str, float]:
        """oIoU, mIoU, Pr@0.5 … Pr@0.9; NaN before the first sample."""
        result = {"oIoU": self.intersection / self.union if self.union else math.nan, "mIoU": mean(self.ious)}
        for threshold in PRECISION_THRESHOLDS:
            result[f"Pr@{threshold}"] = mean(float(iou >= threshold) for iou in self.ious)
        return result
