"""UniFusion: one attention module through which the image looks at its references, words or masks alike."""

from __future__ import annotations

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


class ReferenceAttention(nn.Module):
    """Multi-head attention whose inner width (heads * head_channels) is free of the model's width."""

    def __init__(self, channels: int, heads: int, head_channels: int):
        super().__init__()
        self.heads = heads
        inner = heads * head_channels
        self.q_proj = nn.Linear(channels, inner)
        self.k_proj = nn.Linear(channels, inner)
        self.v_proj = nn.Linear(channels, inner)
        self.out_proj = nn.Linear(inner, channels)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, padding: Tensor | None) -> Tensor:
        """query [N, S, C], keys and values [N, T, C], padding [N, T] bool True = unseen -> [N, S, C]."""
        q, k, v = (
            self.split(project(x))
            for project, x in ((self.q_proj, query), (self.k_proj, keys), (self.v_proj, values))
        )
        bias = None if padding is None else (padding.to(q.dtype) * MASKED)[:, None, None]  # [N, 1, 1, T]
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out_proj(x.transpose(1, 2).flatten(2))  # [N, heads, S, c] -> [N, S, heads * c]

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # [N, T, heads * c] -> [N, heads, T, c]


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

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, padding: Tensor | None, embed: Tensor
    ) -> Tensor:
        """What one kind of reference adds to x. x [N, S, C], keys and values [N, T, C], embed [N, C] -> [N,
        S, C]."""
        attended = self.attn(self.norm_v(x), self.norm_l(keys), values, padding)
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
        """levels [N, C, h, w] -> the same shapes, fused. use_* [N] is 0 where a row is to ignore that
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
            y = self(x, mask.keys[level], mask.values[level], padding, mask.embeds[level])
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
