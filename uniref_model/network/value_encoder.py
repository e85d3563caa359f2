"""The mask encoder: a frame and an object's mask become the values of a mask reference (STCN's value
encoder)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniref_model.network.config import LEVELS, ValueEncoderConfig


@dataclass
class MaskReference:
    """References of N objects, one entry a feature level. T_l = tokens of that level's (pooled) grid."""

    keys: list[Tensor]  # [N, T_l, C]: the frame's features; the object's mask does not reach them
    values: list[Tensor]  # [N, T_l, C]
    padding: list[Tensor] | None  # [N, T_l] bool, True = not to be attended to
    embeds: list[Tensor]  # [N, C] mean of the frame's features
    # Keys and values went through UniFusion's projections already. Then keys may have a batch of 1, for all N
    # objects alike.
    projected: bool = False
    look: Tensor | None = None  # [N, A] of what the mask covers, for models that compare looks (likeness.py)

    def select(self, index: Tensor) -> MaskReference:
        """The rows `index` [M] (int64), as a batch of M."""
        return MaskReference(
            [key[index] for key in self.keys],
            [value[index] for value in self.values],
            None if self.padding is None else [padding[index] for padding in self.padding],
            [embed[index] for embed in self.embeds],
            self.projected,
            None if self.look is None else self.look[index],
        )

    @staticmethod
    def join(references: list[MaskReference], weights: Tensor | None = None) -> MaskReference:
        """Several references of the same N objects as one, in the given order (first frame, then previous).

        weights [N, len(references)]: 1 where the object has that reference, 0 where it has not. An absent
        reference is masked out of the attention and of the mean of the embeds. None: all are there.
        """
        levels = range(len(references[0].keys))
        keys = [torch.cat([reference.keys[level] for reference in references], 1) for level in levels]
        values = [torch.cat([reference.values[level] for reference in references], 1) for level in levels]
        embeds = [torch.stack([reference.embeds[level] for reference in references], 1) for level in levels]
        embeds = [mean_reference(embed, weights) for embed in embeds]
        looks = [reference.look for reference in references if reference.look is not None]
        look = mean_reference(torch.stack(looks, 1), weights) if looks else None
        projected = references[0].projected
        return MaskReference(keys, values, _join_padding(references, weights), embeds, projected, look)


def mean_reference(values: Tensor, weights: Tensor | None) -> Tensor:
    """The mean [N, C] over the references [N, R, C] that an object has; weights [N, R] as of `join`."""
    if weights is None:
        return values.mean(1)
    weight = weights[..., None].to(values.dtype)
    return (values * weight).sum(1) / weight.sum(1).clamp(min=1)


def _join_padding(references: list[MaskReference], weights: Tensor | None) -> list[Tensor] | None:
    if weights is None and all(reference.padding is None for reference in references):
        return None
    joined = []
    for level in range(len(references[0].keys)):
        parts = []
        for index, reference in enumerate(references):
            tokens = reference.keys[level].shape[:2]
            if reference.padding is None:
                part = torch.zeros(tokens, dtype=torch.bool, device=reference.keys[level].device)
            else:
                part = reference.padding[level]
            if weights is not None:
                part = part | (weights[:, index] == 0)[:, None]
            parts.append(part)
        joined.append(torch.cat(parts, 1))
    return joined


class ValueEncoder(nn.Module):
    """ResNet on image + mask, then one fuser a level with the frame's own features."""

    def __init__(self, config: ValueEncoderConfig, channels: int):
        super().__init__()
        self.pooling = config.reference_pooling
        self.conv1 = nn.Conv2d(4, config.stem, 7, 2, 3)
        self.bn1 = nn.BatchNorm2d(config.stem)
        widths = (config.stem, *config.widths)
        self.layers = nn.ModuleList(
            _layer(widths[index], widths[index + 1], config.blocks[index], stride=1 if index == 0 else 2)
            for index in range(4)
        )
        self.final_layer = nn.Sequential(nn.Conv2d(widths[4], channels, 3, 2, 1), nn.GroupNorm(32, channels))
        inputs = (*config.widths[1:], channels)
        self.fusers = nn.ModuleList(Fuser(width + channels, channels, config.gate_hidden) for width in inputs)

    def forward(self, images: Tensor, masks: Tensor, levels: list[Tensor]) -> list[Tensor]:
        """images [N, 3, H, W] normalised, masks [N, 1, H, W] in 0..1, levels: the frame's src [N, C, h, w].

        Returns the values as maps [N, C, h / p, w / p], p = reference_pooling of the level.
        """
        x = F.relu(self.bn1(self.conv1(torch.cat((images, masks), 1))))
        x = F.max_pool2d(x, 3, 2, 1)
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        maps = [*maps[1:], self.final_layer(x)]  # strides 8, 16, 32, 64
        return [
            fuser(torch.cat((self.pool(features, level), self.pool(levels[level], level)), 1))
            for level, (fuser, features) in enumerate(zip(self.fusers, maps, strict=True))
        ]

    def pool(self, features: Tensor, level: int) -> Tensor:
        """Bring a level's map to the grid its references live on."""
        factor = self.pooling[level]
        return features if factor == 1 else F.avg_pool2d(features, factor)

    def pool_padding(self, padding: Tensor, level: int) -> Tensor:
        """As `pool` for a padding mask [B, h, w]: a pooled token is padding if its first pixel is."""
        factor = self.pooling[level]
        return padding[
            :, : padding.shape[1] // factor * factor : factor, : padding.shape[2] // factor * factor : factor
        ]

    def keys(
        self, levels: list[Tensor], padding: list[Tensor] | None
    ) -> tuple[list[Tensor], list[Tensor] | None, list[Tensor]]:
        """What a frame's features give to every reference on it: keys, padding and embeds as in
        MaskReference."""
        keys, paddings, embeds = [], [], []
        for level in range(LEVELS):
            key = self.pool(levels[level], level).flatten(2).transpose(1, 2)  # [B, C, h, w] -> [B, T, C]
            keys.append(key)
            if padding is None:
                embeds.append(key.mean(1))
                continue
            hidden = self.pool_padding(padding[level], level).flatten(1)
            weight = (~hidden).to(key.dtype)[..., None]
            paddings.append(hidden)
            embeds.append((key * weight).sum(1) / weight.sum(1).clamp(min=1))
        return keys, None if padding is None else paddings, embeds


def _layer(inputs: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


class BasicBlock(nn.Module):
    """ResNet's basic block; as in STCN every convolution has a bias."""

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or inputs != channels:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, channels, 1, stride), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + residual)


class Fuser(nn.Module):
    """Two residual blocks around a CBAM gate: [N, inputs, h, w] -> [N, channels, h, w]."""

    def __init__(self, inputs: int, channels: int, gate_hidden: int):
        super().__init__()
        self.block1 = ResidualBlock(inputs, channels)
        self.attention = CBAM(channels, gate_hidden)
        self.block2 = ResidualBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block1(x)
        return self.block2(x + self.attention(x))


class ResidualBlock(nn.Module):
    """Pre-activation block without norms; the shortcut sees x before the ReLU."""

    def __init__(self, inputs: int, channels: int):
        super().__init__()
        self.downsample = nn.Conv2d(inputs, channels, 3, 1, 1) if inputs != channels else None
        self.conv1 = nn.Conv2d(inputs, channels, 3, 1, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return shortcut + self.conv2(F.relu(self.conv1(F.relu(x))))


class CBAM(nn.Module):
    """Channel gate, then spatial gate (Woo et al., ECCV 2018), the spatial one without BatchNorm."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.spatial = nn.Conv2d(2, 1, 7, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        # [N, C, h, w] -> [N, C]; amax over both axes at once exports as one ReduceMax
        gate = torch.sigmoid(self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3))))
        x = x * gate[:, :, None, None]
        pooled = torch.cat((x.amax(1, keepdim=True), x.mean(1, keepdim=True)), 1)
        return x * torch.sigmoid(self.spatial(pooled))
