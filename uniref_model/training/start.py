"""What a run starts from: published weights, and which parts of the backbone stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from uniref_model.errors import ModelFileError
from uniref_model.network.tensors import opened
from uniref_model.training import calibrate


def load_initial(network: nn.Module, path: Path) -> None:
    """Start from published weights (.safetensors), without an optimiser's state.

    A calibration folded into them is taken out again, since the losses are about uncalibrated scores.
    ModelFileError where the file is none or belongs to another model.
    """
    with opened(path) as file:
        notes = file.metadata() or {}
        weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    try:
        for name, value in network.state_dict().items():
            if name.startswith(("nouns.", "likeness.")):  # models had none at first; the run fills them in
                weights.setdefault(name, value)
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelFileError(f"{path} cannot be started from: {error}") from error
    if "calibration" in notes:
        try:
            inverse = calibrate.Calibration.from_text(notes["calibration"]).inverse()
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ModelFileError(f"{path}: its note of a calibration is none: {error}") from error
        calibrate.apply(network, inverse)


def freeze(backbone: nn.Module, prefixes: Sequence[str]) -> None:
    """Take the gradient from backbone parameters whose names start with one of `prefixes`."""
    for prefix in prefixes:
        found = [p for name, p in backbone.named_parameters() if name.startswith(prefix)]
        if not found:
            raise ValueError(f"frozen: no backbone parameter's name starts with {prefix!r}")
        for parameter in found:
            parameter.requires_grad_(False)
