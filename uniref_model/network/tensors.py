"""Files of weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from uniref_model.errors import ModelFileError
from uniref_model.outputs import show


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """A .safetensors file, as `safetensors.safe_open` gives it. Raises ModelFileError, also for what goes
    wrong while it is read."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"{show(path)}: no such file")
    try:
        with safe_open(str(path), framework="pt") as file:
            yield file
    except (SafetensorError, OSError, MemoryError) as error:
        raise ModelFileError(f"{show(path)}: truncated or not a safetensors file ({error})") from error


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file. Raises ModelFileError."""
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
