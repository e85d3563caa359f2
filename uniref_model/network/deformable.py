"""Multi-scale deformable attention and the encoder made of it (Zhu et al., Deformable DETR, ICLR 2021)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniref_model.network.config import LEVELS, TransformerConfig

# (height, width) of each level; Python ints, so that an exporter sees constants
Shapes = list[tuple[int, int]]


def sample_levels(maps: list[Tensor], locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of bilinear samples, by `grid_sample`.

    maps: a level's values [N, heads, c, h, w]; locations [N, S, heads, levels, points, 2] as x, y in 0..1
    of each map; weights [N, S, heads, levels, points] -> [N, S, heads * c].
    Outside a map samples are zero.
    """
    batch, queries, heads = locations.shape[:3]
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)  # [N * heads, S, levels, points, 2]
    sampled = [
        F.grid_sample(values.flatten(0, 1), grids[:, :, level], "bilinear", "zeros", align_corners=False)
        for level, values in enumerate(maps)
    ]  # each [N * heads, c, S, points]
    samples = torch.cat(sampled, -1)  # [N * heads, c, S, levels * points]
    weights = weights.transpose(1, 2).reshape(batch * heads, 1, queries, -1)
    # [N * heads, c, S] -> [N, heads * c, S] -> [N, S, heads * c]
    return (samples * weights).sum(-1).reshape(batch, -1, queries).transpose(1, 2)


def gather_levels(maps: list[Tensor], locations: Tensor, weights: Tensor) -> Tensor:
    """The same sum without `grid_sample`: four rows a sample, fetched by their index.

    Slower on most machines, but made of operators that no TensorRT version is known to compile wrongly
    (several do so with GridSample, NVIDIA/TensorRT#4813). Arguments and result as for `sample_levels`.
    """
    batch, queries, heads = weights.shape[:3]
    shapes = level_shapes(maps)
    # [N, heads, c, h, w] a level -> one table [N * heads * T, c], a row a token
    table = torch.cat([values.flatten(3) for values in maps], -1).transpose(2, 3).flatten(0, 2)
    tokens = sum(height * width for height, width in shapes)
    tables = torch.arange(batch * heads, device=table.device).reshape(batch, 1, heads, 1, 1) * tokens
    total: Tensor | None = None
    for row, share in _corners(locations, weights, shapes):
        values = table.index_select(0, (tables + row).flatten()).reshape(
            batch, queries, heads, -1, table.shape[1]
        )
        part = (values * share.reshape(batch, queries, heads, -1, 1).to(values.dtype)).sum(3)
        total = part if total is None else total + part
    return total.reshape(batch, queries, -1)  # [N, S, heads, c] -> [N, S, heads * c]


def _corners(locations: Tensor, weights: Tensor, shapes: Shapes) -> Iterator[tuple[Tensor, Tensor]]:
    """For each of the four neighbours of all samples: token index and share in the sum, both [N, S, heads,
    levels, points]. Outside its map a neighbour's share is zero and its index that of some token of the
    map."""
    starts = [0]
    for height, width in shapes[:-1]:
        starts.append(starts[-1] + height * width)

    def by_level(values: list[int], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]

    widths, heights = by_level([w for _, w in shapes], locations), by_level([h for h, _ in shapes], locations)
    x, y = locations[..., 0] * widths - 0.5, locations[..., 1] * heights - 0.5
    left, top = x.floor(), y.floor()
    for dy in (0, 1):
        for dx in (0, 1):
            column, row = left + dx, top + dy
            inside = (column >= 0) & (column < widths) & (row >= 0) & (row < heights)
            # the distance to the neighbour on the other side
            share = (1 - (x - column).abs()) * (1 - (y - row).abs()) * inside.to(weights.dtype)
            # clamped while still floating-point: a location far outside must not overflow the integer
            column = torch.minimum(column.clamp(min=0), widths - 1).long()
            row = torch.minimum(row.clamp(min=0), heights - 1).long()
            yield (
                by_level(starts, row) + row * by_level([w for _, w in shapes], row) + column,
                share * weights,
            )


SAMPLERS = {"grid_sample": sample_levels, "gather": gather_levels}
"""Interchangeable forms of the sampling; `use_sampler` chooses one."""


def use_sampler(module: nn.Module, name: str) -> None:
    """Make every deformable attention inside `module` sample by "grid_sample" (the default) or "gather".

    Raises ValueError for another name.
    """
    if name not in SAMPLERS:
        raise ValueError(f"sampler is {name!r}, expected one of {', '.join(SAMPLERS)}")
    for part in module.modules():
        if isinstance(part, DeformableAttention):
            part.sampler = name


class DeformableAttention(nn.Module):
    def __init__(self, channels: int, heads: int, points: int):
        super().__init__()
        self.heads, self.points = heads, points
        self.sampler = "grid_sample"
        self.sampling_offsets = nn.Linear(channels, heads * LEVELS * points * 2)
        self.attention_weights = nn.Linear(channels, heads * LEVELS * points)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)

    def reset_parameters(self) -> None:
        """Each head looks in its own direction, each point one pixel further out."""
        nn.init.zeros_(self.sampling_offsets.weight)
        angle = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        direction = torch.stack((angle.cos(), angle.sin()), -1)
        direction = direction / direction.abs().max(-1, keepdim=True)[0]
        steps = torch.arange(1, self.points + 1, dtype=torch.float32)
        grid = direction[:, None, None] * steps[None, None, :, None]  # [heads, 1, points, 2]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(grid.expand(-1, LEVELS, -1, -1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(
        self, query: Tensor, reference: Tensor, values: Tensor, padding: Tensor | None, shapes: Shapes
    ) -> Tensor:
        """query [N, S, C], reference [N or 1, S or 1, 1 or LEVELS, 2 (points) or 4 (boxes)] in 0..1, values
        [N, T, C] with the levels one after another, padding [N, T] bool -> [N, S, C].
        """
        batch, queries = query.shape[:2]
        maps = self.value_maps(values, padding, shapes)
        offsets = self.sampling_offsets(query).reshape(batch, queries, self.heads, LEVELS, self.points, 2)
        weights = self.attention_weights(query).reshape(batch, queries, self.heads, LEVELS * self.points)
        weights = weights.softmax(-1).reshape(batch, queries, self.heads, LEVELS, self.points)
        reference = reference[:, :, None, :, None]  # [N, S, 1, LEVELS, 1, 2 or 4]
        if reference.shape[-1] == 2:
            sizes = torch.tensor([[w, h] for h, w in shapes], dtype=query.dtype, device=query.device)
            locations = reference + offsets / sizes[:, None]
        else:
            locations = reference[..., :2] + offsets / self.points * reference[..., 2:] * 0.5
        return self.output_proj(SAMPLERS[self.sampler](maps, locations, weights))

    def value_maps(self, values: Tensor, padding: Tensor | None, shapes: Shapes) -> list[Tensor]:
        values = self.value_proj(values)
        if padding is not None:
            values = values.masked_fill(padding[..., None], 0)
        values = values.transpose(1, 2).unflatten(1, (self.heads, -1))  # [N, T, C] -> [N, heads, c, T]
        parts = values.split([height * width for height, width in shapes], -1)
        return [part.unflatten(-1, shape) for part, shape in zip(parts, shapes, strict=True)]


def feed_forward(x: Tensor, linear1: nn.Linear, linear2: nn.Linear) -> Tensor:
    return linear2(F.relu(linear1(x)))


class EncoderLayer(nn.Module):
    def __init__(self, config: TransformerConfig, channels: int):
        super().__init__()
        self.self_attn = DeformableAttention(channels, config.heads, config.points)
        self.norm1 = nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, config.ffn)
        self.linear2 = nn.Linear(config.ffn, channels)
        self.norm2 = nn.LayerNorm(channels)

    def forward(
        self,
        x: Tensor,
        fixed: Tensor | None,
        position: Tensor,
        reference: Tensor,
        padding: Tensor | None,
        shapes: Shapes,
    ) -> Tensor:
        """x [N, S, C]: the tokens of the updated levels; fixed [N, F, C]: those of the levels below, looked
        at only."""
        values = x if fixed is None else torch.cat((fixed, x), 1)
        x = self.norm1(x + self.self_attn(x + position, reference, values, padding, shapes))
        return self.norm2(x + feed_forward(x, self.linear1, self.linear2))


class DeformableEncoder(nn.Module):
    """Refines the levels from `update_from_level` on; the levels below only serve as values.

    The authors update all four levels. Level 0 has three quarters of all tokens; leaving it to the mask
    head's pyramid is what makes the small model fast on a CPU.
    """

    def __init__(self, config: TransformerConfig, channels: int):
        super().__init__()
        self.first = config.update_from_level
        self.layers = nn.ModuleList(EncoderLayer(config, channels) for _ in range(config.encoder_layers))

    def forward(
        self,
        levels: list[Tensor],
        positions: list[Tensor],
        padding: list[Tensor] | None,
        ratios: Tensor | None,
    ) -> list[Tensor]:
        """levels and positions [N, C, h, w] (positions with level embedding), padding [N, h, w], ratios [N,
        LEVELS, 2] -> the same maps, refined.
        """
        shapes = level_shapes(levels)
        fixed = flatten_levels(levels[: self.first]) if self.first else None
        x = flatten_levels(levels[self.first :])
        position = flatten_levels(positions[self.first :])
        reference = token_centres(shapes, self.first, ratios, x)
        hidden = None if padding is None else torch.cat([part.flatten(1) for part in padding], 1)
        for layer in self.layers:
            x = layer(x, fixed, position, reference, hidden, shapes)
        return [*levels[: self.first], *unflatten_levels(x, shapes[self.first :])]


def level_shapes(levels: list[Tensor]) -> Shapes:
    return [(int(level.shape[-2]), int(level.shape[-1])) for level in levels]


def flatten_levels(levels: list[Tensor]) -> Tensor:
    """[N, C, h, w] a level -> [N, tokens, C], one level after another."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)


def unflatten_levels(x: Tensor, shapes: Shapes) -> list[Tensor]:
    parts = x.split([height * width for height, width in shapes], 1)
    return [part.transpose(1, 2).unflatten(2, shape) for part, shape in zip(parts, shapes, strict=True)]


def valid_ratios(padding: list[Tensor] | None) -> Tensor | None:
    """padding [N, h, w] a level -> [N, LEVELS, 2]: the part (x, y) of each map that is not padding."""
    if padding is None:
        return None
    ratios = []
    for part in padding:
        height, width = part.shape[1:]
        ratios.append(torch.stack(((~part[:, 0]).sum(1) / width, (~part[:, :, 0]).sum(1) / height), -1))
    return torch.stack(ratios, 1)


def token_centres(shapes: Shapes, first: int, ratios: Tensor | None, like: Tensor) -> Tensor:
    """Pixel centres of the tokens of levels `first` on, as x, y in 0..1 of each sampled level.

    [1, tokens, 1, 2] without padding, else [N, tokens, LEVELS, 2].
    """
    centres = []
    for level in range(first, len(shapes)):
        height, width = shapes[level]
        y = (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5) / height
        x = (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5) / width
        centre = torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)), -1).reshape(1, -1, 2)
        centres.append(centre if ratios is None else centre / ratios[:, level, None].to(like.dtype))
    centre = torch.cat(centres, 1)[:, :, None]
    return centre if ratios is None else centre * ratios[:, None].to(like.dtype)
