"""The gate every engine passes before it is used: the same inputs, the answers of ONNX Runtime.

TensorRT is known to miscompile sampling-based attention without a word, in single precision too. So no
engine is trusted for having been built.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

MIN_MASK_IOU = 0.99
MAX_SCORE_ERROR = 0.02
MAX_BOX_ERROR = 0.01
"""Of the image's size. Another chosen query nearly always has another box."""
MAX_RELATIVE_ERROR = 0.02
"""Of the largest value of an intermediate output."""
_TINY_MASK = 16
"""Quarter-size pixels under which IoU says nothing: a pixel more or less is then compared as a part of the
whole map."""


def compare(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> list[str]:
    """What is wrong with `found`, one line each; empty when it may be used."""
    problems = []
    for name, wanted in expected.items():
        answer = found.get(name)
        if answer is None or answer.shape != wanted.shape:
            shape = None if answer is None else answer.shape
            problems.append(f"{name} has shape {shape}, expected {wanted.shape}")
        elif not np.isfinite(answer).all():
            problems.append(f"{name} holds numbers that are not finite")
        elif problem := _compare_output(name, wanted, answer):
            problems.append(f"{name}: {problem}")
    return problems


def _compare_output(name: str, wanted: np.ndarray, answer: np.ndarray) -> str | None:
    error = float(np.abs(answer - wanted).max())
    if name == "score":
        return f"differs by {error:.4f}, allowed {MAX_SCORE_ERROR}" if error > MAX_SCORE_ERROR else None
    if name == "box":
        return f"differs by {error:.4f}, allowed {MAX_BOX_ERROR}" if error > MAX_BOX_ERROR else None
    if name == "mask_logits":
        worst = min(_iou(one > 0, other > 0) for one, other in zip(wanted, answer, strict=True))
        return f"mask IoU {worst:.4f}, expected {MIN_MASK_IOU}" if worst < MIN_MASK_IOU else None
    relative = error / max(float(np.abs(wanted).max()), 1e-6)
    return (
        f"relative error {relative:.4f}, allowed {MAX_RELATIVE_ERROR}"
        if relative > MAX_RELATIVE_ERROR
        else None
    )


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    union = np.count_nonzero(one | other)
    if union < _TINY_MASK:
        return 1.0 - np.count_nonzero(one ^ other) / one.size
    return np.count_nonzero(one & other) / union
