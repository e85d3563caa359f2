"""What a frame costs beside the network: the tracker on a network that answers at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from ..runtime import ModelSpec
from ..scene import boxes
from ..tracking import Tracker, TrackerConfig
from .figures import percentiles
from .latency import WARM_UP
from .wrapped import Instant

FRAMES = {"480p": (480, 640), "720p": (720, 1280), "1080p": (1080, 1920)}
PARTS = ("prepare", "segment", "merge", "encode_reference", "total")
"""Timings: resizing the frame; drawing contours; merging; references' masks; all of a step."""


def host_work(
    spec: ModelSpec,
    size: tuple[int, int],
    counts: Sequence[int],
    frames: int,
    progress: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """A row for every size of `FRAMES` and number of objects: ellipses side by side, half as high as the
    frame and together two thirds as wide (one alone: a third)."""
    return [
        {"frame": name, "objects": count, "ms": _measure(spec, size, shape, count, frames, progress)}
        for name, shape in FRAMES.items()
        for count in counts
    ]


def _measure(
    spec: ModelSpec,
    size: tuple[int, int],
    shape: tuple[int, int],
    count: int,
    frames: int,
    progress: Callable[[], None],
) -> dict[str, dict[str, float]]:
    pictures, _ = boxes(count, shape)
    masks = [_ellipse(index, count, shape) for index in range(count)]
    tracker = Tracker(Instant(spec, size, masks), TrackerConfig(max_objects=count))
    for mask in masks:
        tracker.add_mask(mask)
    timings = []
    for index in range(WARM_UP + frames):
        timings.append(tracker.step(pictures[index % len(pictures)]).timings)
        progress()
    return {part: percentiles([one[part] for one in timings[WARM_UP:]]) for part in PARTS}


def _ellipse(index: int, count: int, shape: tuple[int, int]) -> np.ndarray:
    height, width = shape
    mask = np.zeros(shape, np.uint8)
    centre = round((index + 0.5) * width / count), height // 2
    half = round(width / 6 if count == 1 else width / count / 3), height // 4
    cv2.ellipse(mask, centre, half, 0, 0, 360, 1, -1)
    return mask.astype(bool)
