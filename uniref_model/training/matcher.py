"""Which queries answer for a pair's target.

A UniRef pair (frame, reference) has one target or none, so Hungarian matching reduces to the cheapest query
and
needs no assignment solver; everything is batched over pairs. As the authors' code does in its image stages
(OTA,
after YOLOX), a target may claim more than one query: as many as the overlaps of its best candidates add up
to. This harms nothing at inference, where only the best query is read, and gives a short run more signal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uniref_model.training.boxes import pairwise_iou_giou

CANDIDATES = 8  # queries whose overlaps are summed for the dynamic count


@dataclass(frozen=True)
class Match:
    """index [N,K] query numbers, cheapest first; valid [N,K] whether that query is claimed (none without
    target)."""

    index: Tensor
    valid: Tensor


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, target: Tensor, has_target: Tensor, positives: int) -> Match:
    """Match queries to one target box a pair.

    logits [N,Q], boxes [N,Q,4] and target [N,4] (cx, cy, w, h in 0..1), has_target [N] bool,
    positives: most queries one target may claim.
    """
    iou, giou = pairwise_iou_giou(boxes, target[:, None])
    probability = logits.float().sigmoid()
    negative = 0.75 * probability**2 * -(1 - probability + 1e-8).log()
    positive = 0.25 * (1 - probability) ** 2 * -(probability + 1e-8).log()
    cost = 2 * (positive - negative) + 5 * (boxes - target[:, None]).abs().sum(-1) - 2 * giou
    count = min(positives, logits.shape[1])
    index = cost.topk(count, dim=1, largest=False).indices
    wanted = iou.topk(min(CANDIDATES, iou.shape[1]), dim=1).values.sum(1).long().clamp(1, count)
    valid = torch.arange(count, device=logits.device)[None] < wanted[:, None]
    return Match(index, valid & has_target[:, None])
