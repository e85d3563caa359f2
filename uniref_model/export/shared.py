"""The graphs for a CPU: what objects have in common is computed once for all of them.

`attend_one` and `attend_two` look from a frame at one or two reference frames; all objects that refer to the
same frames share the probabilities there, and differ in values only. `segment_shared` takes what was attended
and does the rest for each object. TensorRT and CUDA run `segment` instead, whose attention is batched: there
one fused kernel is cheaper than shared probabilities that have to be written to memory.

Shapes as in graphs.py; S = tokens of all levels, I = width of the attention (heads * head_channels).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniref_model.export.flat import FlatTransformer
from uniref_model.network.config import LEVELS
from uniref_model.network.deformable import flatten_levels
from uniref_model.network.fusion import MASKED, UniFusion
from uniref_model.network.model import UniRef
from uniref_model.network.text import LanguageReference
from uniref_model.network.value_encoder import Fuser, ValueEncoder

SHARED_MODES = ("parallel", "parallel_multiply")
"""Fusion modes in which masks are looked at from the frame alone, before any object's words."""


def values_of_objects(
    encoder: ValueEncoder, image: Tensor, masks: Tensor, levels: list[Tensor]
) -> list[Tensor]:
    """`ValueEncoder.forward` for N masks [N, 1, H, W] on one frame: image [1, 3, H, W], levels [1, C, h, w].

    Convolutions are linear, so those that see frame and object side by side are split in two, and the frame's
    part is computed once.
    """
    x = F.relu(encoder.bn1(_side_by_side(encoder.conv1, image, masks)))
    x = F.max_pool2d(x, 3, 2, 1)
    maps = []
    for layer in encoder.layers:
        x = layer(x)
        maps.append(x)
    maps = [*maps[1:], encoder.final_layer(x)]
    return [
        _fuse(fuser, encoder.pool(features, level), encoder.pool(levels[level], level))
        for level, (fuser, features) in enumerate(zip(encoder.fusers, maps, strict=True))
    ]


def _fuse(fuser: Fuser, features: Tensor, source: Tensor) -> Tensor:
    """`Fuser.forward` on features [N, c, h, w] beside source [1, C, h, w]."""
    block = fuser.block1
    if block.downsample is None:  # as wide as its output: nothing of it is the frame's alone
        return fuser(torch.cat((features, source.expand(features.shape[0], -1, -1, -1)), 1))
    shortcut = _side_by_side(block.downsample, features, source, first=True)
    x = _side_by_side(block.conv1, F.relu(features), F.relu(source), first=True)
    x = shortcut + block.conv2(F.relu(x))
    return fuser.block2(x + fuser.attention(x))


def _side_by_side(conv: nn.Conv2d, left: Tensor, right: Tensor, first: bool = False) -> Tensor:
    """conv(cat(left, right)), in two parts. first: the bias goes with `left`, else with `right`."""
    width = left.shape[1]
    weights = conv.weight[:, :width], conv.weight[:, width:]
    biases = (conv.bias, None) if first else (None, conv.bias)
    parts = (
        F.conv2d(x, weight, bias, conv.stride, conv.padding)
        for x, weight, bias in zip((left, right), weights, biases, strict=True)
    )
    return sum(parts)


class Attend(nn.Module):
    """query [1,S,I], or src0..3 where the graph projects; then for each of `frames` reference frames key0..3
    [1,T_l,K], and for each value0..3 [N,T_l,K] -> attended [N,S,I] (before the output projection)."""

    def __init__(self, network: UniRef, frames: int, shapes: list[tuple[int, int]]) -> None:
        super().__init__()
        self.fusion, self.frames = network.fusion, frames
        self.sizes = [height * width for height, width in shapes]

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        projected = self.fusion.projects_ahead
        query = inputs[0] if projected else query_of(self.fusion, list(inputs[:LEVELS]))
        rest = inputs[1 if projected else LEVELS :]
        keys, values = rest[: LEVELS * self.frames], rest[LEVELS * self.frames :]
        attended = []
        for level, part in enumerate(query.split(self.sizes, 1)):
            key, value = torch.cat(keys[level::LEVELS], 1), torch.cat(values[level::LEVELS], 1)
            if not projected:
                key, value = self.fusion.project_keys(key), self.fusion.project_values(value)
            attended.append(self.look(part, key, value))
        return (torch.cat(attended, 1),)

    def look(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """query [1,S_l,I], key [1,T,I], value [N,T,I] -> [N,S_l,I]; objects' values stand side by side."""
        heads = self.fusion.attn.heads
        count, tokens = value.shape[:2]
        q, k = (x[0].unflatten(1, (heads, -1)).transpose(0, 1) for x in (query, key))  # [heads, S_l or T, c]
        v = (
            value.unflatten(2, (heads, -1)).permute(2, 1, 0, 3).reshape(heads, tokens, -1)
        )  # [heads, T, N * c]
        x = ((q @ k.transpose(1, 2)) * q.shape[-1] ** -0.5).softmax(-1) @ v
        x = x.unflatten(2, (count, -1)).permute(2, 1, 0, 3)  # [heads, S_l, N * c] -> [N, S_l, heads, c]
        return x.flatten(2)


def take_language(
    network: UniRef, inputs: Sequence[Tensor]
) -> tuple[Tensor | None, LanguageReference, Tensor, Sequence[Tensor]]:
    """The graph inputs that come after the frame's levels: classes, the words, use_language, and the rest."""
    classes = None
    if network.nouns is not None:
        classes, *inputs = inputs
    words, word_mask, sentence, *inputs = inputs
    noun = None
    if network.nouns is not None:
        noun, *inputs = inputs
    use_language, *inputs = inputs
    return classes, LanguageReference(words, word_mask == 0, sentence, noun), use_language, inputs


def query_of(fusion: UniFusion, levels: list[Tensor]) -> Tensor:
    """What a frame's features [1, C, h, w] look at references with: [1, S, I]."""
    return fusion.attn.q_proj(fusion.norm_v(flatten_levels(levels)))


class SegmentShared(nn.Module):
    """Features of a frame, the words of N objects and what they attended -> score [N], box [N,4],
    mask_logits [N,H/4,W/4]."""

    def __init__(self, network: UniRef, size: tuple[int, int], shapes: list[tuple[int, int]]) -> None:
        super().__init__()
        self.network, self.shapes = network, shapes
        self.mode = network.config.fusion.mode
        self.rest = FlatTransformer(network, size, shapes)

    def forward(self, lateral: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels, inputs = list(inputs[:LEVELS]), inputs[LEVELS:]
        fusion = self.network.fusion
        query = inputs[0] if fusion.projects_ahead else query_of(fusion, levels)
        classes, language, use_language, rest = take_language(
            self.network, inputs[1 if fusion.projects_ahead else 0 :]
        )
        attended, *embeds, use_reference = rest
        by_words = self.attend_words(query, language.words, language.padding)
        uses = torch.stack((use_language, use_reference.amax(1)), 1)  # [N, 2]
        x = flatten_levels(levels)  # [1, S, C]
        fused = []
        weight = use_reference[:, :, None]
        total = weight.sum(1).clamp(min=1)
        sizes = [height * width for height, width in self.shapes]
        parts = zip(*(y.split(sizes, 1) for y in (x, by_words, attended)), strict=True)
        for (tokens, told, mask), embed in zip(parts, embeds, strict=True):
            mean = (embed * weight).sum(1) / total
            fused.append(self.fuse(tokens, told, mask, torch.stack((language.sentence, mean), 1), uses))
        if classes is not None:
            fused = self.add_nouns(fused, classes, language.noun, use_language)
        return self.rest(fused, lateral)

    def add_nouns(
        self, fused: list[Tensor], classes: Tensor, noun: Tensor, use_language: Tensor
    ) -> list[Tensor]:
        """`Nouns.add` on levels as tokens [N, h * w, C]."""
        maps = [x.transpose(1, 2).unflatten(2, shape) for x, shape in zip(fused, self.shapes, strict=True)]
        maps = self.network.nouns.add(maps, classes, noun, use_language)
        return [x.flatten(2).transpose(1, 2) for x in maps]

    def attend_words(self, query: Tensor, words: Tensor, padding: Tensor) -> Tensor:
        """query [1,S,I], words [N,L,C], padding [N,L] bool -> [N,S,I]."""
        fusion, attention = self.network.fusion, self.network.fusion.attn
        q, k, v = (
            attention.split(x) for x in (query, fusion.project_keys(words), fusion.project_values(words))
        )
        bias = (padding.to(q.dtype) * MASKED)[:, None, None]
        # multiplied as [1, heads, S, c] by [N, heads, c, L]: the query is never repeated
        x = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + bias).softmax(-1) @ v
        return x.transpose(1, 2).flatten(2)

    def fuse(self, x: Tensor, language: Tensor, mask: Tensor, embeds: Tensor, uses: Tensor) -> Tensor:
        """`UniFusion.fuse` of one level: x [1,S_l,C], language and mask [N,S_l,I] as attended, embeds [N,2,C]
        (words, mask), uses [N,2] -> [N,S_l,C].

        The modulation is linear in what is attended, so it goes into the output projection: gate * (W a + b)
        * (1 + scale) + gate * shift.
        """
        fusion, out = self.network.fusion, self.network.fusion.attn.out_proj
        shift, scale, gate = fusion.modulation(F.silu(embeds)).chunk(3, -1)  # [N, 2, C]
        gate = gate * uses[..., None]
        factor = gate * (1 + scale)
        weight = out.weight.t() * factor[:, :, None]  # [N, 2, I, C]
        constant = out.bias * factor + gate * shift  # [N, 2, C]
        if self.mode == "parallel":
            both = torch.cat((language, mask), 2) @ weight.flatten(1, 2)
            return both + constant.sum(1, keepdim=True) + x
        from_words, from_mask = (
            y @ weight[:, kind] + constant[:, kind, None] for kind, y in enumerate((language, mask))
        )
        return fusion.multiply(x, from_words, from_mask, uses[:, 0], uses[:, 1])
