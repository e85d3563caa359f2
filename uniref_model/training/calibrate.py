"""Scores that mean what they say: Platt scaling of the class logit, folded into the last class head.

Focal loss with several positives a target teaches an order of scores, not their size. Two numbers fitted on
held-out generated clips (logistic regression of "is the answer right", Platt 1999) turn the best query's
score into the probability of a right answer, so that the thresholds 0.4 and 0.3 keep their meaning for every
set of weights. Which query is best cannot change: the scale is positive.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from uniref_model.training.step import Tensors, TrainingModel
from uniref_model.training.validate import answers

RIGHT_IOU = 0.5
MIN_SCALE, MAX_SCALE = 0.2, 12.0


@dataclass(frozen=True)
class Calibration:
    """logit -> scale * logit + bias. answers, right: pairs it was fitted on. loss_*: nats a pair, before and
    after."""

    scale: float
    bias: float
    answers: int
    right: int
    loss_before: float
    loss_after: float

    def inverse(self) -> Calibration:
        """What undoes it."""
        return replace(self, scale=1 / self.scale, bias=-self.bias / self.scale)

    @staticmethod
    def from_text(text: str) -> Calibration:
        """Read what `str` gives."""
        return Calibration(**json.loads(text))

    def __str__(self) -> str:
        return json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()})


def collect(model: TrainingModel, batches: Iterable[Tensors]) -> tuple[Tensor, Tensor]:
    """All pairs' best logits [N], and whether the answer was right [N]: a target there, IoU over 0.5."""
    logits, right = [], []
    for given in answers(model, batches):
        logits.append(given.logits)
        right.append(given.has_target & (given.iou > RIGHT_IOU))
    return torch.cat(logits), torch.cat(right)


def fit(logits: Tensor, right: Tensor) -> Calibration:
    """Maximum likelihood with Platt's softened targets. ValueError unless both kinds of answer occur."""
    count, positive = len(right), int(right.sum())
    if positive == 0 or positive == count:
        raise ValueError(
            f"{positive} of {count} held-out answers are right; calibration needs right and wrong ones"
        )
    target = torch.where(right, (positive + 1) / (positive + 2), 1 / (count - positive + 2)).double()
    x = logits.double()
    log_scale, bias = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    parameters = [log_scale.requires_grad_(), bias.requires_grad_()]

    def loss() -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(log_scale.exp() * x + bias, target)

    before = float(loss())
    optimiser = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)
    scale = float(log_scale.exp().clamp(MIN_SCALE, MAX_SCALE))
    return Calibration(scale, float(bias), count, positive, before, float(loss()))


@torch.no_grad()
def apply(network: nn.Module, calibration: Calibration) -> None:
    """Fold the calibration into the class head of the last decoder layer, in place."""
    head = network.class_embed[network.config.transformer.decoder_layers - 1]
    head.weight.mul_(calibration.scale)
    head.bias.mul_(calibration.scale).add_(calibration.bias)
    if network.likeness is not None:
        network.likeness.rescale(calibration.scale)
