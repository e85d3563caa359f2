"""Two orders of work on the same frames, turn by turn, with their answers compared."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from ..errors import UniRefError
from ..runtime import FrameFeatures, ObjectReferences, Prediction, Runtime
from ..scene import boxes
from .figures import percentiles

PROMPT = "the box on the table"
WARM_UP = 3
"""Frames not counted."""

SCORE_TOLERANCE = 1e-2
MIN_IOU = 0.99
"""Graphs that are exported from a .safetensors file hold folded convolutions that were rounded to float16
twice, those of the model once: up to 1e-3 of a weight. On the same weights answers agree to 1e-5."""


def compare(
    ours: Runtime,
    other: Runtime,
    count: int,
    frames: int,
    progress: Callable[[], None] = lambda: None,
    warm_up: int = WARM_UP,
    words: bool = False,
) -> dict[str, Any]:
    """Milliseconds a frame of the network alone, for `count` objects given by masks, and their ratio.

    Both get the same images and masks and take turns in going first. Every frame: encode it, look for all
    objects by their masks (and by words too), encode their new references. Raises UniRefError when an answer
    differs.
    """
    pictures, masks = boxes(count, ours.size)
    chosen = np.stack(masks).astype(np.float32)
    states = [_State(runtime, pictures[0], chosen, words) for runtime in (ours, other)]
    times: list[list[float]] = [[], []]
    worst_score, worst_iou = 0.0, 1.0
    for index in range(warm_up + frames):
        answers: dict[int, list[Prediction]] = {}
        for place in (0, 1) if index % 2 else (1, 0):
            start = perf_counter()
            answers[place] = states[place].step(pictures[index % len(pictures)], chosen)
            if index >= warm_up:
                times[place].append(1000 * (perf_counter() - start))
        for one, two in zip(answers[0], answers[1], strict=True):
            worst_score = max(worst_score, abs(one.score - two.score))
            worst_iou = min(worst_iou, _iou(one.mask_logits > 0, two.mask_logits > 0))
        progress()
    if worst_score > SCORE_TOLERANCE or worst_iou < MIN_IOU:
        raise UniRefError(
            f"the two orders of work disagree: scores by {worst_score:.2g}, mask IoU {worst_iou:.5f}; "
            f"expected at most {SCORE_TOLERANCE} and at least {MIN_IOU}"
        )
    ratios = np.array(times[1]) / np.array(times[0])
    return {
        "objects": count,
        "references": "words and masks" if words else "masks",
        "frames": frames,
        "warm_up": warm_up,
        "ours_ms": percentiles(times[0]),
        "theirs_ms": percentiles(times[1]),
        "ratio": round(float(np.median(ratios)), 3),
        "ratio_of_medians": round(float(np.median(times[1]) / np.median(times[0])), 3),
        "worst_score_difference": worst_score,
        "worst_mask_iou": worst_iou,
    }


class _State:
    """One order of work and its references."""

    def __init__(self, runtime: Runtime, image: np.ndarray, masks: np.ndarray, words: bool) -> None:
        self.runtime, self.words = runtime, words
        self.first = runtime.encode_reference(runtime.encode_image(image), masks)
        self.previous = self.first

    def step(self, image: np.ndarray, masks: np.ndarray) -> list[Prediction]:
        frame: FrameFeatures = self.runtime.encode_image(image)
        # Asked for in every frame, as a tracker would that keeps nothing: that is free where it is known.
        prompts = [self.runtime.encode_text(PROMPT) if self.words else None for _ in masks]
        references = zip(prompts, self.first, self.previous, strict=True)
        answers = self.runtime.segment(frame, [ObjectReferences(*each) for each in references])
        self.previous = self.runtime.encode_reference(frame, masks)
        return answers


def _iou(one: np.ndarray, two: np.ndarray) -> float:
    union = np.count_nonzero(one | two)
    return np.count_nonzero(one & two) / union if union else 1.0
