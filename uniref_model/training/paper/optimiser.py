"""AdamW with the authors' groups of rates, and the fall of the rates at one step."""

from __future__ import annotations

import torch
from torch import Tensor

from uniref_model.training.paper.config import StageConfig
from uniref_model.training.paper.step import StageModel


def rate_of(name: str, config: StageConfig) -> float:
    """The learning rate of a parameter by its name in the network."""
    if name.startswith("backbone."):
        return config.learning_rate * config.backbone_factor
    if "sampling_offsets" in name:
        return config.learning_rate * config.offsets_factor
    if name.startswith("text_encoder."):
        return config.text_learning_rate
    return config.learning_rate


def build_optimiser(model: StageModel, config: StageConfig) -> torch.optim.AdamW:
    """AdamW over what the stage trains; the weight decay is the same for all parameters."""
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in model.network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(rate_of(name, config), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "lr": rate, "base": rate} for rate, parameters in groups.items()],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )


def set_rates(optimiser: torch.optim.Optimizer, config: StageConfig, iteration: int) -> float:
    """Set the rates for an iteration (0, 1, …): all fall by 10 at `step`. Returns the base rate."""
    factor = 0.1 if iteration >= config.step else 1.0
    for group in optimiser.param_groups:
        group["lr"] = group["base"] * factor
    return config.learning_rate * factor
