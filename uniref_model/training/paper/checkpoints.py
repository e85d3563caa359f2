"""Checkpoints of a stage: accelerate's state in a folder that appears whole, and the model file beside it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from accelerate import Accelerator

from uniref_model.errors import ModelFileError
from uniref_model.network.loading import save_weights
from uniref_model.network.model import UniRef
from uniref_model.training.paper.config import StageConfig

KEPT = 2
"""Checkpoints that stay on disk, the newest."""
FREE = ("max_iterations", "checkpoint_iterations")
"""Settings that a resumed run may change."""


@dataclass(frozen=True)
class Progress:
    """Where a run is. processes and accumulate decide which samples an iteration sees."""

    iteration: int
    processes: int
    accumulate: int


def save(
    accelerator: Accelerator, network: UniRef, config: StageConfig, folder: Path, progress: Progress
) -> Path:
    """Write folder/checkpoints/<iteration> and folder/model.safetensors; called by every process."""
    path = folder / "checkpoints" / f"{progress.iteration:08d}"
    part = path.with_name(path.name + ".part")
    if accelerator.is_main_process:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(part))  # every process adds its random state
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        notes = {"progress": asdict(progress), "config": asdict(config)}
        (part / "run.json").write_text(json.dumps(notes, indent=1), encoding="utf-8")
        shutil.rmtree(path, ignore_errors=True)
        part.replace(path)
        save_weights(network.state_dict(), network.config, folder / "model.safetensors")
        for old in _finished(folder)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()
    return path


def find(path: Path) -> Path:
    """A checkpoint folder from its own path or from its run's folder (the newest). Raises ModelFileError."""
    if (path / "run.json").is_file():
        return path
    found = _finished(path)
    if not found:
        raise ModelFileError(f"no checkpoint at {path}: expected a run's folder, or one of its checkpoints/")
    return found[-1]


def claim(folder: Path, resume: Path | None) -> None:
    """Raise ModelFileError where a run's folder holds checkpoints that this run does not go on from: they
    would be taken for its own."""
    found = _finished(folder)
    if found and (resume is None or find(resume).resolve() != found[-1].resolve()):
        raise ModelFileError(
            f"{folder} holds a run up to {found[-1]}: resume from there, or choose another output folder"
        )


def check(path: Path, config: StageConfig, processes: int, accumulate: int) -> Progress:
    """Where the run of a checkpoint was. Raises ModelFileError where this run could not go on exactly."""
    try:
        notes = json.loads((path / "run.json").read_text(encoding="utf-8"))
        progress = Progress(**notes["progress"])
        before = dict(notes["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{path / 'run.json'} is not a checkpoint's note: {error}") from error
    now = json.loads(json.dumps(asdict(config)))
    for key in sorted(set(before) | set(now)):
        if key not in FREE and before.get(key) != now.get(key):
            raise ModelFileError(
                f"{path}: was trained with {key} {before.get(key)!r}, this run has {now.get(key)!r}; "
                "resume with the same settings, or start anew from the run's model.safetensors"
            )
    if (progress.processes, progress.accumulate) != (processes, accumulate):
        raise ModelFileError(
            f"{path}: had {progress.processes} processes that accumulate {progress.accumulate} batches, this "
            f"run has {processes} and {accumulate}; resume with the same, or start anew from its weights"
        )
    return progress


def _finished(folder: Path) -> list[Path]:
    """Whole checkpoints of a run, oldest first."""
    return sorted(
        path.parent for path in (folder / "checkpoints").glob("*/run.json") if path.parent.name.isdecimal()
    )
