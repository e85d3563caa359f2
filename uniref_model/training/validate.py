"""Scores on held-out clips: how well words, masks and clicks find their object, and how often absence is
noticed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from uniref_model.synth.pairs import Kind
from uniref_model.training.step import Tensors, TrainingModel, mask_iou, upsample

THRESHOLDS = {Kind.WORDS: 0.3, Kind.ABSENT: 0.3}  # all other kinds: 0.4, as at run time


class Answers(NamedTuple):
    """The best query of each pair of a batch: its logit, its mask's IoU with the target (1 where both are
    empty), and what the pair is. All [N]."""

    logits: Tensor
    iou: Tensor
    kind: Tensor
    has_target: Tensor


@torch.no_grad()
def answers(model: TrainingModel, batches: Iterable[Tensors]) -> Iterator[Answers]:
    """What the model, in evaluation mode, says of each batch."""
    model.eval()
    for data in batches:
        output = model.respond(data, "best")
        iou = mask_iou(upsample(output.mask_logits, data.target.shape[-2:]) > 0, data.target)
        yield Answers(output.score_logits, iou, data.kind, data.has_target)


def validate(model: TrainingModel, batches: Iterable[Tensors]) -> dict[str, float]:
    """Mean figures over the batches' pairs.

    iou/KIND: IoU of the best query's mask. found/KIND: share with a score above the threshold and IoU > 0.5.
    false/absent, false/gone, false/foreign: share of pairs without target that pass it all the same.
    """
    rows: dict[str, list[float]] = {}
    for logits, iou, kinds, _ in answers(model, batches):
        scores = logits.sigmoid().tolist()
        for kind, overlap, score in zip(kinds.tolist(), iou.tolist(), scores, strict=True):
            name, passed = Kind(kind).name.lower(), score > THRESHOLDS.get(Kind(kind), 0.4)
            if Kind(kind).is_negative:
                rows.setdefault(f"false/{name}", []).append(float(passed))
            else:
                rows.setdefault(f"iou/{name}", []).append(overlap)
                rows.setdefault(f"found/{name}", []).append(float(passed and overlap > 0.5))
    model.train()
    return {name: sum(values) / len(values) for name, values in sorted(rows.items())}
