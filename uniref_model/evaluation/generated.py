"""Scores on generated clips through a runtime, as deployed: overlaps, absence, look-alikes, thresholds.

The one place where thresholds may be chosen: real pictures are for judging only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..runtime.base import FrameFeatures, MaskReference, ObjectReferences, Runtime
from ..synth.pairs import Batch, Example, Kind, Pairs, PairSampler
from ..tracking.contours import follow_colour
from ..tracking.frame_fit import upsample_logits
from .metrics import mean, score_mask

PAIRS = Pairs(words=2, mask=1, both=0.5, interactive=1, absent=2, gone=0.5)
RIGHT_IOU = 0.5
BY_WORDS = (Kind.WORDS, Kind.BOTH, Kind.ABSENT)
NOTHING = (Kind.ABSENT, Kind.GONE)


@dataclass(frozen=True)
class Answer:
    """One pair's answer. confused: the mask lies on another labelled object instead (IoU over 0.5)."""

    kind: Kind
    score: float
    j: float
    f: float
    confused: bool

    @property
    def right(self) -> bool:
        return self.kind not in NOTHING and self.j > RIGHT_IOU


def ask_generated(
    runtime: Runtime, examples: Iterator[Example], clips: int, seed: int = 0, contours: str = "model"
) -> list[Answer]:
    """Ask all pairs of `clips` clips (frames at the runtime's size)."""
    sampler = PairSampler(
        PAIRS, max(runtime.size[0] * runtime.size[1] // 2500, 8), np.random.default_rng(seed)
    )
    colour = (runtime.spec.contours if contours == "model" else contours) == "colour"
    answers: list[Answer] = []
    for _ in range(clips):
        answers += _ask(runtime, sampler.batch([next(examples)]), colour)
    return answers


def choose_threshold(answers: Sequence[Answer]) -> float:
    """The threshold that best parts right answers from wrong ones (Youden 1950): most right ones over it,
    fewest others. To two digits; of equals the middle. ValueError unless there are both kinds."""
    right = np.array([a.score for a in answers if a.right])
    wrong = np.array([a.score for a in answers if not a.right])
    if not len(right) or not len(wrong):
        raise ValueError("a threshold needs right and wrong answers")
    steps = np.arange(5, 96) / 100
    gain = [(right > step).mean() - (wrong > step).mean() for step in steps]
    best = np.flatnonzero(np.isclose(gain, np.max(gain)))
    return float(steps[best[len(best) // 2]])


def summarise(answers: Sequence[Answer], mask_threshold: float, language_threshold: float) -> dict[str, Any]:
    """By kind: {"pairs", "J", "F", "found"} (score over its threshold and J over 0.5), and "answered" (score
    over it) for what is not there; {"confused": share of word pairs answered by another object}."""
    result: dict[str, Any] = {}
    for kind in Kind:
        chosen = [a for a in answers if a.kind == kind]
        if not chosen:
            continue
        threshold = language_threshold if kind in BY_WORDS else mask_threshold
        passed = [a.score > threshold for a in chosen]
        row: dict[str, float] = {"pairs": len(chosen), "answered": mean(passed)}
        if kind not in NOTHING:
            row |= {
                "J": mean(a.j for a in chosen),
                "F": mean(a.f for a in chosen),
                "found": mean(p and a.right for p, a in zip(passed, chosen, strict=True)),
                "confused": mean(p and a.confused for p, a in zip(passed, chosen, strict=True)),
            }
        result[kind.name.lower()] = {k: round(float(v), 4) for k, v in row.items()}
    return result


def _ask(runtime: Runtime, batch: Batch, colour: bool) -> list[Answer]:
    frames = [runtime.encode_image(image) for image in batch.images]
    masks = [
        runtime.encode_reference(frames[at], (mask.astype(np.float32) / 255)[None])[0]
        for at, mask in zip(batch.reference_frame, batch.reference_mask, strict=True)
    ]
    answers = []
    for index, at in enumerate(batch.frame):
        references = ObjectReferences(
            None if batch.text[index] < 0 else runtime.encode_text(batch.texts[batch.text[index]]),
            _take(masks, batch.first[index]),
            _take(masks, batch.previous[index]),
        )
        answers.append(
            _judge(runtime, frames[at], references, batch.labels[at], batch.target[index], colour)
            | {"kind": Kind(batch.kind[index])}
        )
    return [Answer(**answer) for answer in answers]


def _judge(
    runtime: Runtime,
    frame: FrameFeatures,
    references: ObjectReferences,
    labels: np.ndarray,
    target: int,
    colour: bool,
) -> dict[str, Any]:
    found = runtime.segment(frame, [references])[0]
    method = runtime.spec.upsample_for(references.language is not None)
    logits = upsample_logits(found.mask_logits, runtime.size, method)
    mask = (follow_colour(frame.image, logits) if colour else logits) > 0
    marks = score_mask(mask, labels == target if target > 0 else np.zeros_like(mask))
    others = [value for value in np.unique(labels) if value not in (0, target)]
    confused = any(score_mask(mask, labels == value).j > RIGHT_IOU for value in others)
    return {"score": float(found.score), "j": marks.j, "f": marks.f, "confused": confused}


def _take(masks: list[MaskReference], index: int) -> MaskReference | None:
    return masks[index] if index >= 0 else None
