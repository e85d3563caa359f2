"""Encoder, decoder and mask head rewritten for a CPU: the same numbers from fewer and larger operators.

What depends on the size alone (position codes, anchors, pixel centres) becomes constants; linear maps of one
input become one product; tokens keep one flat axis, so that every linear map is a plain matrix product; boxes
are predicted for chosen queries only. Sampling grids are laid out with the tokens innermost, which
makes the weighted sum of samples a sum of long rows.

Only for frames without padding. N objects, C channels, T tokens of the levels that the encoder updates.
"""

from __future__ import annotations

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
    unflatten_levels,
)
from uniref_model.network.model import UniRef
from uniref_model.network.positions import inverse_sigmoid
from uniref_model.network.two_stage import anchor_logits


class FlatSampling(nn.Module):
    """A `DeformableAttention` after its values are maps: one product for offsets and weights.

    Grid columns are ordered [x or y, level, head, point] (boxes) or [level, head, point, x or y] (points).
    """

    def __init__(self, attention: DeformableAttention, shapes: list[tuple[int, int]], boxes: bool) -> None:
        super().__init__()
        heads, points = attention.heads, attention.points
        self.heads, self.points, self.boxes = heads, points, boxes
        offsets, logits = attention.sampling_offsets, attention.attention_weights
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
        weight = weight.permute(*order, 4).reshape(-1, weight.shape[-1])
        self.columns = len(weight)
        self.register_buffer("weight", torch.cat((weight, logits.weight)))
        self.register_buffer("bias", torch.cat((bias.permute(order).flatten(), logits.bias)))
        self.output_proj = attention.output_proj

    def forward(self, maps: list[Tensor], grids: Tensor, logits: Tensor) -> Tensor:
        """maps: a level's values [N, heads * c, h, w]; grids [LEVELS, N * heads, points, T, 2]; logits [N, T,
        heads * LEVELS * points] -> [N * T, C]."""
        batch, tokens = logits.shape[:2]
        weights = logits.unflatten(2, (self.heads, -1)).softmax(-1).permute(0, 2, 3, 1)
        weights = weights.reshape(batch * self.heads, 1, -1, tokens)  # [N * heads, 1, LEVELS * points, T]
        samples = torch.cat(
            [
                F.grid_sample(
                    values.reshape(batch * self.heads, -1, *values.shape[2:]),
                    grid,
                    "bilinear",
                    "zeros",
                    align_corners=False,
                )
                for values, grid in zip(maps, grids.unbind(0), strict=True)
            ],
            2,
        )  # [N * heads, c, LEVELS * points, T]
        x = (samples * weights).sum(2).reshape(batch, -1, tokens)  # [N, heads * c, T]
        return self.output_proj(x.transpose(1, 2).reshape(batch * tokens, -1))


class FlatEncoderLayer(nn.Module):
    """An `EncoderLayer` on tokens [N * T, C]."""

    def __init__(
        self,
        layer: EncoderLayer,
        position: Tensor,
        centres: Tensor,
        shapes: list[tuple[int, int]],
        first: int,
    ) -> None:
        """position [1, T, C], centres [1, T, 1, 2] (as of `token_centres`)."""
        super().__init__()
        self.layer, self.shapes = layer, shapes[first:]
        self.sampling = FlatSampling(layer.self_attn, shapes, boxes=False)
        with torch.no_grad():
            constant = F.linear(position[0], self.sampling.weight, self.sampling.bias)
            constant[:, : self.sampling.columns] += (2 * centres[0, :, 0] - 1).repeat(
                1, self.sampling.columns // 2
            )
        self.register_buffer("constant", constant)

    def forward(self, x: Tensor, fixed: list[Tensor], batch: int) -> Tensor:
        sampling, layer = self.sampling, self.layer
        columns = F.linear(x, sampling.weight).unflatten(0, (batch, -1)) + self.constant  # [N, T, ...]
        grids, logits = columns.split((sampling.columns, columns.shape[2] - sampling.columns), 2)
        grids = grids.unflatten(2, (LEVELS, sampling.heads, sampling.points, 2)).permute(2, 0, 3, 4, 1, 5)
        values = unflatten_levels(layer.self_attn.value_proj(x).unflatten(0, (batch, -1)), self.shapes)
        x = layer.norm1(x + sampling([*fixed, *values], grids.flatten(1, 2), logits))
        return layer.norm2(x + layer.linear2(F.relu(layer.linear1(x))))


class FlatDecoderLayer(nn.Module):
    """A `DecoderLayer` on queries [N * Q, C]."""

    def __init__(self, layer: DecoderLayer, shapes: list[tuple[int, int]]) -> None:
        super().__init__()
        self.layer = layer
        self.sampling = FlatSampling(layer.cross_attn, shapes, boxes=True)

    def forward(self, x: Tensor, position: Tensor, boxes: Tensor, maps: list[Tensor]) -> Tensor:
        """x, position [N * Q, C], boxes [N, Q, 4] -> [N * Q, C]."""
        layer, batch = self.layer, boxes.shape[0]
        x = layer.norm2(x + self.look_around(x, position, batch))
        x = layer.norm1(x + self.look_at_image(x + position, boxes, maps))
        return layer.norm3(x + layer.linear2(F.relu(layer.linear1(x))))

    def look_around(self, x: Tensor, position: Tensor, batch: int) -> Tensor:
        """Self-attention among an object's queries."""
        attention = self.layer.self_attn
        channels = x.shape[1]
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        qk = F.linear(x + position, weight[: 2 * channels], bias[: 2 * channels])
        v = F.linear(x, weight[2 * channels :], bias[2 * channels :])
        q, k, v = (
            y.unflatten(0, (batch, -1)).unflatten(2, (attention.heads, -1)).transpose(1, 2)
            for y in (*qk.chunk(2, 1), v)
        )
        y = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1) @ v
        return attention.out_proj(y.transpose(1, 2).reshape(-1, channels))

    def look_at_image(self, query: Tensor, boxes: Tensor, maps: list[Tensor]) -> Tensor:
        sampling, batch = self.sampling, boxes.shape[0]
        columns = F.linear(query, sampling.weight, sampling.bias).unflatten(0, (batch, -1))
        offsets, logits = columns.split((sampling.columns, columns.shape[2] - sampling.columns), 2)
        grids = offsets.unflatten(2, (2, -1)) * boxes[..., 2:, None] + (2 * boxes[..., :2, None] - 1)
        grids = grids.unflatten(
            3, (LEVELS, sampling.heads, sampling.points)
        )  # [N, Q, 2, LEVELS, heads, points]
        grids = grids.permute(3, 0, 4, 5, 1, 2).flatten(1, 2)
        return sampling(maps, grids, logits)


class FlatTransformer(nn.Module):
    """Fused levels [N, h * w, C] and lateral [1, 8, H/4, W/4] -> score [N], box [N, 4], mask_logits [N, H/4,
    W/4], as `UniRef.segment_fused` with the best query's mask."""

    def __init__(self, network: UniRef, size: tuple[int, int], shapes: list[tuple[int, int]]) -> None:
        super().__init__()
        config, like = network.config, network.level_embed
        self.network, self.size, self.shapes = network, size, shapes
        self.first = config.transformer.update_from_level
        maps = [like.new_zeros(1, config.hidden, *shape) for shape in shapes]
        with torch.no_grad():
            position = flatten_levels(network.positions(maps, None)[self.first :])
        centres = token_centres(shapes, self.first, None, like)
        self.encoder = nn.ModuleList(
            FlatEncoderLayer(layer, position, centres, shapes, self.first) for layer in network.encoder.layers
        )
        self.decoder = nn.ModuleList(FlatDecoderLayer(layer, shapes) for layer in network.decoder.layers)
        anchors, usable = anchor_logits(shapes[self.first :], self.first, None, like)
        self.register_buffer("anchors", anchors[0])  # [T, 4]
        self.register_buffer("usable", None if usable is None else usable[0].to(like.dtype))
        attentions = [layer.self_attn for layer in network.encoder.layers]
        attentions += [layer.cross_attn for layer in network.decoder.layers]
        self.register_buffer("value_weight", torch.cat([a.value_proj.weight for a in attentions]))
        self.register_buffer("value_bias", torch.cat([a.value_proj.bias for a in attentions]))

    def forward(self, fused: list[Tensor], lateral: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, channels = fused[0].shape[0], fused[0].shape[2]
        shapes, first, encoders = self.shapes, self.first, len(self.encoder)
        below = [
            tokens.transpose(1, 2).unflatten(2, shape)
            for tokens, shape in zip(fused[:first], shapes, strict=False)
        ]
        # every layer looks at the levels below as they are: all layers' values at once
        weight, bias = self.value_weight, self.value_bias
        fixed = [F.conv2d(x, weight[..., None, None], bias).split(channels, 1) for x in below]
        x = torch.cat(fused[first:], 1).reshape(-1, channels)
        for index, layer in enumerate(self.encoder):
            x = layer(x, [values[index] for values in fixed], batch)
        values = F.linear(x, weight[encoders * channels :], bias[encoders * channels :])
        values = unflatten_levels(values.unflatten(0, (batch, -1)), shapes[first:])
        values = [part.split(channels, 1) for part in values]
        maps = [
            [*(level[encoders + index] for level in fixed), *(level[index] for level in values)]
            for index in range(len(self.decoder))
        ]
        memory = [*below, *unflatten_levels(x.unflatten(0, (batch, -1)), shapes[first:])]
        return self.answer(x, maps, self.network.mask_head.features(memory[:3], lateral))

    def answer(
        self, memory: Tensor, maps: list[list[Tensor]], features: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """memory [N * T, C], maps a decoder layer, mask features [N, 8, H/4, W/4]."""
        network, batch = self.network, features.shape[0]
        boxes = self.propose(memory, batch)
        queries = boxes.shape[1]
        position = network.two_stage.positions(boxes).flatten(0, 1)
        x = network.query_embed.weight[:queries].repeat(batch, 1)
        for index, layer in enumerate(self.decoder):
            if index:
                delta = network.bbox_embed[index - 1](x).unflatten(0, (batch, -1))
                boxes = (delta + inverse_sigmoid(boxes)).sigmoid()
            x = layer(x, position, boxes, maps[index])
        last = len(self.decoder) - 1
        logits = network.class_embed[last](x).reshape(batch, queries)
        best = logits.argmax(1, keepdim=True)  # [N, 1]
        hidden = x.unflatten(0, (batch, -1)).gather(1, best[..., None].expand(-1, -1, x.shape[1]))
        reference = boxes.gather(1, best[..., None].expand(-1, -1, 4))  # [N, 1, 4]
        box = (network.bbox_embed[last](hidden[:, 0]) + inverse_sigmoid(reference[:, 0])).sigmoid()
        masks = network.mask_head(features, hidden, reference, self.size)
        return logits.gather(1, best)[:, 0].sigmoid(), box, masks[:, 0]

    def propose(self, memory: Tensor, batch: int) -> Tensor:
        """The two-stage head: memory [N * T, C] -> the best queries' boxes [N, Q, 4]; only those are made."""
        network, stage = self.network, self.network.two_stage
        if self.usable is not None:
            memory = (memory.unflatten(0, (batch, -1)) * self.usable).flatten(0, 1)
        memory = stage.enc_output_norm(stage.enc_output(memory))
        logits = network.class_embed[-1](memory).reshape(batch, -1)
        queries = min(network.config.transformer.queries, len(self.anchors))
        index = torch.topk(logits, queries, dim=1).indices
        chosen = memory.unflatten(0, (batch, -1)).gather(1, index[..., None].expand(-1, -1, memory.shape[1]))
        return (network.bbox_embed[-1](chosen) + self.anchors[index]).sigmoid()
