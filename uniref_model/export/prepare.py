"""Rewrites of a trained network that leave its answers as they are and make the exported graphs smaller and
faster."""

from __future__ import annotations

import copy

import torch
from torch import nn

from uniref_model.network.model import UniRef


def prepare(network: UniRef, half_weights: bool = True) -> UniRef:
    """A copy of `network` in eval mode: norms folded into convolutions, comparisons that say nothing left
    out, weights rounded to float16 (kept as float32) unless `half_weights` is false."""
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    for part in (copied.backbone, copied.value_encoder):
        fold_batch_norms(part)
    if copied.likeness is not None:
        copied.likeness.leave_out_silent()
    if half_weights:
        round_to_half(copied)
    return copied


@torch.no_grad()
def fold_batch_norms(module: nn.Module) -> int:
    """Fold every BatchNorm (frozen or in eval mode) into the convolution registered right before it; returns
    how many."""
    conv, folded = None, 0
    for name, child in list(module.named_modules()):
        if isinstance(child, nn.Conv2d):
            conv = child
        elif hasattr(child, "running_var"):
            if conv is None or conv.out_channels != len(child.running_var):
                raise ValueError(
                    f"the norm {name!r} does not follow a convolution of {len(child.running_var)} channels"
                )
            _fold(conv, child)
            parent = module.get_submodule(name.rpartition(".")[0])
            # timm's norms contain their activation
            setattr(parent, name.rpartition(".")[2], getattr(child, "act", None) or nn.Identity())
            conv, folded = None, folded + 1
    return folded


def _fold(conv: nn.Conv2d, norm: nn.Module) -> None:
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    bias = norm.bias - norm.running_mean * factor
    if conv.bias is not None:
        bias = bias + conv.bias * factor
    conv.weight = nn.Parameter(conv.weight * factor.view(-1, 1, 1, 1), requires_grad=False)
    conv.bias = nn.Parameter(bias, requires_grad=False)


@torch.no_grad()
def round_to_half(module: nn.Module) -> None:
    """Round all floating-point parameters to values float16 can hold, in place; ValueError where one is too
    large."""
    for name, parameter in module.named_parameters():
        rounded = parameter.half().float()
        if not torch.isfinite(rounded).all():
            raise ValueError(
                f"{name} has values up to {float(parameter.abs().max()):.3g}, more than float16 holds"
            )
        parameter.copy_(rounded)
