"""UniFusion: one attention module through which the image looks at its references, words or masks alike."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniref_model.network.config import FusionConfig
from uniref_model.network.text import LanguageReference
from uniref_model.network.value_encoder import MaskReference

# Added to the logits of keys that are not to be seen. Not -inf: a row whose keys are all absent must stay
# finite (its result is multiplied by 0 afterwards). exp(-3e4) is exactly 0 in every float type, and 3e4
# fits float16.
MASKED = -3e4


SHARED_LOGITS = 1 << 22
"""Attention probabilities held at a time when objects share them: 16 MB in float32, about a CPU's cache."""


class ReferenceAttention(nn.Module):
    """Multi-head attention whose inner width I = heads * head_channels is free of the model's width."""

    def __init__(self, channels: int, heads: int, head_channels: int):
        super().__init__()
        self.heads = heads
        inner = heads * head_channels
        self.q_proj = nn.Linear(channels, inner)
        self.k_proj = nn.Linear(channels, inner)
        self.v_proj = nn.Linear(channels, inner)
        self.out_proj = nn.Linear(inner, channels)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, padding: Tensor | None) -> Tensor:
        """query [N or 1, S, C], keys [N or 1, T, I] and values [N, T, I] as projected, padding [N or 1, T]
        bool True = unseen -> [N, S, C].

        Where query and keys have batch 1, N > 1 objects share one set of probabilities.
        """
        return self.out_proj(self.attend(self.q_proj(query), keys, values, padding))

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, padding: Tensor | None) -> Tensor:
        """As `forward`, between the projections: query [N or 1, S, I] -> [N, S, I]."""
        q, k, v = (self.split(x) for x in (query, keys, values))
        bias = None if padding is None else (padding.to(q.dtype) * MASKED)[:, None, None]  # [N, 1, 1, T]
        count, same_frames = v.shape[0], bias is None or bias.shape[0] == 1
        if same_frames and q.shape[0] == 1 == k.shape[0] and count > 1:
            return _share(q[0], k[0], v, None if bias is None else bias[0])
        q, k = (x.expand(count, -1, -1, -1) for x in (q, k))
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return x.transpose(1, 2).flatten(2)  # [N, heads, S, c] -> [N, S, heads * c]

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # [N, T, heads * c] -> [N, heads, T, c]


def _share(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """q [heads, S, c], k [heads, T, c], v [N, heads, T, c], bias [1, 1, T] -> [N, S, heads * c].

    The objects' values stand side by side, so that one product serves them all.
    """
    count, heads, tokens, channels = v.shape
    wide = v.permute(1, 2, 0, 3).reshape(heads, tokens, count * channels)
    parts = []
    for rows in q.split(max(1, SHARED_LOGITS // (heads * tokens)), 1):
        logits = rows @ k.transpose(1, 2) * channels**-0.5
        parts.append((logits if bias is None else logits + bias).softmax(-1) @ wide)
    out = torch.cat(parts, 1).unflatten(2, (count, channels))  # [heads, S, N, c]
    return out.permute(2, 1, 0, 3).flatten(2)


class UniFusion(nn.Module):
    """y = gate * (attention * (1 + scale) + shift); gate, scale, shift from the reference's mean feature.

    One module serves all levels and both kinds of reference. Keys are normalised, values are not.
    """

    def __init__(self, config: FusionConfig, channels: int):
        super().__init__()
        self.norm_v = nn.LayerNorm(channels)
        self.norm_l = nn.LayerNorm(channels)
        self.attn = ReferenceAttention(channels, config.heads, config.head_channels)
        self.modulation = nn.Linear(channels, 3 * channels)
        # Projected references are kept where they are no larger than what they are made of, so that keeping
        # them is free. (The authors' are eight times as large, and projecting is 2 % of their work.)
        self.projects_ahead = config.heads * config.head_channels <= channels

    def reset_parameters(self) -> None:
        """Start at y = attention: gate 1, scale 0, shift 0.

        AdaLN-zero starts with gate 0; then nothing behind the gate learns until the gate opens, and the
        rest of the network meanwhile learns to do without references.
        """
        for projection in (self.attn.q_proj, self.attn.k_proj, self.attn.v_proj, self.attn.out_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)
        nn.init.normal_(self.modulation.weight, std=1e-3)
        nn.init.zeros_(self.modulation.bias)
        channels = self.norm_v.weight.shape[0]
        nn.init.ones_(self.modulation.bias[2 * channels :])

    def project_keys(self, keys: Tensor) -> Tensor:
        """[N, T, C] -> [N, T, I]. What depends on a reference frame alone."""
        return self.attn.k_proj(self.norm_l(keys))

    def project_values(self, values: Tensor) -> Tensor:
        """[N, T, C] -> [N, T, I]; values are not normalised."""
        return self.attn.v_proj(values)

    def project(self, reference: MaskReference) -> MaskReference:
        """The same reference with keys and values projected, for use in many frames."""
        return replace(
            reference,
            keys=[self.project_keys(key) for key in reference.keys],
            values=[self.project_values(value) for value in reference.values],
            projected=True,
        )

    def forward(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        padding: Tensor | None,
        embed: Tensor,
        projected: bool = False,
    ) -> Tensor:
        """What one kind of reference adds to x. x [N or 1, S, C], keys and values [N, T, C] (`projected`: [N
        or 1, T, I]), embed [N, C] -> [N, S, C]."""
        query = self.norm_v(x)
        if not projected:
            keys, values = self.project_keys(keys), self.project_values(values)
        attended = self.attn(query, keys, values, padding)
        shift, scale, gate = self.modulation(F.silu(embed))[:, None].chunk(3, -1)
        return gate * (attended * (1 + scale) + shift)

    def fuse_levels(
        self,
        levels: list[Tensor],
        language: LanguageReference | None,
        mask: MaskReference | None,
        use_language: Tensor | None,
        use_mask: Tensor | None,
        mode: str,
    ) -> list[Tensor]:
        """levels [N or 1, C, h, w] -> [N, C, h, w], fused. use_* [N] is 0 where a row is to ignore that
        reference."""
        fused = []
        for level, features in enumerate(levels):
            x = features.flatten(2).transpose(1, 2)  # [N, C, h, w] -> [N, S, C]
            x = self.fuse(x, level, language, mask, use_language, use_mask, mode)
            fused.append(x.transpose(1, 2).unflatten(2, features.shape[2:]))
        return fused

    def fuse(self, x, level, language, mask, use_language, use_mask, mode) -> Tensor:
        def from_words(x: Tensor) -> Tensor:
            y = self(x, language.words, language.words, language.padding, language.sentence)
            return y if use_language is None else y * use_language[:, None, None]

        def from_mask(x: Tensor) -> Tensor:
            padding = None if mask.padding is None else mask.padding[level]
            y = self(x, mask.keys[level], mask.values[level], padding, mask.embeds[level], mask.projected)
            return y if use_mask is None else y * use_mask[:, None, None]

        if language is None and mask is None:
            return x
        if mask is None:
            return x + from_words(x)
        if language is None:
            return x + from_mask(x)
        if mode == "parallel":  # the released code
            return x + from_words(x) + from_mask(x)
        if mode == "parallel_multiply":  # the supplement's figure 2c: the two fused features are multiplied
            return self.multiply(x, from_words(x), from_mask(x), use_language, use_mask)
        if mode == "mask_then_language":
            x = x + from_mask(x)
            return x + from_words(x)
        if mode == "language_then_mask":
            x = x + from_words(x)
            return x + from_mask(x)
        raise ValueError(f"unknown fusion mode {mode!r}")

    @staticmethod
    def multiply(
        x: Tensor, words: Tensor, mask: Tensor, use_language: Tensor | None, use_mask: Tensor | None
    ) -> Tensor:
        """(x + words) * (x + mask) for rows that have both references, the sum for the others."""
        product = (x + words) * (x + mask)
        if use_language is None and use_mask is None:
            return product
        both = 1.0
        for use in (use_language, use_mask):
            both = both if use is None else both * use
        return torch.where((both != 0)[:, None, None], product, x + words + mask)
