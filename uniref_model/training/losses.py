"""The training losses, batched over pairs; each is normalised by the number of claimed queries or targets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from uniref_model.training.boxes import pairwise_iou_giou
from uniref_model.training.matcher import Match

BAND = 2  # mask cells (of four pixels) on either side of the contour


def focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sigmoid focal loss (Lin et al. 2017), summed. `targets` are 0/1 of the logits' shape."""
    probability = logits.sigmoid()
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    miss = probability * (1 - targets) + (1 - probability) * targets
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return (weight * miss**gamma * loss).sum()


def class_loss(logits: Tensor, match: Match) -> Tensor:
    """Focal loss of all queries' logits [N,Q]: claimed ones are positive, all others negative."""
    targets = torch.zeros_like(logits).scatter(1, match.index, match.valid.to(logits.dtype))
    return focal_loss(logits, targets) / match.valid.sum().clamp(min=1)


def box_losses(boxes: Tensor, target: Tensor, match: Match) -> tuple[Tensor, Tensor]:
    """(L1, GIoU loss) of the claimed queries' boxes [N,Q,4] against target [N,4]."""
    chosen = boxes.gather(1, match.index[..., None].expand(-1, -1, 4))
    count = match.valid.sum().clamp(min=1)
    l1 = (chosen - target[:, None]).abs().sum(-1)
    _, giou = pairwise_iou_giou(chosen, target[:, None])
    return (l1 * match.valid).sum() / count, ((1 - giou) * match.valid).sum() / count


def mask_losses(logits: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """(cross-entropy, dice) of mask logits [N,K,h,w] against soft targets [N,h,w] in 0..1; weight [N,K] 0/1.

    Targets are area means of the full-resolution mask, so the 0.5 level of the upsampled logits is its
    contour.
    """
    expected = target[:, None].expand_as(logits)
    count = weight.sum().clamp(min=1)
    entropy = F.binary_cross_entropy_with_logits(logits, expected, reduction="none").mean((-2, -1))
    probability = logits.sigmoid()
    overlap = 2 * (probability * expected).sum((-2, -1)) + 1
    dice = 1 - overlap / (probability.sum((-2, -1)) + expected.sum((-2, -1)) + 1)
    return (entropy * weight).sum() / count, (dice * weight).sum() / count


def contour_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy over the band of `BAND` cells on either side of the contour, shapes as in `mask_losses`.

    The mean over a whole frame is ruled by pixels that nobody doubts; a mask may be round where its object
    has corners and still score well there. The band's mean is the same for small and large objects.
    """
    expected = target[:, None]
    size = 2 * BAND + 1
    high = F.max_pool2d(expected, size, 1, BAND)
    low = -F.max_pool2d(-expected, size, 1, BAND)
    band = ((high > 0) & (low < 1)).to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, expected.expand_as(logits), reduction="none")
    mean = (entropy * band).sum((-2, -1)) / band.sum((-2, -1)).clamp(min=1)
    return (mean * weight).sum() / weight.sum().clamp(min=1)


def presence_loss(logits: Tensor, iou: Tensor) -> Tensor:
    """Cross-entropy of each pair's best logit [N] with how right its answer is: `iou` [N] of its mask, 0
    where there is no target.

    The target rises from 0 at IoU 0.25 to 1 at 0.75, so that an even chance means IoU 0.5, which is what the
    calibration calls right. The focal loss speaks of single queries; only this one of what is read in use.
    """
    return F.binary_cross_entropy_with_logits(logits, ((iou - 0.25) / 0.5).clamp(0, 1))


def area_mean(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Boolean masks [N,H,W] -> share of each coarse cell that is covered, float [N,h,w]."""
    return F.adaptive_avg_pool2d(masks[:, None].float(), size)[:, 0]
