"""Fills the network's `Nouns` from an image classifier: its last layer, and which vector a phrase means.

In closed form: ridge regression from the text encoder's mean word to the classifier's 1000 class vectors,
over their names in phrases as people build them. Words for things of any kind are taught to have no opinion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniref_model.network.nouns import Nouns
from uniref_model.network.text import mean_words
from uniref_model.synth.things.colours import COLOURS
from uniref_model.training.classes import CLASSES, ClassTeacher, class_names, vocabularies

TEMPLATES = ("{}", "the {}", "the {colour} {}", "the {} on the {side}", "the {size} {}")
SIDES = ("left", "right")
SIZES = ("small", "large", "smaller", "bigger")
WITHOUT_CLASS = ("thing", "object", "one", "box", "cube", "block", "part")
RIDGE = 1.0
GROUP_WEIGHT = 8.0  # what people say ("dog") counts more than a breed's name

Embed = Callable[[Sequence[str]], tuple[Tensor, Tensor]]


@torch.no_grad()
def fill(nouns: Nouns, teacher: ClassTeacher, embed: Embed) -> None:
    """Set everything but `spread`. embed: texts -> hidden states and attention, as `WordCache`."""
    body = teacher.body
    _copy_head(nouns.head, body.conv_head, body.bn2)
    vectors = torch.cat((body.classifier.weight, body.classifier.bias[:, None]), 1)  # [1000, D + 1]
    vectors = vectors - vectors.mean(0)
    _, strength, directions = torch.linalg.svd(vectors, full_matrices=False)
    rows = nouns.scatter.out_channels
    scatter = directions[:rows] * strength[:rows, None] / CLASSES**0.5
    nouns.scatter.weight.copy_(scatter[:, :-1, None, None])
    nouns.scatter.bias.copy_(scatter[:, -1])
    texts, expected, weight = _phrases(vectors)
    solution = _ridge(_mean_words(embed, texts), expected, weight)
    nouns.phrase.weight.copy_(solution[:-1].t())
    nouns.phrase.bias.copy_(solution[-1])


def _copy_head(head: nn.Conv2d, conv: nn.Conv2d, norm: nn.Module) -> None:
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    head.weight.copy_(conv.weight * factor[:, None, None, None])
    head.bias.copy_(norm.bias - norm.running_mean * factor)


def _phrases(vectors: Tensor) -> tuple[list[str], Tensor, Tensor]:
    """Texts, the vector each should become, and how much it counts."""
    words, cover = vocabularies(class_names())
    targets = cover @ vectors / cover.sum(1, keepdim=True)
    # a mean is shorter than what it is the mean of, the more the more classes it covers
    targets = F.normalize(targets, dim=1) * vectors.norm(dim=1).median()
    targets = torch.cat((targets, targets.new_zeros(len(WITHOUT_CLASS), targets.shape[1])))
    counts = torch.ones(len(targets))
    counts[CLASSES:] = GROUP_WEIGHT
    texts, rows = [], []
    for row, word in enumerate((*words, *WITHOUT_CLASS)):
        for number, template in enumerate(TEMPLATES):
            pick = row + number
            texts.append(
                template.format(
                    word,
                    colour=COLOURS[pick % len(COLOURS)],
                    side=SIDES[pick % len(SIDES)],
                    size=SIZES[pick % len(SIZES)],
                )
            )
            rows.append(row)
    index = torch.tensor(rows)
    return texts, targets[index], counts[index]


def _mean_words(embed: Embed, texts: list[str], batch: int = 64) -> Tensor:
    starts = range(0, len(texts), batch)
    return torch.cat([mean_words(*embed(texts[start : start + batch])) for start in starts])


def _ridge(inputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Weighted least squares with a bias as last row: [Dt + 1, D + 1]."""
    x = torch.cat((inputs, torch.ones(len(inputs), 1)), 1).double()
    weighted = x * weight[:, None]
    penalty = RIDGE * torch.eye(x.shape[1], dtype=x.dtype)
    penalty[-1, -1] = 0
    return torch.linalg.solve(weighted.t() @ x + penalty, weighted.t() @ targets.double()).float()
