"""`uniref eval`: score a model on your own clips or on a published benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, TaskID
from rich.table import Table

from ..errors import SourceError, UniRefError
from ..outputs import make_folder, show, write_whole
from . import console
from .options import MASK_REFERENCES, Device, Fusion, Model, RuntimeName, Size, Threads

app = typer.Typer(no_args_is_help=True, help="Score a model on your own clips or on a published benchmark.")

MaskReferences = Annotated[str | None, typer.Option(help=MASK_REFERENCES)]


def register(parent: typer.Typer) -> None:
    """Add `eval` and its sub-commands to the program."""
    parent.add_typer(app, name="eval")


@app.command("folder")
def folder_command(
    path: Annotated[Path, typer.Argument(help="A clip (frames/, masks/, meta.json), or a folder of clips.")],
    out: Annotated[Path, typer.Option(help="Folder for scores.json and contact sheets.")] = Path("eval"),
    video: Annotated[
        Path | None, typer.Option(help="Track this whole video; masks are named by 5-digit frame index.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(help="words, mask, click, box, words+mask; repeatable. The first four if left out."),
    ] = None,
    known: Annotated[
        Path | None, typer.Option(help="Folder of known objects, which expressions may call by name.")
    ] = None,
    model: Model = "uniref_nano",
    size: Size = None,
    runtime: RuntimeName = "auto",
    threads: Threads = None,
    device: Device = "cpu",
) -> None:
    """Score your own clips: by words, by first-frame mask, by click, by box."""
    from ..evaluation.clips import DEFAULT_REFERENCES, evaluate_clip, find_clips, list_runs, load_clip
    from ..evaluation.sheets import SheetWriter
    from ..known_objects import KnownObjects
    from ..runtime import load_runtime

    with _errors_told():
        store = None if known is None else KnownObjects.existing(known)
        make_folder(out)  # before anything is computed
        kinds = tuple(reference or DEFAULT_REFERENCES)
        folders = find_clips(path)
        total = sum(len(list_runs(load_clip(folder, video), kinds)) for folder in folders)
        results = []
        with load_runtime(model, size, runtime, threads, device) as loaded, console.progress() as progress:
            task = progress.add_task("tracking", total=total)
            for folder in folders:
                progress.update(task, description=folder.name)
                sheets = SheetWriter(out / "sheets", folder.name)
                results.append(
                    evaluate_clip(
                        loaded,
                        folder,
                        video=video,
                        references=kinds,
                        known=store,
                        on_scored=sheets.add,
                        on_run=lambda _: progress.advance(task),
                    )
                )
                sheets.save()
        _save(out / "scores.json", results)
        console.output.print(_clip_table(results))
        console.output.print(f"Scores: {out / 'scores.json'}; contact sheets: {out / 'sheets'}")


@app.command("suite")
def suite_command(
    media: Annotated[
        Path | None, typer.Option(help="Folder with the demo videos and eval/; the repository's if left out.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for suite.json and contact sheets.")] = Path("eval"),
    cache: Annotated[
        Path | None, typer.Option(help="Where fetched packages are kept; that of 'uniref data' if left out.")
    ] = None,
    model: Model = "uniref_nano",
    size: Size = None,
    runtime: RuntimeName = "auto",
    threads: Threads = None,
    device: Device = "cpu",
) -> None:
    """The model card's real pictures: demo videos, photographs (fetched), prompts for what is not there."""
    from ..runtime import load_runtime
    from .suite import find_media, pictures, show, suite

    with _errors_told():
        make_folder(out)
        folder = find_media(media)
        with load_runtime(model, size, runtime, threads, device) as loaded:
            stills = pictures(folder, cache, console.status.print)
            result = suite(loaded, folder, out, stills, console.status.print)
        _save(out / "suite.json", result)
        for table in show(result):
            console.output.print(table)
        console.output.print(f"Scores: {out / 'suite.json'}; contact sheets: {out / 'sheets'}")


@app.command("generated")
def generated_command(
    clips: Annotated[int, typer.Option(min=1, help="How many clips.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other clips.")] = 0,
    pack: Annotated[
        Path | None, typer.Option(help="Sprite pack of 'uniref data build'; drawn objects alone if left out.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Clip settings, such as config/training/data.yaml.")
    ] = None,
    contours: Annotated[str, typer.Option(help="network, colour or model.")] = "model",
    out: Annotated[Path, typer.Option(help="Folder for generated.json.")] = Path("eval"),
    model: Model = "uniref_nano",
    size: Size = None,
    runtime: RuntimeName = "auto",
    threads: Threads = None,
    device: Device = "cpu",
) -> None:
    """Held-out generated clips: overlaps, absent things, look-alikes, and the thresholds they suggest."""
    from ..runtime import load_runtime
    from .suite import generated, show_generated

    make_folder(out)
    with _errors_told(), load_runtime(model, size, runtime, threads, device) as loaded:
        result = generated(loaded, clips, seed, pack, data, contours)
    _save(out / "generated.json", result)
    console.output.print(show_generated(result))
    console.output.print(
        f"thresholds these clips suggest: mask {result['suggested']['mask']}, "
        f"language {result['suggested']['language']}"
    )


@app.command("pack")
def pack_command(
    path: Annotated[Path, typer.Argument(help="A set of pictures in the plain layout, or a folder of sets.")],
    out: Annotated[Path, typer.Option(help="Folder for pack.json and contact sheets.")] = Path("eval"),
    split: Annotated[str, typer.Option(help="Pictures of this split: val or train.")] = "val",
    limit: Annotated[int, typer.Option(min=1, help="At most so many questions a set and kind.")] = 40,
    use: Annotated[
        list[str] | None, typer.Option(help="Pictures that may be used so; repeatable. train, research-only.")
    ] = None,
    language_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="In place of the model's own; as for 'uniref track'.")
    ] = None,
    view_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="In place of the model's own; as for 'uniref track'.")
    ] = None,
    model: Model = "uniref_nano",
    size: Size = None,
    runtime: RuntimeName = "auto",
    threads: Threads = None,
    device: Device = "cpu",
) -> None:
    """Real annotated stills: by words, click, box, mask, from another scene, and what is not there."""
    from ..runtime import load_runtime
    from ..tracking import TrackerConfig
    from .pack import score_pack, show_pack

    config = TrackerConfig(language_threshold=language_threshold, view_threshold=view_threshold)
    make_folder(out)
    with (
        _errors_told(),
        load_runtime(model, size, runtime, threads, device) as loaded,
        console.progress() as progress,
    ):
        task = progress.add_task("asking", total=None)
        result = score_pack(
            loaded,
            path,
            out,
            split=split,
            limit=limit,
            uses=use or ("train", "research-only"),
            config=config,
            on_progress=_shown_in(progress, task),
            complain=console.status.print,
        )
    _save(out / "pack.json", result)
    console.output.print(show_pack(result))
    console.output.print(f"Scores: {out / 'pack.json'}; contact sheets: {out / 'sheets'}")


@app.command("fewshot")
def fewshot_command(
    root: Annotated[
        Path, typer.Argument(help="FSS-1000, or a folder like it: a folder a class, 1.jpg, 1.png, …")
    ],
    out: Annotated[Path, typer.Option(help="Folder for fewshot.json.")] = Path("eval"),
    classes: Annotated[
        Path | None, typer.Option(help="Text file of the classes to ask, one a line; all if left out.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first classes.")] = None,
    model: Model = "uniref_nano",
    size: Size = None,
    runtime: RuntimeName = "auto",
    threads: Threads = None,
    device: Device = "cpu",
) -> None:
    """One picture with a mask shows a class, and it is found in the others (one shot)."""
    from ..datasets.evaluation.fss1000 import Fss1000
    from ..evaluation.fewshot import run_fewshot
    from ..runtime import load_runtime

    with _errors_told():
        make_folder(out)
        dataset = Fss1000(root, classes)
        with load_runtime(model, size, runtime, threads, device) as loaded, console.progress() as progress:
            task = progress.add_task("asking", total=None)
            result = run_fewshot(
                loaded,
                dataset,
                limit=limit,
                on_progress=_shown_in(progress, task),
            )
        _save(out / "fewshot.json", {"limit": limit, **result})
    table = Table(
        "score", "value", title=f"{result['classes']} classes, {result['queries']} queries, one shot"
    )
    for name in ("mIoU", "FB-IoU", "right", "answered"):
        table.add_row(name, f"{100 * result[name]:.1f}")
    console.output.print(table)
    console.output.print(f"Scores: {out / 'fewshot.json'}")


@app.command("benchmark")
def benchmark_command(
    name: Annotated[
        str, typer.Argument(help="A benchmark (see `uniref eval list`) or a preset's YAML file.")
    ],
    root: Annotated[Path, typer.Argument(help="The data set's folder, in its published layout.")],
    out: Annotated[
        Path, typer.Option(help="Folder for predictions and scores; a second run continues there.")
    ],
    split: Annotated[str | None, typer.Option(help="Split; the preset's if left out.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first videos or images.")] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="tracker: this package's, over a runtime. authors: the released code's, in PyTorch."
        ),
    ] = "tracker",
    weights: Annotated[
        Path | None, typer.Option(help="With --protocol authors: a .safetensors file of `uniref convert`.")
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="With --protocol authors: tokenizer.json; beside the weights if left out."),
    ] = None,
    model: Model = "uniref_nano",
    size: Size = None,
    runtime: RuntimeName = "auto",
    threads: Threads = None,
    device: Device = "cpu",
    fusion: Fusion = None,
    references: MaskReferences = None,
) -> None:
    """Predict a published benchmark, write its submission files, and score it where its masks are
    published."""
    from ..evaluation.predictors import TrackerPredictor, load_authors_predictor
    from ..evaluation.presets import load_preset
    from ..evaluation.runner import run_benchmark
    from ..runtime import load_runtime
    from ..tracking import TrackerConfig

    with _errors_told():
        make_folder(out)
        preset = load_preset(name, split=split)
        if protocol == "tracker":
            loaded = load_runtime(model, size, runtime, threads, device, fusion=fusion)
            chosen = {} if references is None else {"references": references}
            predictor = TrackerPredictor(loaded, preset, TrackerConfig(**chosen))
        elif protocol == "authors":
            if weights is None:
                raise ValueError(
                    "--protocol authors needs --weights, a .safetensors file written by `uniref convert`"
                )
            options = {"device": device, "threads": threads, "fusion": fusion, "references": references}
            predictor = load_authors_predictor(preset, weights, tokenizer, **options)
        else:
            raise ValueError(f"protocol is {protocol!r}, expected tracker or authors")
        with console.progress() as progress:
            task = progress.add_task(preset.id, total=None)
            result = run_benchmark(
                preset,
                root,
                predictor,
                out,
                limit=limit,
                on_progress=_shown_in(progress, task),
            )
        console.output.print(_benchmark_table(result))
        if not result["scores"]:
            console.output.print(
                f"The masks of this split are not published. To submit: zip {result['submission']}"
            )
        console.output.print(f"Scores: {out / 'scores.json'}")


@app.command("known")
def known_command(
    path: Annotated[Path, typer.Argument(help="A pack or a set whose rows have groups.")],
    out: Annotated[Path, typer.Option(help="Where to write the numbers.")] = Path("eval/known.json"),
    split: Annotated[str, typer.Option(help="Of the pictures.")] = "val",
    model: Model = "uniref_nano",
    size: Size = None,
    runtime: RuntimeName = "auto",
    threads: Threads = None,
    device: Device = "cpu",
) -> None:
    """Known objects across scenes: shown in one or three pictures, looked for in another."""
    from ..datasets.plain import read_pack
    from ..evaluation.known import run_known
    from ..runtime import load_runtime

    if out.suffix.lower() != ".json":
        raise SourceError(f"cannot write {show(out)}: expected a name that ends in .json")
    with _errors_told():
        make_folder(out.parent)
        pictures = read_pack(path, split=split, complain=console.status.print)
        with load_runtime(model, size, runtime, threads, device) as loaded, console.progress() as progress:
            task = progress.add_task("pictures", total=None)
            result = run_known(
                loaded,
                pictures,
                on_progress=_shown_in(progress, task),
                complain=console.status.print,
            )
            _save(out, {"model": loaded.describe(), "split": split, "ways": result})
        table = Table("by", "right, %", "wrong, %", "another thing there: answered, %")
        for way, row in result.items():
            cells = (f"{100 * row[key]:.0f}" for key in ("right", "wrong", "answered"))
            right, wrong, answered = cells
            table.add_row(way, f"{right} ({row['asked']})", wrong, f"{answered} ({row['not there']})")
        console.output.print(table)


@app.command("list")
def list_command() -> None:
    """The benchmarks there are presets for."""
    from ..evaluation.presets import load_preset, preset_names

    table = Table("benchmark", "protocol", "split", "threshold", "short side / max")
    for preset in map(load_preset, preset_names()):
        sides = f"{preset.short_side} / {preset.max_side}"
        table.add_row(preset.id, preset.protocol, preset.split, str(preset.threshold), sides)
    console.output.print(table)


def _clip_table(results: list[dict[str, Any]]) -> Table:
    table = Table("clip", "reference", "object", "words", "J", "F", "J&F", "ms a frame")
    for result in results:
        for run in result["runs"]:
            scores = [f"{100 * run[key]:.1f}" for key in ("J", "F", "J&F")]
            words = [run["reference"], str(run["object"]), run["expression"]]
            table.add_row(result["clip"], *words, *scores, f"{run['step_ms']:.0f}")
        for kind, mean in result["means"].items():
            scores = [f"{100 * mean[key]:.1f}" for key in ("J", "F", "J&F")]
            table.add_row(result["clip"], kind, "mean", "", *scores, "", style="bold")
    return table


def _benchmark_table(result: dict[str, Any]) -> Table:
    part = f", first {result['limit']} only" if result["limit"] else ""
    table = Table("score", "value", title=f"{result['benchmark']} {result['split']}{part}")
    for key, values in (("", result["scores"]), (" (by object)", result.get("scores_by_id", {}))):
        for name, value in values.items():
            table.add_row(name + key, "not measured" if value is None else f"{100 * value:.1f}")
    return table


def _shown_in(progress: Progress, task: TaskID) -> Callable[..., None]:
    """Shows how many of how many are done, and, where that is said, what is at hand."""

    def show(done: int, total: int, title: str | None = None) -> None:
        progress.update(task, completed=done, total=total, description=title)

    return show


def _save(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=1))


@contextmanager
def _errors_told() -> Iterator[None]:
    """Values out of range become errors that the program prints in one line; bugs keep their traceback."""
    try:
        yield
    except UniRefError:
        raise
    except ValueError as error:
        raise UniRefError(str(error)) from error
