"""Encoder, decoder and mask head rewritten for a CPU: the same numbers from fewer and larger operators.

What depends on the size alone (position codes, anchors, pixel centres) becomes constants, also where it has
passed a linear map; linear maps of one input become one product; tokens keep one flat axis, so that every
linear map is a plain matrix product; boxes are predicted for chosen queries only. Sampling grids are laid out
with the tokens innermost, which makes the weighted sum of samples a sum of long rows.

Only for frames without padding. N objects, C channels, T tokens of the levels that the encoder updates.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniref_model.network.config import LEVELS
from uniref_model.network.decoder import DecoderLayer
from uniref_model.network.deformable import (
    DeformableAttention,
    EncoderLayer,
    flatten_levels,
    token_centres,
)
from uniref_model.network.model import UniRef
from uniref_model.network.positions import TEMPERATURE
from uniref_model.network.two_stage import TwoStage, anchor_logits

LARGEST_LOGIT = math.log(1 / 1e-5)
"""Of a box: `inverse_sigmoid` gives no larger one."""

Shapes = list[tuple[int, int]]


def level_maps(x: Tensor, shapes: Shapes) -> list[Tensor]:
    """Tokens [N, T, C] -> a level's map [N, C, h, w]: turned once, then cut."""
    parts = x.transpose(1, 2).split([height * width for height, width in shapes], 2)
    return [part.unflatten(2, shape) for part, shape in zip(parts, shapes, strict=True)]


class FlatSampling(nn.Module):
    """A `DeformableAttention` whose grids and weights are linear maps of the query, with ordered columns.

    Grid columns are ordered [x or y, level, head, point] (boxes) or [level, head, point, x or y] (points),
    those of the weights' logits [head, level, point].
    """

    def __init__(self, attention: DeformableAttention, shapes: Shapes, boxes: bool) -> None:
        super().__init__()
        heads, points = attention.heads, attention.points
        self.heads, self.points = heads, points
        offsets, self.logits = attention.sampling_offsets, attention.attention_weights
        layout = (heads, LEVELS, points, 2)
        # grid_sample counts from -1 to 1, hence the factor 2 of a location in 0..1
        if boxes:
            factor = torch.full((LEVELS, 1, 2), 1.0 / points)  # times half the box: 2 * 0.5
            order = (3, 1, 0, 2)
        else:
            factor = torch.tensor([[[2.0 / width, 2.0 / height]] for height, width in shapes])
            order = (1, 0, 2, 3)
        weight = offsets.weight.unflatten(0, layout) * factor[..., None]
        bias = offsets.bias.unflatten(0, layout) * factor
        self.register_buffer("grid_weight", weight.permute(*order, 4).reshape(-1, weight.shape[-1]))
        self.register_buffer("grid_bias", bias.permute(order).flatten())
        self.value_proj, self.output_proj = attention.value_proj, attention.output_proj

    def maps(self, below: list[Tensor], tokens: Tensor, batch: int, shapes: Shapes) -> list[Tensor]:
        """Values of every level [N, C, h, w]: below, maps of the levels that the encoder leaves as they are;
        tokens [N * T, C] of the others, `shapes` theirs."""
        weight, bias = self.value_proj.weight, self.value_proj.bias[:, None]
        fixed = [(weight @ level.flatten(2) + bias).unflatten(2, level.shape[2:]) for level in below]
        return [*fixed, *level_maps(self.value_proj(tokens).unflatten(0, (batch, -1)), shapes)]

    def forward(self, maps: list[Tensor], grids: Tensor, logits: Tensor) -> Tensor:
        """maps as of `maps`; grids [LEVELS, N * heads, points, T, 2]; logits [N, T, heads * LEVELS *
        points] -> [N * T, C]."""
        batch, tokens = logits.shape[:2]
        weights = logits.unflatten(2, (self.heads, -1)).softmax(-1).flatten(2).transpose(1, 2)
        weights = weights.reshape(batch * self.heads, 1, -1, tokens)  # [N * heads, 1, LEVELS * points, T]
        samples = (
            F.grid_sample(
                values.reshape(batch * self.heads, -1, *values.shape[2:]),
                grid[0],
                "bilinear",
                "zeros",
                align_corners=False,
            )
            * weight
            for values, grid, weight in zip(maps, grids.split(1), weights.split(self.points, 2), strict=True)
        )  # each [N * heads, c, points, T]; added before their points are: nothing is written side by side
        x = sum(samples).sum(2).reshape(batch, -1, tokens)  # [N, heads * c, T]
        return self.output_proj(x.transpose(1, 2).reshape(batch * tokens, -1))


class FlatEncoderLayer(nn.Module):
    """An `EncoderLayer` on tokens [N * T, C]."""

    def __init__(
        self, layer: EncoderLayer, position: Tensor, centres: Tensor, shapes: Shapes, first: int
    ) -> None:
        """position [1, T, C], centres [1, T, 1, 2] (as of `token_centres`)."""
        super().__init__()
        self.layer, self.shapes = layer, shapes[first:]
        self.sampling = FlatSampling(layer.self_attn, shapes, boxes=False)
        with torch.no_grad():
            grid = F.linear(position[0], self.sampling.grid_weight, self.sampling.grid_bias)
            grid += (2 * centres[0, :, 0] - 1).repeat(1, grid.shape[1] // 2)
            logits = self.sampling.logits(position[0])
        self.register_buffer("grid", grid)  # [T, LEVELS * heads * points * 2]
        self.register_buffer("logits", logits)  # [T, heads * LEVELS * points]

    def forward(self, x: Tensor, below: list[Tensor], batch: int) -> Tensor:
        sampling, layer = self.sampling, self.layer
        grids = F.linear(x, sampling.grid_weight).unflatten(0, (batch, -1)) + self.grid
        logits = F.linear(x, sampling.logits.weight).unflatten(0, (batch, -1)) + self.logits
        grids = grids.unflatten(2, (LEVELS, sampling.heads, sampling.points, 2)).permute(2, 0, 3, 4, 1, 5)
        maps = sampling.maps(below, x, batch, self.shapes)
        x = layer.norm1(x + sampling(maps, grids.flatten(1, 2), logits))
        return layer.norm2(x + layer.linear2(F.relu(layer.linear1(x))))


class FlatDecoderLayer(nn.Module):
    """A `DecoderLayer` on queries [N * Q, C].

    What it takes of their positions, which no layer changes, comes from outside: [N * Q, 3 * C + aim].
    """

    def __init__(self, layer: DecoderLayer, shapes: Shapes) -> None:
        super().__init__()
        self.layer = layer
        self.sampling = sampling = FlatSampling(layer.cross_attn, shapes, boxes=True)
        attention, logits = layer.self_attn, sampling.logits
        self.heads = attention.heads
        channels = attention.out_proj.in_features
        factor = torch.ones(3 * channels)
        factor[:channels] = (channels // self.heads) ** -0.5  # the scale of the attention's logits
        self.register_buffer("around", attention.in_proj_weight * factor[:, None])
        self.register_buffer("around_bias", attention.in_proj_bias * factor)
        self.register_buffer("aim", torch.cat((sampling.grid_weight, logits.weight)))
        self.register_buffer("aim_bias", torch.cat((sampling.grid_bias, logits.bias)))

    def of_positions(self) -> tuple[Tensor, Tensor]:
        """Weight [3 * C + aim, C] and bias of what comes from the positions; all biases are in it."""
        around = self.around.clone()
        around[len(around) // 3 * 2 :] = 0  # values are without positions
        return torch.cat((around, self.aim)), torch.cat((self.around_bias, self.aim_bias))

    def forward(self, x: Tensor, placed: Tensor, boxes: Tensor, maps: list[Tensor]) -> Tensor:
        """x [N * Q, C], placed: what comes from the positions, boxes [N, Q, 4] -> [N * Q, C]."""
        layer, batch = self.layer, boxes.shape[0]
        around, aim = placed.split((len(self.around), len(self.aim)), 1)
        x = layer.norm2(x + self.look_around(F.linear(x, self.around) + around, batch))
        x = layer.norm1(x + self.look_at_image(F.linear(x, self.aim) + aim, boxes, maps))
        return layer.norm3(x + layer.linear2(F.relu(layer.linear1(x))))

    def look_around(self, qkv: Tensor, batch: int) -> Tensor:
        """Self-attention among an object's queries: [N * Q, 3 * C] -> [N * Q, C]."""
        qkv = qkv.unflatten(0, (batch, -1)).unflatten(2, (3 * self.heads, -1)).transpose(1, 2)
        q, k, v = qkv.chunk(3, 1)  # [N, heads, Q, c]
        y = (q @ k.transpose(2, 3)).softmax(-1) @ v
        return self.layer.self_attn.out_proj(y.transpose(1, 2).flatten(2).flatten(0, 1))

    def look_at_image(self, columns: Tensor, boxes: Tensor, maps: list[Tensor]) -> Tensor:
        sampling, batch = self.sampling, boxes.shape[0]
        offsets, logits = columns.unflatten(0, (batch, -1)).split(
            (len(sampling.grid_weight), len(sampling.logits.weight)), 2
        )
        grids = offsets.unflatten(2, (2, -1)) * boxes[..., 2:, None] + (2 * boxes[..., :2, None] - 1)
        # [N, Q, 2, LEVELS, heads, points]
        grids = grids.unflatten(3, (LEVELS, sampling.heads, sampling.points))
        return sampling(maps, grids.permute(3, 0, 4, 5, 1, 2).flatten(1, 2), logits)


class BoxPositions(nn.Module):
    """`TwoStage.positions` with the sine code as one sine of one linear map, as cos(a) = sin(a + pi / 2)."""

    def __init__(self, stage: TwoStage) -> None:
        super().__init__()
        self.stage, channels = stage, stage.enc_output.out_features
        index = torch.arange(channels // 2)
        frequency = TEMPERATURE ** (2 * torch.div(index, 2, rounding_mode="floor") / (channels // 2))
        angle = torch.block_diag(*[2 * math.pi / frequency[:, None]] * 4)  # [2 * C, 4]
        self.register_buffer("angle", angle)
        self.register_buffer("phase", (index % 2 * (math.pi / 2)).repeat(4))

    def forward(self, boxes: Tensor) -> Tensor:
        """[N * Q, 4] -> [N * Q, C]"""
        stage = self.stage
        code = F.linear(boxes, self.angle, self.phase).sin()
        return stage.pos_trans_norm(stage.pos_trans(code))[:, : stage.enc_output.out_features]


class FlatTransformer(nn.Module):
    """Fused levels and lateral [1, 8, H/4, W/4] -> logit of the score [N], box [N, 4], mask_logits
    [N, H/4, W/4], as `UniRef.segment_fused` with the best query's mask."""

    def __init__(self, network: UniRef, size: tuple[int, int], shapes: Shapes) -> None:
        super().__init__()
        config, like = network.config, network.level_embed
        self.network, self.size = network, size
        self.first = config.transformer.update_from_level
        self.shapes = shapes[self.first :]
        maps = [like.new_zeros(1, config.hidden, *shape) for shape in shapes]
        with torch.no_grad():
            position = flatten_levels(network.positions(maps, None)[self.first :])
        centres = token_centres(shapes, self.first, None, like)
        self.encoder = nn.ModuleList(
            FlatEncoderLayer(layer, position, centres, shapes, self.first) for layer in network.encoder.layers
        )
        self.decoder = nn.ModuleList(FlatDecoderLayer(layer, shapes) for layer in network.decoder.layers)
        self.positions = BoxPositions(network.two_stage)
        anchors, usable = anchor_logits(self.shapes, self.first, None, like)
        self.register_buffer("anchors", anchors[0])  # [T, 4]
        self.register_buffer("usable", None if usable is None else usable[0].to(like.dtype))
        weights, biases = zip(*(layer.of_positions() for layer in self.decoder), strict=True)
        self.placed = [len(weight) for weight in weights]
        self.register_buffer("position_weight", torch.cat(weights))
        self.register_buffer("position_bias", torch.cat(biases))

    def forward(self, below: list[Tensor], tokens: Tensor, lateral: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """below: maps [N, C, h, w] of the levels that the encoder leaves as they are, tokens [N, T, C] of
        those it updates."""
        batch, x = tokens.shape[0], tokens.flatten(0, 1)
        for layer in self.encoder:
            x = layer(x, below, batch)
        maps = [layer.sampling.maps(below, x, batch, self.shapes) for layer in self.decoder]
        memory = [*below, *level_maps(x.unflatten(0, (batch, -1)), self.shapes)]
        return self.answer(x, maps, self.network.mask_head.features(memory[:3], lateral))

    def answer(
        self, memory: Tensor, maps: list[list[Tensor]], features: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """memory [N * T, C], maps a decoder layer, mask features [N, 8, H/4, W/4]."""
        network, batch = self.network, features.shape[0]
        coordinates = self.propose(memory, batch)  # a box's logits: what is added to is never unmade
        boxes, queries = coordinates.sigmoid(), coordinates.shape[1]
        placed = F.linear(self.positions(boxes.flatten(0, 1)), self.position_weight, self.position_bias)
        placed = placed.split(self.placed, 1)
        x = network.query_embed.weight[:queries].repeat(batch, 1)
        for index, layer in enumerate(self.decoder):
            if index:
                delta = network.bbox_embed[index - 1](x).unflatten(0, (batch, -1))
                coordinates = delta + _bounded(coordinates)
                boxes = coordinates.sigmoid()
            x = layer(x, placed[index], boxes, maps[index])
        last = len(self.decoder) - 1
        logits = network.class_embed[last](x).reshape(batch, queries)
        score, best = logits.max(1, keepdim=True)  # [N, 1]
        hidden, start = (_chosen(y, best) for y in (x.unflatten(0, (batch, -1)), coordinates))
        box = (network.bbox_embed[last](hidden[:, 0]) + _bounded(start[:, 0])).sigmoid()
        masks = network.mask_head(features, hidden, start.sigmoid(), self.size)
        return score[:, 0], box, masks[:, 0]

    def propose(self, memory: Tensor, batch: int) -> Tensor:
        """The two-stage head: memory [N * T, C] -> logits of the best queries' boxes [N, Q, 4]; only those
        are made."""
        network, stage = self.network, self.network.two_stage
        if self.usable is not None:
            memory = (memory.unflatten(0, (batch, -1)) * self.usable).flatten(0, 1)
        memory = stage.enc_output_norm(stage.enc_output(memory))
        logits = network.class_embed[-1](memory).reshape(batch, -1)
        queries = min(network.config.transformer.queries, len(self.anchors))
        index = torch.topk(logits, queries, dim=1).indices
        chosen = _chosen(memory.unflatten(0, (batch, -1)), index)
        return network.bbox_embed[-1](chosen) + self.anchors[index]


def _chosen(x: Tensor, index: Tensor) -> Tensor:
    """Rows [N, K] of x [N, T, C] -> [N, K, C]."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[2]))


def _bounded(coordinates: Tensor) -> Tensor:
    """What `inverse_sigmoid` makes of these logits' sigmoids."""
    return coordinates.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
