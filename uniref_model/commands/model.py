"""`uniref train` and `uniref convert`: models made and models taken over. Both need the `train` extra
(PyTorch)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..errors import RuntimeUnavailable, SourceError, UniRefError
from . import console


def register(parent: typer.Typer) -> None:
    """Add the commands to the program."""
    parent.command("train")(train_command)
    parent.command("convert")(convert_command)


def train_command(
    config: Annotated[Path, typer.Argument(help="Training YAML, such as config/training/nano.yaml.")],
    output: Annotated[Path, typer.Option(help="Folder for checkpoints, log and plot.")],
    minutes: Annotated[float, typer.Option(min=0, help="Training time, resumed parts included.")] = 80.0,
    pack: Annotated[
        Path | None, typer.Option(help="Sprite pack of 'uniref data build'; drawn objects alone if left out.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Clip settings, such as config/training/data.yaml.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Checkpoint (last.pt) to go on from.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    processes: Annotated[int, typer.Option(min=1, help="Processes that share every step.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each process.")] = 2,
    workers: Annotated[int, typer.Option(min=0, help="Data workers of each process.")] = 1,
) -> None:
    """Train a model on generated clips."""
    for path in (config, pack, data, resume):
        if path is not None and not path.is_file():
            raise SourceError(f"no such file: {path}")
    with _needs_torch():
        from ..training.config import TrainingConfig
        from ..training.data.compose import ClipConfig
        from ..training.generated import GeneratedExamples
        from ..training.loop import RunOptions, train
    try:
        clips = ClipConfig() if data is None else ClipConfig.from_yaml(data)
        settings = TrainingConfig.from_yaml(config)
    except ValueError as error:
        raise UniRefError(str(error)) from error
    options = RunOptions(output, minutes, resume, device, processes, threads, workers)
    last = train(
        settings, options, GeneratedExamples(pack, clips), GeneratedExamples(pack, clips, validation=True)
    )
    console.output.print(f"checkpoint: {last}", highlight=False)


def convert_command(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' checkpoint (.pth).")],
    model: Annotated[str, typer.Option(help="Which model it is: uniref_r50 or uniref_swin_l.")],
    out: Annotated[Path, typer.Option(help="File to write (.safetensors).")],
    allow: Annotated[
        list[str], typer.Option(help="Shell pattern of unknown keys that may be dropped; repeatable.")
    ] = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Take over a checkpoint of the authors, every key accounted for."""
    with _needs_torch():
        from ..network.convert import convert_checkpoint
    try:
        report = convert_checkpoint(checkpoint, model, out, allow)
    except ValueError as error:
        raise UniRefError(str(error)) from error
    console.output.print(str(report), highlight=False, markup=False)


@contextmanager
def _needs_torch() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise RuntimeUnavailable(
            f"this command needs PyTorch ({error}): pip install 'uniref_ros[train]'"
        ) from error
