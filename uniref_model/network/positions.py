"""Sine codes of positions and boxes, and the small functions on coordinates that several modules share."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 10000.0


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """log(x / (1 - x)) with both terms kept at or above `eps` (Deformable DETR's definition)."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


def sine_code(x: Tensor, channels: int) -> Tensor:
    """[...] in radians -> [..., channels]: sin and cos of x / 10000^(2 floor(i/2) / channels),
    interleaved."""
    index = torch.arange(channels, dtype=torch.float32, device=x.device)
    # the frequencies in float32 first, as the authors do, whatever the model's dtype
    frequency = TEMPERATURE ** (2 * torch.div(index, 2, rounding_mode="floor") / channels)
    angle = x[..., None] / frequency.to(x.dtype)
    return torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=-1).flatten(-2)


def grid_code(height: int, width: int, channels: int, padding: Tensor | None, like: Tensor) -> Tensor:
    """Position code of a feature map, [B or 1, channels, height, width]; the y half comes first.

    `padding` [B, height, width] is True on padding: positions are counted over valid pixels only. The
    half-pixel shift is (count - 0.5) with eps 1e-6, as in the authors' code. Without padding the code
    depends on the size alone and an exporter folds it to a constant.

    Computed in float32 whatever the model's dtype, as the authors do. It matters: a row or column of
    padding alone has the position -0.5 / 1e-6, whose sine is decided by rounding.
    """
    if padding is None:
        y = torch.arange(1, height + 1, dtype=torch.float32, device=like.device)
        x = torch.arange(1, width + 1, dtype=torch.float32, device=like.device)
        y = (y - 0.5) / (height + 1e-6) * (2 * math.pi)
        x = (x - 0.5) / (width + 1e-6) * (2 * math.pi)
        code_y = sine_code(y, channels // 2)[:, None].expand(-1, width, -1)
        code_x = sine_code(x, channels // 2)[None].expand(height, -1, -1)
        code = torch.cat((code_y, code_x), dim=-1).permute(2, 0, 1)[None]  # [h, w, C] -> [1, C, h, w]
        return code.to(like.dtype)
    valid = (~padding).float()
    y, x = valid.cumsum(1), valid.cumsum(2)
    y = (y - 0.5) / (y[:, -1:] + 1e-6) * (2 * math.pi)
    x = (x - 0.5) / (x[:, :, -1:] + 1e-6) * (2 * math.pi)
    code = torch.cat((sine_code(y, channels // 2), sine_code(x, channels // 2)), dim=-1)
    return code.permute(0, 3, 1, 2).to(like.dtype)  # [B, h, w, C] -> [B, C, h, w]


def box_code(boxes: Tensor, channels: int) -> Tensor:
    """[..., 4] cxcywh in 0..1 -> [..., 2 * channels]: each coordinate gets channels / 2 values."""
    return sine_code(boxes * (2 * math.pi), channels // 2).flatten(-2)


def resize_padding(padding: Tensor | None, size: tuple[int, int]) -> Tensor | None:
    """Nearest resize of a padding mask [B, H, W] (True = padding) to `size`."""
    if padding is None:
        return None
    return F.interpolate(padding[:, None].float(), size=size, mode="nearest")[:, 0].bool()
