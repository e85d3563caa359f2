"""AdamW for runs on clips, and its learning rate over the run."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from uniref_model.training.config import TrainingConfig
from uniref_model.training.step import TrainingModel


def build_optimiser(model: TrainingModel, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW; norms and biases undecayed, the backbone and the sampling offsets slower (Deformable DETR)."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        factor = 1.0
        if ".backbone." in f".{name}":
            factor = config.backbone_factor
        elif "sampling_offsets" in name:
            factor = 0.3
        decay = config.weight_decay if parameter.dim() > 1 else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "factor": factor, "weight_decay": decay} for (factor, decay), p in groups.items()],
        lr=config.learning_rate,
    )


def set_rate(optimiser: torch.optim.Optimizer, config: TrainingConfig, step: int, progress: float) -> float:
    """Linear warm-up over steps, cosine over the run's progress (0..1); returns the base rate."""
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    rate = config.learning_rate * warm * (config.final_rate + (1 - config.final_rate) * cosine)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]
    return rate
