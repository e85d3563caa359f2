"""Nouns: an image classifier's opinion, cell by cell, on the phrase that is looked for.

Not part of the authors' network. A small model trained on few objects forgets the many nouns that its
backbone once told apart. Here the classifier's last layers stay as they were, and a phrase becomes one more
vector among the class vectors: so a thing that no training clip held is still found by its name. What the
comparison says is added to the fused features; it starts small, and training decides how far it is trusted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniref_model.network.config import NounsConfig
from uniref_model.network.text import mean_words

CONTRAST = 4.0  # standard deviations and
OPINION = 16.0  # logits that count as one unit where they enter the features


class Nouns(nn.Module):
    """Compares the last backbone map with phrases in the space of a classifier's class vectors.

    All but `spread` is computed from the classifier (training/nouns.py) and not trained.
    """

    def __init__(self, config: NounsConfig, inputs: int, text: int, channels: int, levels: int) -> None:
        super().__init__()
        # the classifier's last layer, its norm folded in
        self.head = nn.Conv2d(inputs, config.features, 1)
        # the length of what this gives is how far the classes' logits differ
        self.scatter = nn.Conv2d(config.features, config.scatter, 1)
        # the last output is the class's bias
        self.phrase = nn.Linear(text, config.features + 1)
        for part in (self.head, self.scatter, self.phrase):
            part.requires_grad_(False)
        self.spread = nn.ModuleList(nn.Conv2d(2, channels, 1, bias=False) for _ in range(levels))

    def reset_parameters(self) -> None:
        """Start with a small say."""
        for spread in self.spread:
            nn.init.normal_(spread.weight, std=0.1)

    def look(self, features: Tensor) -> Tensor:
        """Last backbone map [B, inputs, h, w] -> [B, D + 2, h, w]: what class vectors are multiplied with, in
        units of the classes' spread in each cell, and that spread."""
        seen = F.relu6(self.head(features))
        spread = self.scatter(seen).square().sum(1, keepdim=True).clamp(min=1e-4).sqrt()
        return torch.cat((seen / spread, 1 / spread, spread), 1)

    def name(self, hidden: Tensor, attention: Tensor) -> Tensor:
        """A text encoder's hidden state [N, L, Dt] and attention [N, L] -> class vectors [N, D + 1]."""
        return self.phrase(mean_words(hidden, attention))

    def compare(self, classes: Tensor, noun: Tensor) -> Tensor:
        """classes [B, D + 2, h, w] (B = N or 1), noun [N, D + 1] -> [N, 2, h, w]: by how many standard
        deviations of all classes the phrase's stands out in each cell, and its logit, both scaled."""
        size = classes.shape[2:]
        cells = classes.flatten(2)
        contrast = noun[:, None] @ cells[:, :-1]  # [N, 1, h * w]
        opinion = contrast * cells[:, -1:]
        return torch.cat((contrast / CONTRAST, opinion / OPINION), 1).unflatten(2, size)

    def add(
        self, fused: list[Tensor], classes: Tensor, noun: Tensor, use_language: Tensor | None
    ) -> list[Tensor]:
        """Fused levels [N, C, h, w] with the comparison added to the first ones. use_language [N]: 0 where
        a row has no phrase."""
        opinion = self.compare(classes, noun)
        if use_language is not None:
            opinion = opinion * use_language[:, None, None, None]
        told = [
            level + spread(F.interpolate(opinion, size=level.shape[2:], mode="bilinear", align_corners=False))
            for level, spread in zip(fused, self.spread, strict=False)
        ]
        return told + fused[len(told) :]
