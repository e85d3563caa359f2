"""The gate every engine passes before it is used: the same inputs, the answers of ONNX Runtime in float32.

TensorRT is known to miscompile sampling-based attention without a word, in single precision too. So no
engine is trusted for having been built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .contract import ANSWERS, BOX, MASK_LOGITS, SCORE


@dataclass(frozen=True)
class Tolerance:
    """What an engine may differ by. score: absolute. box: of the image's size; another chosen query nearly
    always has another box. mask_iou: at least, for every object, where its logits are not about 0.
    relative: of an output's largest value, the largest error of features, the mean error of mask logits, and
    what is about 0 among these."""

    score: float = 0.02
    box: float = 0.01
    mask_iou: float = 0.99
    relative: float = 0.02


TOLERANCES = {
    "fp32": Tolerance(score=0.005, box=0.002, mask_iou=0.995, relative=0.005),
    "fp16": Tolerance(),
    "bf16": Tolerance(score=0.05, box=0.02, mask_iou=0.97, relative=0.05),
}
"""By the precision of the graph the engine was built from."""

_TINY_MASK = 16
"""Quarter-size pixels under which IoU says nothing: a pixel more or less is then compared as a part of the
whole map."""


def compare(
    expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], allowed: Tolerance | None = None
) -> list[str]:
    """What is wrong with `found`, one line each; empty when it may be used."""
    problems = []
    for name, wanted in expected.items():
        answer = found.get(name)
        if answer is None or answer.shape != wanted.shape:
            shape = None if answer is None else answer.shape
            problems.append(f"{name} has shape {shape}, expected {wanted.shape}")
        elif not np.isfinite(answer).all():
            problems.append(f"{name} holds numbers that are not finite")
        elif problem := _compare_output(name, wanted, answer, allowed or Tolerance()):
            problems.append(f"{name}: {problem}")
    return problems


def _compare_output(name: str, wanted: np.ndarray, answer: np.ndarray, allowed: Tolerance) -> str | None:
    errors = np.abs(answer.astype(np.float32) - wanted)
    error = float(errors.max())
    scale = max(float(np.abs(wanted).max()), 1e-6)
    carries = ANSWERS.get(name)
    if carries in (SCORE, BOX):
        limit = allowed.score if carries == SCORE else allowed.box
        return f"differs by {error:.4f}, allowed {limit}" if error > limit else None
    if carries == MASK_LOGITS:
        worst = min(_agreement(*pair, allowed.relative) for pair in zip(wanted, answer, strict=True))
        if worst < allowed.mask_iou:
            return f"mask IoU {worst:.4f}, expected {allowed.mask_iou}"
        mean = float(errors.mean()) / scale
        return f"mean error {mean:.4f}, allowed {allowed.relative}" if mean > allowed.relative else None
    relative = error / scale
    return (
        f"relative error {relative:.4f}, allowed {allowed.relative}" if relative > allowed.relative else None
    )


def _agreement(wanted: np.ndarray, answer: np.ndarray, unsure: float) -> float:
    """IoU of the masks, where the wanted one is not itself on the fence: on the example's noise many a pixel
    is, and lies on either side by rounding alone. unsure: part of the largest logit."""
    sure = np.abs(wanted) > unsure * np.abs(wanted).max()
    return _iou((wanted > 0) & sure, (answer > 0) & sure)


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    union = np.count_nonzero(one | other)
    if union < _TINY_MASK:
        return 1.0 - np.count_nonzero(one ^ other) / one.size
    return np.count_nonzero(one & other) / union
