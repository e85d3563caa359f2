"""`uniref export` (needs PyTorch), `renew` and `build-engine` (needs TensorRT): weights, graphs, engines."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ModelFileError, SourceError, UniRefError
from ..outputs import make_folder, move_files, temporary_folder
from . import console
from .model import needs_torch
from .options import Model, Size, parse_counts, parse_size

if TYPE_CHECKING:
    from ..network.model import UniRef

TOLERANCES = {"fp32": (1e-4, 0.999), "fp16": (5e-2, 0.98), "bf16": (2e-1, 0.9)}
"""Largest error (of an output's largest absolute value) and smallest mask IoU against PyTorch in float32."""


def register(parent: typer.Typer) -> None:
    """Add the commands to the program."""
    parent.command("export")(export_command)
    parent.command("build-engine")(build_engine_command)
    parent.command("renew")(renew)


def export_command(
    weights: Annotated[
        Path | None, typer.Argument(help="Weights (.safetensors), if --model does not say where they are.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = ...,  # type: ignore[assignment]
    model: Annotated[
        str | None,
        typer.Option(help="A .safetensors file, a shipped model's name, or (with weights) a model config's."),
    ] = None,
    size: Annotated[
        list[str],
        typer.Option(help="Height x width, such as 480x864; repeatable. The model's own if left out."),
    ] = [],  # noqa: B006
    objects: Annotated[
        str, typer.Option(help="Batch sizes that runtimes prepare, separated by commas.")
    ] = "1,2,4,8",
    precision: Annotated[
        str, typer.Option(help="Types inside the graphs for engines: fp32, fp16 or bf16.")
    ] = "fp16",
    attention: Annotated[
        list[str],
        typer.Option(
            help="Form of deformable attention in graphs for engines: grid_sample or gather; repeatable, "
            "tried in this order. Both if left out."
        ),
    ] = [],  # noqa: B006
    stored: Annotated[
        str, typer.Option(help="How weights are stored: fp16 (half the size) or fp32 (every bit kept).")
    ] = "fp16",
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="tokenizer.json of the weights' text encoder; looked for beside them if left out."),
    ] = None,
    mask_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Score threshold to note.")
    ] = None,
    language_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Score threshold to note.")
    ] = None,
    view_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Score threshold to note.")
    ] = None,
) -> None:
    """Write a model as ONNX graphs, each checked against PyTorch and against what TensorRT documents."""
    from ..runtime import ModelSpec
    from ..runtime.text import PromptTokenizer

    if stored not in ("fp16", "fp32"):
        raise UniRefError(f"weights cannot be stored as {stored!r}, expected fp16 or fp32")
    sizes = tuple(parse_size(text) for text in size)
    file, config = _source(weights, model)
    make_folder(out)  # before minutes are spent
    with needs_torch():
        from ..export.onnx import ExportOptions, export_model
        from ..network.deformable import SAMPLERS
    try:
        options = ExportOptions(
            sizes, parse_counts(objects), precision, tuple(attention) or tuple(SAMPLERS), stored == "fp16"
        )
        network = _load(file, config)
    except ValueError as error:
        raise UniRefError(str(error)) from error
    thresholds = {
        "mask": ModelSpec.mask_threshold if mask_threshold is None else mask_threshold,
        "language": ModelSpec.language_threshold if language_threshold is None else language_threshold,
        "view": ModelSpec.view_threshold if view_threshold is None else view_threshold,
    }
    beside = file.with_name("tokenizer.json")
    found = tokenizer or (beside if beside.is_file() else None)
    if found is not None:
        PromptTokenizer(found, 1)  # else it would be found out in minutes
    console.status.print("exporting; this takes minutes")
    part = temporary_folder(out)  # what is in `out` stays as it is until all is written
    try:
        checks = export_model(network, part, options, {"score_thresholds": thresholds}, found)
        move_files(part, out, "model.json")
    except ValueError as error:  # a weight that float16 cannot hold
        raise UniRefError(str(error)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    wrong = []
    for name, check in checks.items():
        error, overlap = TOLERANCES[precision if f".{precision}" in name else "fp32"]
        good = check.relative <= error and check.mask_iou >= overlap
        wrong += [] if good else [name]
        line = f"{name}: error {check.relative:.1e} of the largest value, mask IoU {check.mask_iou:.4f}"
        line += f" by {check.how}" + ("" if good else f"; allowed {error:.0e} and {overlap}")
        console.output.print(line, highlight=False)
    if not ModelSpec.from_file(out / "model.json").has_text:
        console.status.print("no text encoder in the weights (or no tokenizer.json): prompts will not work")
    if wrong:
        raise ModelFileError(f"{', '.join(wrong)} differ from PyTorch by more than is allowed (see above)")


def _source(weights: Path | None, model: str | None) -> tuple[Path, str | None]:
    """The file of weights, and the name of a config where the file need not hold one."""
    if weights is None and model is not None:
        weights, model = _weights_of(model), None
    if weights is None:
        raise SourceError("nothing to export: give a .safetensors file, or --model with a model's name")
    if not weights.is_file():
        raise SourceError(f"no such file: {weights}")
    return weights, model


def _weights_of(model: str) -> Path:
    if Path(model).suffix == ".safetensors":
        return Path(model)
    from ..runtime.files import find_model

    try:
        folder = find_model(model)
    except ModelFileError as error:
        raise SourceError(
            f"{model!r} has no weights here: give them too, as in uniref export FILE --model {model}"
        ) from error
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise SourceError(f"{folder} holds {len(files)} .safetensors files, expected one: give the file")
    return files[0]


def _load(file: Path, config_name: str | None) -> UniRef:
    """The network, with its text encoder where the file has one."""
    from ..network.config import PACKAGED_ENCODER, ModelConfig
    from ..network.loading import load_weights, read_config
    from ..network.model import UniRef
    from ..network.tensors import read_weights

    config = read_config(file) if config_name is None else ModelConfig.from_name(config_name)
    state = read_weights(file)
    with_text = config.text.encoder != PACKAGED_ENCODER and any(
        key.startswith("text_encoder.") for key in state
    )
    network = UniRef(config, with_text=with_text).eval()
    load_weights(network, state, str(file))
    return network


def build_engine_command(
    model: Model = "uniref_nano",
    size: Size = None,
    objects: Annotated[
        str | None, typer.Option(help="Batch sizes separated by commas, such as 1,2. All if left out.")
    ] = None,
) -> None:
    """Build and check the TensorRT engines, so that tracking starts at once."""
    import logging

    from ..runtime import load_runtime

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    wanted: Sequence[int] | None = None if objects is None else parse_counts(objects)
    with load_runtime(model, size, "tensorrt") as loaded:
        unknown = sorted(set(wanted or ()) - set(loaded.buckets))
        if unknown:
            raise UniRefError(
                f"no batch size {unknown[0]}, expected some of {', '.join(map(str, loaded.buckets))}"
            )
        loaded.prepare(wanted)
        for name, value in loaded.describe().items():
            console.output.print(f"{name}: {value}", highlight=False)


def renew(
    folder: Annotated[Path, typer.Argument(help="A folder with the model.json of an earlier version.")],
) -> None:
    """Bring the model.json of an exported model up to this version. The graphs stay as they are."""
    from ..runtime.files import find_model
    from ..runtime.renewal import renew as renew_folder

    path = find_model(folder) / "model.json"
    changed = renew_folder(path.parent)
    console.output.print(f"{path}: {'renewed' if changed else 'is as it has to be'}")
