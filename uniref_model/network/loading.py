"""Model files: safetensors with the model's config in the header."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from uniref_model.errors import ModelFileError, SourceError
from uniref_model.network.config import ModelConfig
from uniref_model.network.model import UniRef
from uniref_model.network.tensors import opened, read_weights
from uniref_model.outputs import make_folder, show
from uniref_model.reading import parse_json

CONFIG_KEY = "uniref_config"  # in the safetensors header: ModelConfig as JSON


def save_weights(
    weights: Mapping[str, Tensor],
    config: ModelConfig,
    path: str | Path,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write a state dict, with notes beside the config. The file appears whole or not at all.

    Raises SourceError.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    make_folder(path.parent)
    part = path.with_name(path.name + ".part")
    # clones: safetensors refuses tensors that share storage, as the authors' files have them
    tensors = {key: value.detach().clone().contiguous() for key, value in weights.items()}
    try:
        told = {"format": "pt", CONFIG_KEY: json.dumps(config.to_dict()), **(notes or {})}
        save_file(tensors, str(part), metadata=told)
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise SourceError(f"cannot write {show(path)}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def read_config(path: str | Path) -> ModelConfig:
    """The config in a model file's header. Raises ModelFileError."""
    with opened(path) as file:
        metadata = file.metadata() or {}
    if CONFIG_KEY not in metadata:
        raise ModelFileError(
            f"{path}: has no UniRef config in its header; was it written by `uniref convert`?"
        )
    try:
        return ModelConfig.from_dict(parse_json(metadata[CONFIG_KEY]))
    except ValueError as error:
        raise ModelFileError(f"{path}: {error}") from error


def has_text_encoder(path: str | Path) -> bool:
    """Whether a model file holds a text encoder. The file is known to be one (`read_config`)."""
    read_config(path)
    with opened(path) as file:
        return any(key.startswith("text_encoder.") for key in file.keys())  # noqa: SIM118 - it is no dict


def load_model(
    path: str | Path, with_text: bool = True, *, fusion: str | None = None, references: str | None = None
) -> UniRef:
    """A model file as a UniRef in eval mode, float32 on the CPU. Raises ModelFileError.

    fusion, references: choices other than the file's, see `ModelConfig.with_fusion`.
    """
    model = UniRef(read_config(path).with_fusion(fusion, references), with_text=with_text)
    load_weights(model, read_weights(path), str(path))
    return model.eval()


def check_finite(model: UniRef, source: str = "") -> None:
    """Raise ModelFileError naming the first weights that are not finite. source: for the error."""
    about = f"{source}: " if source else ""
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise ModelFileError(f"{about}the weights {name} hold numbers that are not finite")


def load_weights(model: UniRef, weights: Mapping[str, Tensor], source: str = "weights") -> None:
    """Load a state dict; every key must fit, but for BatchNorm's counters and an unused text encoder."""
    weights = dict(weights)
    if model.text_encoder is None:
        weights = {key: value for key, value in weights.items() if not key.startswith("text_encoder.")}
    for key, value in model.state_dict().items():
        if key.endswith("num_batches_tracked"):
            weights.setdefault(key, torch.zeros_like(value))
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ModelFileError(f"{source}: {error}") from error
