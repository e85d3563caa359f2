"""Mask features that have died in training, begun anew without changing any answer.

Before the mask head's last ReLU every pixel may end up below zero, in every picture; the gradient is zero
then, and no training brings it back. From there on masks are drawn from the box's own coordinates alone:
rounded shapes, whatever the picture shows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uniref_model.training.step import Tensors, TrainingModel


@torch.no_grad()
def revive_mask_features(model: TrainingModel, data: Tensors) -> bool:
    """Begin the mask head's last layers anew where no pixel of this batch comes through them; whether it did.

    `output_conv` gets fresh weights, scaled so that what it makes of the batch has mean 0 and deviation 1;
    `mask_conv` keeps its bias, which is all that came through, and gets weights of zero. So every answer is
    as before, and there is a gradient again.
    """
    head = model.network.mask_head
    seen: list[tuple[Tensor, Tensor]] = []
    hook = head.output_conv.register_forward_hook(
        lambda module, inputs, output: seen.append((inputs[0].detach(), output.detach()))
    )
    training = model.training
    try:
        model.eval().respond(data, "best")
    finally:
        hook.remove()
        model.train(training)
    if any((output > 0).any() for _, output in seen):
        return False
    _begin_anew(head.output_conv, torch.cat([inputs for inputs, _ in seen]))
    head.mask_conv.weight.zero_()
    return True


def _begin_anew(conv: nn.Conv2d, inputs: Tensor) -> None:
    """Weights under which a convolution's outputs have mean 0 and deviation 1, channel by channel."""
    nn.init.kaiming_uniform_(conv.weight, a=1)
    conv.bias.zero_()
    output = conv(inputs)
    mean, deviation = output.mean((0, 2, 3)), output.std((0, 2, 3)).clamp(min=1e-6)
    conv.weight /= deviation[:, None, None, None]
    conv.bias -= mean / deviation
