"""The decoder: queries look at each other and at the image, and refine their boxes layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniref_model.network.config import TransformerConfig
from uniref_model.network.deformable import DeformableAttention, Shapes, feed_forward
from uniref_model.network.positions import inverse_sigmoid


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, inputs: int, hidden: int, outputs: int, layers: int = 3):
        super().__init__()
        sizes = [inputs, *[hidden] * (layers - 1), outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class SelfAttention(nn.Module):
    """nn.MultiheadAttention's weights, without its fast paths, which exporters cannot follow."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, query: Tensor, value: Tensor) -> Tensor:
        """query [N, Q, C] (also the key), value [N, Q, C] -> [N, Q, C]."""
        channels = query.shape[-1]
        weight, bias = self.in_proj_weight, self.in_proj_bias
        qk = F.linear(query, weight[: 2 * channels], bias[: 2 * channels])
        v = F.linear(value, weight[2 * channels :], bias[2 * channels :])
        q, k = qk.chunk(2, -1)
        q, k, v = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))  # [N, heads, Q, c]
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    """The norms' numbers are the authors': 2 after self-attention, 1 after cross-attention, 3 after the
    FFN."""

    def __init__(self, config: TransformerConfig, channels: int):
        super().__init__()
        self.cross_attn = DeformableAttention(channels, config.heads, config.points)
        self.norm1 = nn.LayerNorm(channels)
        self.self_attn = SelfAttention(channels, config.heads)
        self.norm2 = nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, config.ffn)
        self.linear2 = nn.Linear(config.ffn, channels)
        self.norm3 = nn.LayerNorm(channels)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        reference: Tensor,
        memory: Tensor,
        padding: Tensor | None,
        shapes: Shapes,
    ) -> Tensor:
        x = self.norm2(x + self.self_attn(x + position, x))
        x = self.norm1(x + self.cross_attn(x + position, reference, memory, padding, shapes))
        return self.norm3(x + feed_forward(x, self.linear1, self.linear2))


@dataclass
class DecoderOutput:
    """One entry a layer."""

    hidden: list[Tensor]  # [N, Q, C]
    boxes: list[Tensor]  # [N, Q, 4] cxcywh in 0..1, the layer's prediction
    references: list[Tensor]  # [N, Q, 4] the boxes the layer started from (no gradient)


class DeformableDecoder(nn.Module):
    def __init__(self, config: TransformerConfig, channels: int):
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(config, channels) for _ in range(config.decoder_layers))

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        reference: Tensor,
        memory: Tensor,
        padding: Tensor | None,
        ratios: Tensor | None,
        shapes: Shapes,
        bbox_embed: nn.ModuleList,
    ) -> DecoderOutput:
        """x, position [N, Q, C], reference [N, Q, 4], memory [N, T, C] of all levels, padding [N, T],
        ratios [N, LEVELS, 2].

        Gradients follow DINO's "look forward twice": a layer's box loss also reaches the layer before,
        through the reference it started from, but no further.
        """
        output = DecoderOutput([], [], [])
        with_gradient = reference
        for layer, head in zip(self.layers, bbox_embed, strict=False):
            scaled = reference[:, :, None]  # [N, Q, 1, 4]
            if ratios is not None:
                scaled = scaled * torch.cat((ratios, ratios), -1)[:, None].to(x.dtype)  # [N, Q, LEVELS, 4]
            x = layer(x, position, scaled, memory, padding, shapes)
            delta = head(x)
            box = (delta + inverse_sigmoid(reference)).sigmoid()
            if self.training:
                output.boxes.append((delta + inverse_sigmoid(with_gradient)).sigmoid())
            else:
                output.boxes.append(box)  # the same values
            output.hidden.append(x)
            output.references.append(reference)
            with_gradient, reference = box, box.detach()
        return output
