"""What a run starts from: published weights, and which parts of the backbone stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from uniref_model.errors import ModelFileError
from uniref_model.training import calibrate


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
            if name.startswith(("nouns.", "likeness.")):  # models had none at first; the run fills them in
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
