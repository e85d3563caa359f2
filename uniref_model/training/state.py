"""What a run consists of besides data: weights, averaged weights, optimiser, and their file."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from uniref_model.errors import ModelFileError
from uniref_model.training import calibrate
from uniref_model.training.config import TrainingConfig
from uniref_model.training.step import TrainingModel

FORMAT = 1
_TEACHER = "class_names."  # fixed weights, loaded from their package every time


class Average:
    """Exponential moving average of a module's floating-point state; early steps weigh more (warm-up)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards `module`'s present state."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine, theirs = [], []
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                mine.append(self.state[name])
                theirs.append(value)
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(mine, theirs, 1 - decay)


@dataclass
class RunState:
    """Everything a checkpoint holds. `seconds` is training time spent, over all resumed parts of the run."""

    model: TrainingModel
    average: Average
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write the whole state; a reader never sees half a file."""
        data = {
            "format": FORMAT,
            "model": {k: v for k, v in self.model.state_dict().items() if not k.startswith(_TEACHER)},
            "average": self.average.state,
            "average_updates": self.average.updates,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "torch_rng": torch.get_rng_state(),
            "numpy_rng": np.random.get_state(),
            "python_rng": random.getstate(),
        }
        partial = path.with_suffix(".part")
        torch.save(data, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continue from `path`; ModelFileError where it is not a checkpoint of this program."""
        if not path.is_file():
            raise ModelFileError(f"no checkpoint at {path}")
        data = torch.load(path, map_location="cpu", weights_only=False)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ModelFileError(f"{path} is not a training checkpoint of format {FORMAT}")
        missing, unknown = self.model.load_state_dict(data["model"], strict=False)
        wrong = [name for name in (*missing, *unknown) if not name.startswith(_TEACHER)]
        if wrong:
            raise ModelFileError(f"{path} is of another model: {len(wrong)} names differ, first {wrong[0]!r}")
        for name, value in data["average"].items():
            self.average.state[name].copy_(value)
        self.average.updates = data["average_updates"]
        self.optimiser.load_state_dict(data["optimiser"])
        self.step, self.seconds = data["step"], data["seconds"]
        torch.set_rng_state(data["torch_rng"])
        np.random.set_state(data["numpy_rng"])
        random.setstate(data["python_rng"])


def load_initial(network: nn.Module, path: Path) -> None:
    """Start from published weights (.safetensors), without an optimiser's state.

    A calibration folded into them is taken out again, since the losses are about uncalibrated scores.
    ModelFileError where the file is none or belongs to another model.
    """
    try:
        with safe_open(path, "pt") as file:
            notes = file.metadata() or {}
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        for name, value in network.state_dict().items():
            if name.startswith("nouns."):  # models had none at first; the run fills them in
                weights.setdefault(name, value)
        network.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelFileError(f"{path} cannot be started from: {error}") from error
    if "calibration" in notes:
        calibrate.apply(network, calibrate.Calibration.from_text(notes["calibration"]).inverse())


def freeze(backbone: nn.Module, prefixes: Sequence[str]) -> None:
    """Take the gradient from backbone parameters whose names start with one of `prefixes`."""
    for prefix in prefixes:
        found = [p for name, p in backbone.named_parameters() if name.startswith(prefix)]
        if not found:
            raise ValueError(f"frozen: no backbone parameter's name starts with {prefix!r}")
        for parameter in found:
            parameter.requires_grad_(False)


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
