"""`uniref train` and `uniref convert`: models made and models taken over. Both need the `train` extra
(PyTorch)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..errors import RuntimeUnavailable, SourceError, UniRefError
from ..limits import MAX_THREADS
from ..outputs import keep_apart
from . import console
from .options import INSTALL_TRAIN
from .stages import StageChoices, train_stage_command


def register(parent: typer.Typer) -> None:
    """Add the commands to the program."""
    parent.command("train")(train_command)
    parent.command("convert")(convert_command)


def train_command(
    config: Annotated[
        Path, typer.Argument(help="Training YAML, such as config/training/nano.yaml or stage1_vg.yaml.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for checkpoints, log and plot.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Stages: the folder of data sets. Generated clips: clip settings, such as "
            "config/training/data.yaml."
        ),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="To go on from: a run's folder, or one of its checkpoints.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    processes: Annotated[
        int, typer.Option(min=1, max=MAX_THREADS, help="Processes that share every step.")
    ] = 1,
    threads: Annotated[int, typer.Option(min=1, max=MAX_THREADS, help="Threads of each process.")] = 2,
    workers: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_THREADS, help="Data workers of each process; 1 for clips, 4 for stages."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="Clips: training time, resumed parts included; 80 if left out."),
    ] = None,
    pack: Annotated[
        Path | None,
        typer.Option(help="Clips: sprite pack of 'uniref data build'; drawn objects alone if left out."),
    ] = None,
    stills: Annotated[
        Path | None,
        typer.Option(help="Clips: folder of real pictures in the plain layout ('uniref data import')."),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Weights (.safetensors) to start from: of the stage before, or of 'convert'."),
    ] = None,
    backbone_weights: Annotated[
        Path | None, typer.Option(help="Stages: ImageNet weights of the backbone (.pth, .safetensors).")
    ] = None,
    text_weights: Annotated[
        Path | None, typer.Option(help="Stages: folder of the published text encoder and its tokenizer.json.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="Stages: no (float32), bf16 or fp16.")] = None,
    accumulate: Annotated[
        int | None,
        typer.Option(min=1, help="Stages: batches a step and process; as many as replace missing GPUs."),
    ] = None,
    changes: Annotated[
        list[str], typer.Option("--set", help="Stages: KEY=VALUE in place of the config's; repeatable.")
    ] = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Train a model: on generated clips, or as in the paper on the published data sets."""
    if not config.is_file():
        raise SourceError(f"no such file: {config}")
    keep_apart(
        [output / name for name in ("model.safetensors", "average.safetensors")],
        [path for path in (init, backbone_weights, pack, data) if path is not None],
    )
    choices = StageChoices(backbone_weights, text_weights, precision, accumulate, changes)
    clips_only = [
        name
        for name, value in {"--minutes": minutes, "--pack": pack, "--stills": stills}.items()
        if value is not None
    ]
    with needs_torch():
        from ..training.paper.config import is_stage
    stage = is_stage(config)
    foreign = clips_only if stage else choices.given()
    if foreign:
        kind = "a stage on published data sets" if stage else "a run on generated clips"
        raise UniRefError(f"{foreign[0]} does not apply to {config}, {kind}")
    with needs_torch():
        if stage:
            last = train_stage_command(
                config, output, data, resume, init, device, processes, threads, workers, choices
            )
        else:
            minutes = 80.0 if minutes is None else minutes
            workers = 1 if workers is None else workers
            last = _train_on_clips(
                config, output, minutes, pack, data, resume, init, device, processes, threads, workers, stills
            )
    console.output.print(f"{'weights' if stage else 'checkpoint'}: {last}", highlight=False)


def _train_on_clips(
    config: Path,
    output: Path,
    minutes: float,
    pack: Path | None,
    data: Path | None,
    resume: Path | None,
    init: Path | None,
    device: str,
    processes: int,
    threads: int,
    workers: int,
    stills: Path | None,
) -> Path:
    from ..network.tensors import opened
    from ..synth.config import ClipConfig
    from ..synth.examples import GeneratedExamples, MixedExamples
    from ..synth.packs.sprites import SpritePack
    from ..synth.stills import StillExamples
    from ..training.config import TrainingConfig
    from ..training.recipes.nano import RunOptions, train

    for path in (pack, data, init):
        if path is not None and not path.is_file():
            raise SourceError(f"no such file: {path}")
    if init is not None:
        with opened(init):
            pass  # before a network is made for it
    try:
        clips = ClipConfig() if data is None else ClipConfig.from_yaml(data)
        settings = TrainingConfig.from_yaml(config)
        if pack is not None:
            SpritePack.load(pack)  # each process reads its own, minutes later
    except ValueError as error:
        raise UniRefError(str(error)) from error
    options = RunOptions(output, minutes, resume, device, processes, threads, workers, init=init)
    made, held_out = (GeneratedExamples(pack, clips, validation=held) for held in (False, True))
    if stills is None:
        return train(settings, options, made, held_out)
    real, real_held_out = (StillExamples(stills, settings.stills, validation=held) for held in (False, True))
    for examples in (real, real_held_out):
        console.status.print(f"{len(examples.pictures(console.status.print))} pictures", highlight=False)
    return train(settings, options, MixedExamples(made, real, settings.generated_share), real_held_out)


def convert_command(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' checkpoint (.pth).")],
    model: Annotated[str, typer.Option(help="Which model it is: uniref_r50 or uniref_swin_l.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write (.safetensors).")],
    allow: Annotated[
        list[str], typer.Option(help="Shell pattern of unknown keys that may be dropped; repeatable.")
    ] = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Take over a checkpoint of the authors, every key accounted for."""
    keep_apart([out], [checkpoint])
    with needs_torch():
        from ..network.convert import convert_checkpoint
    try:
        report = convert_checkpoint(checkpoint, model, out, allow)
    except ValueError as error:
        raise UniRefError(str(error)) from error
    console.output.print(str(report), highlight=False)
    console.output.print(_place_tokenizer(out, report.text_encoder), highlight=False)


def _place_tokenizer(weights: Path, text_encoder: str) -> str:
    """Put the tokenizer that prompts need beside the weights, if the package has it; what to tell people."""
    from ..runtime.files import find_model

    path = weights.with_name("tokenizer.json")
    if path.exists():
        return f"prompts use the {path} that was there; it has to be {text_encoder}'s"
    if text_encoder != "bert-base":
        return f"prompts need {text_encoder}'s tokenizer.json at {path}; masks and clicks work without"
    # The nano model's MiniLM has BERT's uncased vocabulary, and its tokenizer the authors' rules.
    shutil.copyfile(find_model("uniref_nano") / "tokenizer.json", path)
    return f"{path}: BERT's uncased vocabulary, for prompts"


@contextmanager
def needs_torch() -> Iterator[None]:
    """Turn a missing laboratory or PyTorch inside the body into an error that says how to get it."""
    try:
        yield
    except ImportError as error:
        raise RuntimeUnavailable(
            f"this command needs what is not installed ({error}): {INSTALL_TRAIN}"
        ) from error
