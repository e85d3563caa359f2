"""The authors' matching and mask losses.

Mask losses are means over claimed queries: logits [N,K,h,w], target [N,h,w] in {0, 1}, claimed [N,K] 0 or 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from uniref_model.training.boxes import pairwise_iou_giou
from uniref_model.training.matcher import Match
from uniref_model.training.paper.batches import NEIGHBOUR_DISTANCE, NEIGHBOURS

OTA_CANDIDATES = 10  # queries whose overlaps are summed for the number of claims
OTA_RADIUS = 2.5 / 32  # half side of the central square, in fractions of the picture
BOOTSTRAP = 0.4  # share of pixels, the worst ones, that the bootstrapped cross-entropy sees
# the authors clamp probabilities to [1e-7, 1 - 1e-7] before they aggregate them with the background
SATURATION = 16.118


@torch.no_grad()
def match_ota(logits: Tensor, boxes: Tensor, target: Tensor) -> Match:
    """SimOTA with one target a row (the authors' `forward_ota`): logits [N,Q], boxes [N,Q,4] and target [N,4]
    (cx, cy, w, h in 0..1).

    A query whose centre lies outside the target's box and its central square costs 10000 more, one that is
    not in both 100 more. The target claims as many queries as the ten best overlaps add up to, at least one.
    """
    logits, boxes = logits.float(), boxes.float()
    iou, giou = pairwise_iou_giou(boxes, target[:, None])
    offset = (boxes[..., :2] - target[:, None, :2]).abs()
    in_box = (offset < target[:, None, 2:] / 2).all(-1)
    in_centre = (offset < OTA_RADIUS).all(-1)
    probability = logits.sigmoid()
    negative = 0.75 * probability**2 * -(1 - probability + 1e-8).log()
    positive = 0.25 * (1 - probability) ** 2 * -(probability + 1e-8).log()
    cost = positive - negative - 3 * giou + 100.0 * ~(in_box & in_centre) + 10000.0 * ~(in_box | in_centre)
    count = min(OTA_CANDIDATES, logits.shape[1])
    wanted = iou.topk(count, dim=1).values.sum(1).int().clamp(1, count)
    index = cost.topk(count, dim=1, largest=False).indices
    return Match(index, torch.arange(count, device=logits.device)[None] < wanted[:, None])


def focal_and_dice(logits: Tensor, target: Tensor, claimed: Tensor) -> tuple[Tensor, Tensor]:
    """(focal loss, mean over pixels; dice), both means over claimed queries."""
    expected = target[:, None].to(logits.dtype).expand_as(logits)
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, expected, reduction="none")
    miss = probability * (1 - expected) + (1 - probability) * expected
    weight = 0.25 * expected + 0.75 * (1 - expected)
    focal = (weight * miss**2 * entropy).mean((-2, -1))
    overlap = 2 * (probability * expected).sum((-2, -1)) + 1
    dice = 1 - overlap / (probability.sum((-2, -1)) + expected.sum((-2, -1)) + 1)
    return mean_of(focal, claimed), mean_of(dice, claimed)


def aggregated(logits: Tensor) -> Tensor:
    """Logits of an object after soft aggregation with its background, as the authors' auxiliary losses have
    it: the odds squared."""
    return 2 * logits.clamp(-SATURATION, SATURATION)


def bootstrapped_entropy(logits: Tensor, target: Tensor, claimed: Tensor) -> Tensor:
    """Cross-entropy of aggregated masks, mean over the worst BOOTSTRAP of each mask's pixels."""
    expected = target[:, None].to(logits.dtype).expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(aggregated(logits), expected, reduction="none").flatten(2)
    worst = entropy.topk(max(int(entropy.shape[2] * BOOTSTRAP), 1), dim=2).values
    return mean_of(worst.mean(2), claimed)


def soft_iou_loss(logits: Tensor, target: Tensor, claimed: Tensor) -> Tensor:
    """1 - IoU of aggregated masks, by minima and maxima of probabilities."""
    expected = target[:, None].to(logits.dtype).expand_as(logits)
    probability = aggregated(logits).sigmoid()
    inside = torch.minimum(probability, expected).sum((-2, -1))
    union = torch.maximum(probability, expected).sum((-2, -1))
    return mean_of(1 - (inside + 1e-7) / (union + 1e-7), claimed)


def projection_loss(logits: Tensor, filled: Tensor, claimed: Tensor) -> Tensor:
    """BoxInst: dice between the mask's projections on the axes and those of the filled box [N,h,w]."""
    probability, expected = logits.sigmoid(), filled[:, None].to(logits.dtype)
    terms = [_squared_dice(probability.amax(axis), expected.amax(axis)) for axis in (-1, -2)]
    return mean_of(terms[0] + terms[1], claimed)


def pairwise_loss(logits: Tensor, similar: Tensor, filled: Tensor, claimed: Tensor) -> Tensor:
    """BoxInst: neighbours that look alike get the same label. similar bool [N,8,h,w], filled [N,h,w].

    Mean over pairs inside the boxes of -log P(same label), P = p q + (1 - p)(1 - q).
    """
    on, off = F.logsigmoid(logits), F.logsigmoid(-logits)  # logs, so that nothing underflows
    d = NEIGHBOUR_DISTANCE
    height, width = logits.shape[-2:]
    # the authors' unfold pads logs with zeros; pairs that leave the picture have no weight
    on_wide, off_wide = F.pad(on, (d, d, d, d)), F.pad(off, (d, d, d, d))
    total, count = logits.new_zeros(()), logits.new_zeros(())
    for index, (dy, dx) in enumerate(NEIGHBOURS):
        rows, columns = slice(d + d * dy, d + d * dy + height), slice(d + d * dx, d + d * dx + width)
        same = torch.logaddexp(on + on_wide[..., rows, columns], off + off_wide[..., rows, columns])
        weight = (similar[:, index] & filled.bool())[:, None] * claimed[..., None, None]
        total = total - (same * weight).sum()
        count = count + weight.sum()
    return total / count.clamp(min=1)


def _squared_dice(a: Tensor, b: Tensor) -> Tensor:
    union = (a**2).sum(-1) + (b**2).sum(-1) + 1e-5
    return 1 - 2 * (a * b).sum(-1) / union


def mean_of(values: Tensor, claimed: Tensor) -> Tensor:
    """Mean over claimed queries, both [N,K]; 0 where none is."""
    return (values * claimed).sum() / claimed.sum().clamp(min=1)
