"""A dense head that exists only while training.

It reads the target's mask straight off the fused encoder maps and the mask features with 1x1 convolutions. On a
run of an hour this teaches the fusion and the pixel features long before queries find the object.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from uniref_model.training.losses import area_mean, mask_losses


class DenseHead(nn.Module):
    """One logit a pixel from each map given: `channels[i]` is the width of map i."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in channels)
        for head in self.heads:
            nn.init.constant_(head.bias, -2.0)  # objects cover a small part of a frame

    def forward(self, maps: Sequence[Tensor], target: Tensor, has_target: Tensor) -> Tensor:
        """Sum over maps [N,C,h,w] of cross-entropy (all pairs) and dice (pairs with a target [N,H,W] bool)."""
        total = target.new_zeros((), dtype=maps[0].dtype)
        for head, features in zip(self.heads, maps, strict=True):
            logits = head(features)
            expected = area_mean(target, logits.shape[-2:])
            everywhere, _ = mask_losses(logits, expected, has_target.new_ones(len(target), 1, dtype=logits.dtype))
            _, dice = mask_losses(logits, expected, has_target[:, None].to(logits.dtype))
            total = total + 2 * everywhere + dice
        return total / len(self.heads)
