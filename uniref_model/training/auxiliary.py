"""Heads that exist only while training: short paths from the loss to the pixels.

`DenseHead` reads the target's mask straight off the fused encoder maps and the mask features with 1x1
convolutions.
On a run of an hour this teaches the fusion and the pixel features long before queries find the object.
`AlignmentHead` compares pixels, before any fusion, with the sentence: words and what they name come to lie
in one space, which the fusion's attention then only has to read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniref_model.training.losses import area_mean, mask_losses


class DenseHead(nn.Module):
    """One logit a pixel from each map given: `channels[i]` is the width of map i."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in channels)
        for head in self.heads:
            nn.init.constant_(head.bias, -2.0)  # objects cover a small part of a frame

    def forward(self, maps: Sequence[Tensor], target: Tensor, has_target: Tensor) -> Tensor:
        """Sum over maps [N,C,h,w] of cross-entropy (all pairs) and dice (pairs with a target [N,H,W]
        bool)."""
        total = target.new_zeros((), dtype=maps[0].dtype)
        for head, features in zip(self.heads, maps, strict=True):
            logits = head(features)
            expected = area_mean(target, logits.shape[-2:])
            everywhere, _ = mask_losses(
                logits, expected, has_target.new_ones(len(target), 1, dtype=logits.dtype)
            )
            _, dice = mask_losses(logits, expected, has_target[:, None].to(logits.dtype))
            total = total + 2 * everywhere + dice
        return total / len(self.heads)


class AlignmentHead(nn.Module):
    """Scaled cosine between every pixel of `levels` feature maps (width `channels`) and a sentence, as mask
    logits."""

    WIDTH = 64

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.pixels = nn.ModuleList(nn.Conv2d(channels, self.WIDTH, 1) for _ in range(levels))
        self.sentence = nn.Linear(channels, self.WIDTH)
        self.scale = nn.Parameter(torch.tensor(8.0))
        self.bias = nn.Parameter(torch.tensor(-3.0))

    def forward(self, maps: Sequence[Tensor], sentence: Tensor, target: Tensor, has_target: Tensor) -> Tensor:
        """Mean over maps [N,C,h,w] of cross-entropy (all pairs) and dice (pairs with a target [N,H,W] bool).

        sentence [N,C]; a pair without target teaches that no pixel fits its words.
        """
        total = sentence.new_zeros(())
        text = F.normalize(self.sentence(sentence), dim=1)
        for project, features in zip(self.pixels, maps, strict=False):
            similarity = torch.einsum("nchw,nc->nhw", F.normalize(project(features), dim=1), text)
            logits = (self.scale * similarity + self.bias)[:, None]
            expected = area_mean(target, logits.shape[-2:])
            everywhere, _ = mask_losses(logits, expected, torch.ones_like(sentence[:, :1]))
            _, dice = mask_losses(logits, expected, has_target[:, None].to(logits.dtype))
            total = total + 2 * everywhere + dice
        return total / len(self.pixels)

    def compare(self, level: int, features: Tensor, sentences: Tensor) -> Tensor:
        """Scaled cosines of every pixel of `level`'s map [F,C,h,w] with every sentence [W,C] -> [F,W,h,w]."""
        pixels = F.normalize(self.pixels[level](features), dim=1)
        text = F.normalize(self.sentence(sentences), dim=1)
        return self.scale * torch.einsum("fcyx,wc->fwyx", pixels, text)
