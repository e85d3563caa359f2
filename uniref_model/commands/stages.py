"""`uniref train` with a stage's config: training on the published data sets, as in the paper."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError, UniRefError


@dataclass(frozen=True)
class StageChoices:
    """What the command line says about a stage, as typed; None and empty: not given."""

    backbone_weights: Path | None
    text_weights: Path | None
    precision: str | None
    accumulate: int | None
    changes: list[str]

    def given(self) -> list[str]:
        """The options that were given, by their names."""
        options = {
            "--backbone-weights": self.backbone_weights,
            "--text-weights": self.text_weights,
            "--precision": self.precision,
            "--accumulate": self.accumulate,
            "--set": self.changes,
        }
        return [name for name, value in options.items() if value]


def train_stage_command(
    config: Path,
    output: Path,
    data: Path | None,
    resume: Path | None,
    init: Path | None,
    device: str,
    processes: int,
    threads: int,
    workers: int | None,
    choices: StageChoices,
) -> Path:
    """Train a stage; the path of its model file. Raises UniRefError, ImportError without the train extra."""
    from ..training.paper.config import StageConfig, parse_changes
    from ..training.paper.start import StartOptions
    from ..training.recipes.paper import StageRun, train_stage

    if data is None or not data.is_dir():
        raise SourceError(f"--data is {data}; {config} needs the folder that holds its data sets")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("uniref_model").setLevel(logging.INFO)
    options = StageRun(
        output=output,
        data=data,
        start=StartOptions(init, choices.backbone_weights, choices.text_weights),
        resume=resume,
        device=device,
        precision=choices.precision or "no",
        processes=processes,
        threads=threads,
        workers=4 if workers is None else workers,
        accumulate=choices.accumulate,
    )
    try:
        settings = StageConfig.from_yaml(config, parse_changes(choices.changes))
        return train_stage(settings, options)
    except ValueError as error:
        raise UniRefError(str(error)) from error
