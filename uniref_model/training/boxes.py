"""Boxes as (cx, cy, w, h) in fractions of the frame."""

from __future__ import annotations

import torch
from torch import Tensor


def corners(boxes: Tensor) -> Tensor:
    """(cx, cy, w, h) [..., 4] -> (x0, y0, x1, y1) [..., 4]."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def pairwise_iou_giou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of boxes that broadcast, each [...]. Empty boxes give 0 and at least -1."""
    a, b = corners(a), corners(b)
    area_a = (a[..., 2:] - a[..., :2]).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).prod(-1)
    inside = (
        (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    )
    union = area_a + area_b - inside
    iou = inside / union.clamp(min=1e-7)
    hull = (
        (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    )
    return iou, iou - (hull - union) / hull.clamp(min=1e-7)


def boxes_of_masks(masks: Tensor) -> Tensor:
    """Tight boxes of boolean masks [N,H,W] -> [N,4]; an empty mask gives a box of zeros."""
    height, width = masks.shape[1:]
    rows, columns = masks.any(2), masks.any(1)
    y0, y1 = _span(rows, height)
    x0, x1 = _span(columns, width)
    boxes = torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=1)
    return boxes * masks.flatten(1).any(1)[:, None]


def _span(occupied: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """First occupied cell and one past the last of [N,length], as fractions."""
    first = occupied.int().argmax(1)
    last = length - occupied.flip(1).int().argmax(1)
    return first.float() / length, last.float() / length
