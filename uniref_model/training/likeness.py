"""The start of the network's `Likeness`: directions in which things differ, and how much their looks say.

In closed form: principal components of what the classifier's last layer makes of the objects in training
pictures, each weighted down by how much it varies anyway. Training goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from uniref_model.network.likeness import Likeness
from uniref_model.training.step import Tensors, TrainingModel

SHRINK = 0.3  # of the strongest component's deviation, added to each one's: weak ones are noise
LEAST = 0.2  # cells that an object covers, to be taken for a sample of how things look
SAY, SAY_BIAS = (1.4, 1.5), (0.2, -0.6)  # of looks and of phrases, in logits a unit


@torch.no_grad()
def find_directions(model: TrainingModel, batches: Iterable[Tensors]) -> None:
    """Set the network's `Likeness`, whatever it was. Raises ValueError for too few objects."""
    likeness: Likeness = model.network.likeness
    seen = torch.cat([_of_objects(model, data) for data in batches])
    width = likeness.project.out_channels
    if len(seen) < 2 * width:
        raise ValueError(f"{len(seen)} objects in the sample, expected at least {2 * width}")
    mean = seen.mean(0)
    _, strength, directions = torch.linalg.svd(seen - mean, full_matrices=False)
    weight = directions[:width] / (strength[:width] + SHRINK * strength[0])[:, None]
    weight = weight * (len(seen) / width) ** 0.5  # looks of a length about 1
    likeness.project.weight.copy_(weight[:, :, None, None])
    likeness.project.bias.copy_(-weight @ mean)
    likeness.say.copy_(torch.tensor(SAY))
    likeness.bias.copy_(torch.tensor(SAY_BIAS))


def _of_objects(model: TrainingModel, data: Tensors) -> Tensor:
    """What the classifier makes of the batch's reference masks: [R, D + 1]."""
    features = model.network.encode_image(model.normalise(data.images))
    cells = features.classes[data.reference_frame, :-1]
    covered = data.reference_mask.mean((1, 2, 3)) * cells.shape[-2] * cells.shape[-1]  # cells
    large = covered > LEAST
    return model.network.likeness.of_masks(cells[large], data.reference_mask[large])
