"""The Swin Transformer as detection code has it (Liu et al., ICCV 2021; the authors' projects/UniRef
backbone/swin.py).

timm's Swin differs in details that change the result on sizes that are no multiple of the window: it
shrinks the window on small maps, and rolls before it pads. Here every block pads its normalised map to
whole windows first, the padding takes part in attention as ordinary tokens, and each of the four outputs
has a LayerNorm of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SwinDetection(nn.Module):
    """[B, 3, H, W] -> four maps [B, width * 2^i, H / s, W / s] with s = 4, 8, 16, 32."""

    def __init__(self, width: int, depths: tuple[int, ...], heads: tuple[int, ...], window: int):
        super().__init__()
        self.channels = [width * 2**stage for stage in range(len(depths))]
        self.patch_embed = PatchEmbedding(width)
        self.layers = nn.ModuleList(
            Stage(channels, depth, head_count, window, shrink=stage + 1 < len(depths))
            for stage, (channels, depth, head_count) in enumerate(
                zip(self.channels, depths, heads, strict=True)
            )
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for channels in self.channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.patch_embed(images)
        outputs = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x, following = layer(x)
            outputs.append(norm(x).permute(0, 3, 1, 2).contiguous())  # [B, h, w, C] -> [B, C, h, w]
            x = following
        return outputs


class PatchEmbedding(nn.Module):
    def __init__(self, width: int, patch: int = 4):
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(3, width, patch, patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        images = F.pad(images, (0, -width % self.patch, 0, -height % self.patch))
        return self.norm(self.proj(images).permute(0, 2, 3, 1))  # [B, C, h, w] -> [B, h, w, C]


class Stage(nn.Module):
    """`depth` blocks at one resolution; odd blocks shift their windows by half."""

    def __init__(self, channels: int, depth: int, heads: int, window: int, shrink: bool):
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(
            Block(channels, heads, window, shift=0 if index % 2 == 0 else window // 2)
            for index in range(depth)
        )
        self.downsample = PatchMerging(channels) if shrink else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        mask = shifted_window_mask(x.shape[1], x.shape[2], self.window, x)
        for block in self.blocks:
            x = block(x, mask)
        return x, None if self.downsample is None else self.downsample(x)


class Block(nn.Module):
    def __init__(self, channels: int, heads: int, window: int, shift: int):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, h, w, C], mask [windows, n, n] for the shifted blocks -> [B, h, w, C]."""
        height, width = x.shape[1:3]
        y = self.norm1(x)
        y = F.pad(y, (0, 0, 0, -width % self.window, 0, -height % self.window))
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        padded = y.shape[1:3]
        y = self.attn(to_windows(y, self.window), mask if self.shift else None)
        y = from_windows(y, self.window, padded)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        x = x + y[:, :height, :width]
        return x + self.mlp(self.norm2(x))


class Mlp(nn.Module):
    def __init__(self, channels: int, ratio: int = 4):
        super().__init__()
        self.fc1 = nn.Linear(channels, ratio * channels)
        self.fc2 = nn.Linear(ratio * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class WindowAttention(nn.Module):
    """Self-attention inside windows of n = window^2 tokens, with a learned bias for each relative
    position."""

    def __init__(self, channels: int, heads: int, window: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_index(window), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x [B * windows, n, C], mask [windows, n, n] added to the logits -> [B * windows, n, C]."""
        count, tokens, channels = x.shape
        qkv = self.qkv(x).reshape(count, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # [B * windows, heads, n, C / heads]
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(count // mask.shape[0], 1, 1, 1)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(
            x.transpose(1, 2).reshape(count, tokens, channels)
        )  # [.., heads, n, c] -> [.., n, C]


class PatchMerging(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, C] -> [B, ceil(h / 2), ceil(w / 2), 2 C]."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        quarters = (x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2])
        return self.reduction(self.norm(torch.cat(quarters, dim=-1)))


def to_windows(x: Tensor, window: int) -> Tensor:
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // window, window, width // window, window, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, channels)


def from_windows(x: Tensor, window: int, size: tuple[int, int]) -> Tensor:
    rows, columns = size[0] // window, size[1] // window
    x = x.reshape(-1, rows, columns, window, window, x.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, rows * window, columns * window, x.shape[-1])


def relative_index(window: int) -> Tensor:
    """[n, n] row of the bias table for each pair of tokens of a window."""
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    y, x = y.flatten(), x.flatten()
    rows = y[:, None] - y[None] + window - 1
    return rows * (2 * window - 1) + (x[:, None] - x[None] + window - 1)


def shifted_window_mask(height: int, width: int, window: int, like: Tensor) -> Tensor:
    """[windows, n, n]: -100 between tokens that the shift brought together from different sides of the
    map."""
    shift = window // 2

    def bands(size: int) -> Tensor:
        padded = size + -size % window
        position = torch.arange(padded, device=like.device)
        return (position >= padded - window).long() + (position >= padded - shift).long()

    region = bands(height)[:, None] * 3 + bands(width)[None]
    region = to_windows(region[None, :, :, None], window)[..., 0]  # [windows, n]
    different = region[:, None] != region[:, :, None]
    return different.to(like.dtype) * -100.0
