"""Files of weights."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from uniref_model.errors import ModelFileError


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file. Raises ModelFileError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise ModelFileError(f"{path}: no such file")
    try:
        return load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path}: truncated or not a safetensors file ({error})") from error
