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
from uniref_model.network.likeness import Sought
from uniref_model.network.model import UniRef
from uniref_model.network.nouns import CONTRAST, OPINION, Nouns
from uniref_model.network.text import LanguageReference
from uniref_model.network.value_encoder import Fuser, ValueEncoder, mean_reference

CELL_LEVEL = 2  # of the features: nouns are looked for in the last map of the backbone, at stride 32

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
) -> tuple[Tensor | None, Tensor | None, LanguageReference, Tensor, Sequence[Tensor]]:
    """The graph inputs that come after the frame's levels: classes, looks, the words, use_language, and the
    rest."""
    classes = looks = None
    if network.nouns is not None:
        classes, *inputs = inputs
    if network.likeness is not None:
        looks, *inputs = inputs
    words, word_mask, sentence, *inputs = inputs
    noun = None
    if network.nouns is not None:
        noun, *inputs = inputs
    use_language, *inputs = inputs
    return classes, looks, LanguageReference(words, word_mask == 0, sentence, noun), use_language, inputs


def query_of(fusion: UniFusion, levels: list[Tensor]) -> Tensor:
    """What a frame's features [1, C, h, w] look at references with: [1, S, I]."""
    return fusion.attn.q_proj(fusion.norm_v(flatten_levels(levels)))


class SegmentShared(nn.Module):
    """Features of a frame, the words of N objects and what they attended -> score [N], box [N,4],
    mask_logits [N,H/4,W/4]."""

    def __init__(self, network: UniRef, size: tuple[int, int], shapes: list[tuple[int, int]]) -> None:
        super().__init__()
        self.network = network
        self.mode = network.config.fusion.mode
        self.rest = FlatTransformer(network, size, shapes)
        self.first = first = self.rest.first
        self.nouns = None if network.nouns is None else FlatNouns(network.nouns, shapes, first)
        sizes = [height * width for height, width in shapes]
        self.parts = [*sizes[:first], sum(sizes[first:])]
        levels = torch.arange(first, LEVELS).repeat_interleave(torch.tensor(sizes[first:]))
        self.register_buffer("row_of", levels + 1)  # of each token among factors, where the words' come first

    def forward(self, lateral: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels, inputs = list(inputs[:LEVELS]), inputs[LEVELS:]
        fusion = self.network.fusion
        query = inputs[0] if fusion.projects_ahead else query_of(fusion, levels)
        classes, looks, language, use_language, rest = take_language(
            self.network, inputs[1 if fusion.projects_ahead else 0 :]
        )
        attended, *rest, use_reference = rest
        embeds, look = rest[:LEVELS], rest[LEVELS:]
        told = self.attend_words(query, language.words, language.padding).split(self.parts, 1)
        seen = attended.split(self.parts, 1)
        uses = torch.stack((use_language, use_reference.amax(1)), 1)  # [N, 2]
        factor, constant = self.modulate(language.sentence, embeds, uses, use_reference)
        below = [
            self.fuse_map(level, levels[level], told[level], seen[level], factor, constant, uses)
            for level in range(self.first)
        ]
        x = flatten_levels(levels[self.first :])
        tokens = self.fuse_tokens(x, told[-1], seen[-1], factor, constant, uses)
        if self.nouns is not None:
            below, tokens = self.nouns(below, tokens, classes, language.noun, use_language)
        below = [x.unflatten(2, level.shape[2:]) for x, level in zip(below, levels, strict=False)]
        logit, box, masks = self.rest(below, tokens, lateral)
        if look:
            mean = mean_reference(look[0], use_reference)
            wanted = Sought(mean, language.noun, uses[:, 1], uses[:, 0])
            logit = logit + self.network.likeness(looks, classes, masks, wanted)
        return logit.sigmoid(), box, masks

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

    def modulate(
        self, sentence: Tensor, embeds: list[Tensor], uses: Tensor, use_reference: Tensor
    ) -> tuple[Tensor, Tensor]:
        """sentence [N,C], embeds [N,2,C] a level, uses [N,2] (words, mask), use_reference [N,2] -> what the
        words and each level's reference are multiplied by and what is added to them, [N,1+LEVELS,C] both.

        The modulation is linear in what is attended, so it goes into the output projection: gate * (W a + b)
        * (1 + scale) + gate * shift.
        """
        fusion = self.network.fusion
        weight = use_reference / use_reference.sum(1, keepdim=True).clamp(min=1)
        means = (weight[:, None] @ torch.cat(embeds, 2)).unflatten(2, (LEVELS, -1))[:, 0]  # [N, LEVELS, C]
        embed = torch.cat((sentence[:, None], means), 1)
        shift, scale, gate = fusion.modulation(F.silu(embed)).chunk(3, -1)
        gate = gate * torch.cat((uses[:, :1], uses[:, 1:].expand(-1, LEVELS)), 1)[..., None]
        factor = gate * (1 + scale)
        return factor, fusion.attn.out_proj.bias * factor + gate * shift

    def fuse_map(
        self,
        level: int,
        source: Tensor,
        told: Tensor,
        seen: Tensor,
        factor: Tensor,
        constant: Tensor,
        uses: Tensor,
    ) -> Tensor:
        """`UniFusion.fuse` of one level, turned so that the products give maps: source [1,C,h,w], told (by
        words) and seen [N,S_l,I] as attended, factor and constant [N,1+LEVELS,C] -> [N,C,S_l]."""
        out = self.network.fusion.attn.out_proj.weight
        words, mask = (
            (out * factor[:, row, :, None]) @ x.transpose(1, 2) for row, x in ((0, told), (level + 1, seen))
        )
        of_words, of_mask = (constant[:, row, :, None] for row in (0, level + 1))
        return self.combine(source.flatten(2), words, mask, of_words, of_mask, uses)

    def fuse_tokens(
        self, x: Tensor, told: Tensor, seen: Tensor, factor: Tensor, constant: Tensor, uses: Tensor
    ) -> Tensor:
        """`UniFusion.fuse` of the levels from `first` on: x [1,T,C], told and seen [N,T,I], factor and
        constant [N,1+LEVELS,C] -> [N,T,C]."""
        out = self.network.fusion.attn.out_proj.weight
        words = told @ (out * factor[:, 0, :, None]).transpose(1, 2)
        own_factor, own_constant = (y.index_select(1, self.row_of) for y in (factor, constant))
        mask = F.linear(seen, out) * own_factor
        return self.combine(x, words, mask, constant[:, :1], own_constant, uses)

    def combine(
        self, x: Tensor, words: Tensor, mask: Tensor, of_words: Tensor, of_mask: Tensor, uses: Tensor
    ) -> Tensor:
        """What the references add, of_words and of_mask being what is added to each."""
        if self.mode == "parallel":
            return x + (of_words + of_mask) + words + mask
        return self.network.fusion.multiply(x, words + of_words, mask + of_mask, uses[:, 0], uses[:, 1])


class FlatNouns(nn.Module):
    """`Nouns.add` on flat levels: enlarging a map is a product with a constant matrix."""

    def __init__(self, nouns: Nouns, shapes: list[tuple[int, int]], first: int) -> None:
        super().__init__()
        cells = shapes[CELL_LEVEL]
        unit = torch.eye(cells[0] * cells[1]).unflatten(1, (1, *cells))
        enlarge = [
            F.interpolate(unit, size=shape, mode="bilinear", align_corners=False).flatten(1)
            for shape in shapes
        ]  # [cells, S_l] each
        spread = [part.weight[:, :, 0, 0] for part in nouns.spread]  # [C, 2] each
        rest = len(shapes) - len(spread)
        spread += [torch.zeros_like(spread[0])] * rest
        self.below = list(zip(enlarge, spread, strict=True))[: min(first, len(shapes) - rest)]
        self.register_buffer("enlarge", torch.cat(enlarge[first:], 1))  # [cells, T]
        told = [
            weight.t()[:, None].expand(-1, part.shape[1], -1)
            for weight, part in zip(spread, enlarge, strict=True)
        ]
        self.register_buffer(
            "told", torch.cat(told[first:], 1)
        )  # [2, T, C]: what an opinion tells each token

    def forward(
        self, below: list[Tensor], tokens: Tensor, classes: Tensor, noun: Tensor, use_language: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """below [N,C,S_l] a level, tokens [N,T,C] of the others; other arguments as of `Nouns.add`."""
        cells = classes.flatten(2)  # [1, D + 2, cells]
        contrast = (noun * use_language[:, None])[:, None] @ cells[:, :-1]
        ones = torch.full_like(cells[:, -1:], 1 / CONTRAST)
        opinion = contrast * torch.cat((ones, cells[:, -1:] / OPINION), 1)  # [N, 2, cells]
        told = [
            x + spread @ (opinion @ enlarge) for x, (enlarge, spread) in zip(below, self.below, strict=False)
        ]
        contrast, logit = (opinion @ self.enlarge)[..., None].unbind(1)  # [N, T, 1] each
        return told + below[len(told) :], tokens + contrast * self.told[0] + logit * self.told[1]
