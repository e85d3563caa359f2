"""Checkpoints of a run: accelerate's state in a folder that appears whole, with a note of what it is.

No code in a file is run: accelerate loads its own files as weights only, and what is ours beside them is JSON
and safetensors. (What one registers with accelerate it would unpickle, so nothing is registered.)
"""

from __future__ import annotations

import json
import math
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from uniref_model.errors import ModelFileError, SourceError
from uniref_model.limits import MAX_SETTINGS_BYTES, LimitError, shown
from uniref_model.outputs import show
from uniref_model.reading import parse_json, read_text

_AVERAGE = "average.safetensors"
KEPT = 2
"""Checkpoints that stay on disk, the newest."""


def save(
    accelerator: Accelerator,
    folder: Path,
    number: int,
    notes: dict[str, Any],
    average: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write folder/checkpoints/<number>; called by every process.

    notes: anything JSON can hold. average: a state beside the prepared ones. Raises SourceError; what was
    saved before stays.
    """
    path = folder / "checkpoints" / f"{number:08d}"
    part = path.with_name(path.name + ".part")
    if accelerator.is_main_process:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    accelerator.wait_for_everyone()
    try:
        accelerator.save_state(str(part))  # every process adds its random state
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            if average is not None:
                tensors = {name: value.contiguous().clone() for name, value in average.items()}
                save_file(tensors, part / _AVERAGE)
            (part / "run.json").write_text(json.dumps(notes, indent=1), encoding="utf-8")
            shutil.rmtree(path, ignore_errors=True)
            part.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:  # as PyTorch says that a disk is full
        raise SourceError(f"cannot write {show(path)}: {str(error).partition(chr(10))[0]}") from error
    if accelerator.is_main_process:
        for old in _finished(folder)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()
    return path


def load(accelerator: Accelerator, path: Path, average: nn.Module | None = None) -> None:
    """Put a checkpoint's state into what is prepared, and into `average`. Raises ModelFileError."""
    try:
        accelerator.load_state(str(path))
        if average is not None:
            average.load_state_dict(load_file(path / _AVERAGE))
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError, pickle.UnpicklingError) as error:
        raise ModelFileError(f"{path} cannot be gone on from: {error}") from error


def find(path: Path) -> Path:
    """A checkpoint folder from its own path or from its run's folder (the newest). Raises ModelFileError."""
    if (path / "run.json").is_file():
        return path
    found = _finished(path)
    if not found:
        raise ModelFileError(f"no checkpoint at {path}: expected a run's folder, or one of its checkpoints/")
    return found[-1]


def notes_of(path: Path) -> dict[str, Any]:
    """What `save` was told of a checkpoint folder. Raises ModelFileError where there is no such note."""
    try:
        notes = parse_json(read_text(path / "run.json", MAX_SETTINGS_BYTES))
    except (OSError, ValueError, LimitError) as error:
        raise ModelFileError(f"{path / 'run.json'} is not a checkpoint's note: {error}") from error
    if not isinstance(notes, dict):
        raise ModelFileError(f"{path / 'run.json'} is not a checkpoint's note, but {type(notes).__name__}")
    return notes


def reached(path: Path) -> tuple[int, float]:
    """Steps and seconds up to a checkpoint of a run on clips. Raises ModelFileError."""
    notes = notes_of(path)
    step, seconds = notes.get("step"), notes.get("seconds")
    good = type(step) is int and step >= 0 and type(seconds) in (int, float) and 0 <= seconds < math.inf
    if not good:
        raise ModelFileError(
            f"{path / 'run.json'} says step {shown(step)} and seconds {shown(seconds)}, expected numbers"
        )
    return step, float(seconds)


def claim(folder: Path, resume: Path | None) -> None:
    """Raise ModelFileError where a run's folder holds checkpoints that this run does not go on from: they
    would be taken for its own."""
    found = _finished(folder)
    if found and (resume is None or find(resume).resolve() != found[-1].resolve()):
        raise ModelFileError(
            f"{folder} holds a run up to {found[-1]}: resume from there, or choose another output folder"
        )


def _finished(folder: Path) -> list[Path]:
    """Whole checkpoints of a run, oldest first."""
    return sorted(
        path.parent for path in (folder / "checkpoints").glob("*/run.json") if path.parent.name.isdecimal()
    )
