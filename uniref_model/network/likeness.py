"""Likeness: whether what was found looks like what was referred to.

Not part of the authors' network. Asked for a thing that is not there, a network that attends to a reference
answers with whatever stands out, and its score hardly tells: where a view of another thing was given, a small
one takes it for the thing shown in one picture of two. An image classifier tells them apart. So what its last
layer makes of the cells under the answer is compared with what it made of the cells under the reference's
mask, and with the phrase's class vector; both comparisons move the score, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniref_model.network.nouns import CONTRAST

COSINE = 0.125  # of two looks: as much as counts as one unit
ALIKE = 0.4  # cosine of two looks from where they may be the same thing's

LOOKS, PHRASES = 0, 1
"""Rows of what the two comparisons count."""


@dataclass
class Sought:
    """What N objects are recognised by. look [N, A], noun [N, D + 1]; None where no object has such a
    reference. use_look, use_noun [N]: 0 where a row has none; None: all have what is given."""

    look: Tensor | None = None
    noun: Tensor | None = None
    use_look: Tensor | None = None
    use_noun: Tensor | None = None


class Likeness(nn.Module):
    """Compares the cells of a classifier's last layer (`Nouns.look`) under two masks, in `width` directions
    that tell things apart, and those under one mask with a phrase."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(features + 1, width, 1)
        self.say = nn.Parameter(torch.empty(2))  # LOOKS, PHRASES
        self.bias = nn.Parameter(torch.empty(2))
        self.silent: frozenset[int] = frozenset()  # rows of `say` that are not computed

    def reset_parameters(self) -> None:
        """No directions yet (training/likeness.py finds them): all things look alike, and nothing is said."""
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        nn.init.zeros_(self.say)
        nn.init.zeros_(self.bias)

    def leave_out_silent(self) -> None:
        """No longer compute what is weighted with 0: for a network that is not to be trained any more."""
        self.silent = frozenset(row for row in (LOOKS, PHRASES) if not self.say[row] and not self.bias[row])

    @property
    def has_directions(self) -> bool:
        return bool(self.project.weight.any())

    def looks(self, classes: Tensor) -> Tensor:
        """`Nouns.look` of frames [B, D + 2, h, w] -> the look of each cell [B, A, h, w]."""
        return self.project(classes[:, :-1])

    def of_masks(self, looks: Tensor, masks: Tensor) -> Tensor:
        """Masks [N, 1, H, W] (0..1) on frames with these looks (or other maps) [N or 1, A, h, w] -> the mean
        under each mask [N, A], 0 under an empty one."""
        return _mean(looks, _shares(masks, looks))

    def forward(self, looks: Tensor, classes: Tensor, mask_logits: Tensor, sought: Sought) -> Tensor:
        """What to add to the score's logit [N].

        looks [N or 1, A, h, w] and classes [N or 1, D + 2, h, w] of the frames, mask_logits [N, H / 4, W / 4]
        of the answers.
        """
        # what is said of an answer is no reason to draw it otherwise
        shares = _shares(mask_logits.detach().sigmoid()[:, None], looks)
        said = mask_logits.new_zeros(mask_logits.shape[0])
        if sought.look is not None and LOOKS not in self.silent:
            cosine = _cosine(_mean(looks, shares), sought.look)
            # what looks unlike is another thing; what looks alike need not be the same one
            alike = torch.sigmoid((cosine - ALIKE) / COSINE).log()
            said = said + self._say(LOOKS, alike, sought.use_look)
        if sought.noun is not None and PHRASES not in self.silent:
            contrast = (_mean(classes[:, :-1], shares) * sought.noun).sum(1)
            said = said + self._say(PHRASES, contrast / CONTRAST, sought.use_noun)
        return said

    def _say(self, row: int, value: Tensor, use: Tensor | None) -> Tensor:
        said = self.say[row] * value + self.bias[row]
        return said if use is None else said * use

    @torch.no_grad()
    def weigh(self, looks: tuple[float, float], phrases: tuple[float, float]) -> None:
        """Set (weight, bias) of what looks and phrases say."""
        self.say.copy_(torch.tensor((looks[0], phrases[0])))
        self.bias.copy_(torch.tensor((looks[1], phrases[1])))

    @torch.no_grad()
    def rescale(self, factor: float) -> None:
        """Say as much of a logit that is `factor` times as large."""
        self.say.mul_(factor)
        self.bias.mul_(factor)


def _shares(masks: Tensor, looks: Tensor) -> Tensor:
    """Masks [N, 1, H, W] -> the part of each that lies in each cell [N, 1, h * w]."""
    cells = F.avg_pool2d(masks, masks.shape[-1] // looks.shape[-1]).flatten(2)
    return cells / cells.sum(2, keepdim=True).clamp(min=1e-4)


def _cosine(x: Tensor, y: Tensor) -> Tensor:
    """Of the angles between x and y [N, A], in operators that engines know; 0 for a vector of zeros."""
    lengths = x.square().sum(1) * y.square().sum(1)
    return (x * y).sum(1) / (lengths + 1e-6).sqrt()  # not 0 in half precision, nor in a gradient


def _mean(maps: Tensor, shares: Tensor) -> Tensor:
    """Maps [N or 1, A, h, w] and shares [N, 1, h * w] -> [N, A]."""
    return (shares @ maps.flatten(2).transpose(1, 2))[:, 0]
