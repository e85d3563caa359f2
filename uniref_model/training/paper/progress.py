"""Where the run of a stage is, and whether another run could go on from there exactly."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from uniref_model.errors import ModelFileError
from uniref_model.training.checkpoints import notes_of
from uniref_model.training.paper.config import StageConfig

FREE = ("max_iterations", "checkpoint_iterations")
"""Settings that a resumed run may change."""


@dataclass(frozen=True)
class Progress:
    """Where a run is. processes and accumulate decide which samples an iteration sees."""

    iteration: int
    processes: int
    accumulate: int

    def notes(self, config: StageConfig) -> dict[str, Any]:
        """What `check` will want to know."""
        return {"progress": asdict(self), "config": asdict(config)}


def check(path: Path, config: StageConfig, processes: int, accumulate: int) -> Progress:
    """Where the run of a checkpoint was. Raises ModelFileError where this run could not go on exactly."""
    notes = notes_of(path)
    try:
        progress = Progress(**notes["progress"])
        before = dict(notes["config"])
    except (ValueError, KeyError, TypeError) as error:
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
