"""A mask head that has died in training, begun anew.

No norm holds the activations inside the mask head. Where they grow, every pixel in front of its last ReLU may
end up below zero, in every picture; the gradient is zero then, and no training brings it back. From there on
masks are drawn from the box's own coordinates alone: rounded shapes, whatever the picture shows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uniref_model.training.step import Tensors, TrainingModel

FEATURES = 0.5  # the deviation at which a begun head's features start: answers change little, and soon learn


@torch.no_grad()
def revive_mask_features(model: TrainingModel, data: Tensors) -> bool:
    """Begin the mask head's pixel branch anew where no pixel of this batch comes through it; whether it did.

    Layer by layer, weights are drawn and scaled so that what the layer makes of the batch has mean 0 and
    deviation 1 (LSUV, Mishkin & Matas 2016), in front of its ReLU; the controller, which writes each query's
    own network, stays as it is.
    """
    head = model.network.mask_head
    if _is_alive(model, data):
        return False
    chain = [head.lay3, head.lay4, head.dcn, head.lay1, head.lay2, head.lateral_conv, head.output_conv]
    hooks = [layer.register_forward_pre_hook(_begin_anew) for layer in chain]
    bias = head.mask_conv.bias.clone()  # all that came through, and what the controller knows
    hooks.append(head.mask_conv.register_forward_pre_hook(_begin_anew))
    _respond(model, data, hooks)
    head.mask_conv.weight.mul_(FEATURES)
    head.mask_conv.bias.mul_(FEATURES).add_(bias)
    return True


def _is_alive(model: TrainingModel, data: Tensors) -> bool:
    """Whether any pixel of the batch comes through the mask head's last ReLU."""
    seen: list[bool] = []
    hook = model.network.mask_head.output_conv.register_forward_hook(
        lambda module, inputs, output: seen.append(bool((output > 0).any()))
    )
    _respond(model, data, [hook])
    return any(seen)


def _respond(model: TrainingModel, data: Tensors, hooks: list[torch.utils.hooks.RemovableHandle]) -> None:
    training = model.training
    try:
        model.eval().respond(data, "best")
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)


def _begin_anew(conv: nn.Conv2d, inputs: tuple[Tensor]) -> None:
    """Weights under which a convolution's outputs have mean 0 and deviation 1, channel by channel."""
    nn.init.kaiming_uniform_(conv.weight, a=1)
    conv.bias.zero_()
    output = nn.functional.conv2d(inputs[0], conv.weight, None, conv.stride, conv.padding)
    mean, deviation = output.mean((0, 2, 3)), output.std((0, 2, 3)).clamp(min=1e-6)
    conv.weight /= deviation[:, None, None, None]
    conv.bias -= mean / deviation
