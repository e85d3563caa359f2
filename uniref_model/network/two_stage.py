"""Two-stage query selection: every token proposes a box, the best ones start the decoder (mixed
selection)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uniref_model.network.deformable import Shapes
from uniref_model.network.positions import box_code

BOX_SIDE = 0.05  # side of a level-0 proposal, doubled at each level
MARGIN = 0.01  # proposals with a coordinate outside (MARGIN, 1 - MARGIN) are not used


@dataclass
class Proposals:
    """Every token's proposal; in training they get a loss of their own."""

    logits: Tensor  # [N, T]
    boxes: Tensor  # [N, T, 4] cxcywh in 0..1


class TwoStage(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.enc_output = nn.Linear(channels, channels)
        self.enc_output_norm = nn.LayerNorm(channels)
        self.pos_trans = nn.Linear(2 * channels, 2 * channels)
        self.pos_trans_norm = nn.LayerNorm(2 * channels)

    def forward(
        self,
        memory: Tensor,
        padding: list[Tensor] | None,
        shapes: Shapes,
        first: int,
        class_embed: nn.Module,
        bbox_embed: nn.Module,
        queries: int,
    ) -> tuple[Proposals, Tensor, Tensor]:
        """memory [N, T, C] of levels `first` on (`padding`, `shapes`: theirs).

        Returns the proposals, the best `queries` boxes [N, Q, 4] in 0..1 (no gradient) and their positions
        [N, Q, C].
        """
        anchors, usable = anchor_logits(shapes, first, padding, memory)
        if usable is not None:
            memory = memory * usable.to(memory.dtype)
        memory = self.enc_output_norm(self.enc_output(memory))
        logits = class_embed(memory)[..., 0]
        coordinates = bbox_embed(memory) + anchors
        index = torch.topk(logits, min(queries, logits.shape[1]), dim=1).indices
        best = torch.gather(coordinates, 1, index[..., None].expand(-1, -1, 4)).detach().sigmoid()
        return Proposals(logits, coordinates.sigmoid()), best, self.positions(best)

    def positions(self, boxes: Tensor) -> Tensor:
        """Boxes [N, Q, 4] -> query positions [N, Q, C].

        The authors predict position and content together and use only the first half; the other half takes
        part in the norm.
        """
        channels = self.enc_output.out_features
        return self.pos_trans_norm(self.pos_trans(box_code(boxes, channels)))[..., :channels]


def anchor_logits(
    shapes: Shapes, first: int, padding: list[Tensor] | None, like: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Inverse sigmoid of each token's default box, and which tokens may be used.

    Returns [N or 1, T, 4], +inf for unusable tokens, and [N or 1, T, 1] bool or None where all are usable.
    """
    if padding is None and _all_usable(shapes, first):
        # no infinities in the graph (float16 engines dislike them), and everything below folds to a constant
        boxes = torch.cat([_level_boxes(shape, first + i, None, like) for i, shape in enumerate(shapes)], 1)
        return torch.log(boxes / (1 - boxes)), None
    boxes, visible = [], []
    for index, shape in enumerate(shapes):
        hidden = None if padding is None else padding[index]
        boxes.append(_level_boxes(shape, first + index, hidden, like))
        shown = torch.ones(1, shape[0] * shape[1], dtype=torch.bool, device=like.device)
        visible.append(shown if hidden is None else ~hidden.flatten(1))
    boxes = torch.cat(boxes, 1)
    usable = ((boxes > MARGIN) & (boxes < 1 - MARGIN)).all(-1) & torch.cat(visible, 1)
    logits = torch.log(boxes / (1 - boxes)).masked_fill(~usable[..., None], math.inf)
    return logits, usable[..., None]


def _level_boxes(shape: tuple[int, int], level: int, padding: Tensor | None, like: Tensor) -> Tensor:
    """cxcywh of each token of a level [N or 1, h * w, 4]; centres relative to the part that is not
    padding."""
    height, width = shape
    valid_height, valid_width = height, width
    if padding is not None:
        valid_height = (~padding[:, :, 0]).sum(1)[:, None, None]
        valid_width = (~padding[:, 0]).sum(1)[:, None, None]
    y = (torch.arange(height, dtype=like.dtype, device=like.device)[:, None] + 0.5) / valid_height
    x = (torch.arange(width, dtype=like.dtype, device=like.device)[None] + 0.5) / valid_width
    batch = 1 if padding is None else padding.shape[0]
    x, y = x.expand(batch, height, width), y.expand(batch, height, width)
    side = torch.full_like(x, BOX_SIDE * 2.0**level)
    return torch.stack((x, y, side, side), -1).flatten(1, 2)


def _all_usable(shapes: Shapes, first: int) -> bool:
    sides = [BOX_SIDE * 2.0 ** (first + index) for index in range(len(shapes))]
    borders = [0.5 / max(shape) for shape in shapes]
    return all(MARGIN < value < 1 - MARGIN for value in sides + borders)
