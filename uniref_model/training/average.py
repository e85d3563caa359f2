"""Averaged weights: an exponential moving average whose early steps weigh more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(module: nn.Module, decay: float) -> AveragedModel:
    """A copy of `module` that `update_parameters(module)` moves towards it, buffers too."""
    copy = AveragedModel(module, multi_avg_fn=_warming(decay), use_buffers=True)
    return copy.requires_grad_(False).eval()


def _warming(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], None]:
    @torch.no_grad()
    def move(mine: Sequence[Tensor], theirs: Sequence[Tensor], updates: Tensor) -> None:
        if mine[0].is_floating_point():
            count = float(updates) + 1
            torch._foreach_lerp_(mine, theirs, 1 - min(decay, (1 + count) / (10 + count)))
        else:
            torch._foreach_copy_(mine, theirs)

    return move
