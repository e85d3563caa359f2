"""`uniref bench` and `uniref build-engine`: what a frame costs here, and engines built before they are
needed."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table

from ..errors import UniRefError
from . import console

if TYPE_CHECKING:
    from ..runtime import Runtime

WARM_UP = 5
"""Frames not counted: the first ones make sessions and fill caches."""


def register(parent: typer.Typer) -> None:
    """Add the commands to the program."""
    parent.command("bench")(bench_command)
    parent.command("build-engine")(build_engine_command)


_TITLES = (
    "objects",
    "image ms",
    "segment",
    "merge",
    "reference",
    "frame",
    "95 %",
    "1/s",
    "MB",
    "+MB",
    "seen %",
)


def bench_command(
    objects: Annotated[
        list[int],
        typer.Option(min=1, max=64, help="Objects followed; repeatable. 1, 2, 4 and 8 if left out."),
    ] = [],  # noqa: B006 - typer copies defaults
    frames: Annotated[int, typer.Option(min=1, help="Frames measured for each.")] = 100,
    frame_size: Annotated[str, typer.Option(help="Size of the frames, height x width.")] = "480x640",
    model: Annotated[str, typer.Option(help="A model's name or folder.")] = "uniref_nano",
    size: Annotated[str | None, typer.Option(help="Model size, height x width.")] = None,
    runtime: Annotated[str, typer.Option(help="auto, onnxruntime, tensorrt or torch.")] = "auto",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; chosen by default.")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Also write the numbers here.")] = None,
) -> None:
    """Measure latency by stage and memory on made-up frames: coloured boxes that move."""
    from ..runtime import load_runtime
    from ..video import make_folder
    from .model import parse_size

    shape = parse_size(frame_size)
    with load_runtime(model, size, runtime, threads, device) as loaded:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        facts = loaded.describe() | {"frame": frame_size, "cpu": _cpu(), "load before": f"{load:.1f}"}
        rows = [measure(loaded, count, frames, shape) for count in objects or (1, 2, 4, 8)]
    table = Table(caption=", ".join(f"{name} {value}" for name, value in facts.items()))
    for name in _TITLES:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(f"{value:.1f}" if isinstance(value, float) else str(value) for value in row.values()))
    console.output.print(table)
    if load > 0.5 * (os.cpu_count() or 1):
        console.status.print("warning: other programs were using this machine; the numbers are too high")
    if out is not None:
        make_folder(out.parent)
        out.write_text(json.dumps({"facts": facts, "rows": rows}, indent=1), encoding="utf-8")


def measure(runtime: Runtime, count: int, frames: int, shape: tuple[int, int]) -> dict[str, Any]:
    """Median milliseconds by stage, frames a second, and memory (MB) with its growth while measuring."""
    from ..tracking import Tracker, TrackerConfig

    # Thresholds of 0: every object is seen in every frame, which is the most expensive case.
    config = TrackerConfig(max_objects=count, mask_threshold=0.0, language_threshold=0.0, recheck_every=0)
    tracker = Tracker(runtime, config)
    pictures, masks = _scene(count, shape)
    for index, mask in enumerate(masks):
        tracker.add_mask(mask, prompt=f"thing number {index}")
    timings = []
    memory = 0.0
    seen = 0
    for index in range(WARM_UP + frames):
        found = tracker.step(pictures[index % len(pictures)])
        if index == WARM_UP:
            memory = _memory()
        if index >= WARM_UP:
            timings.append(found.timings)
            seen += sum(item.box is not None for item in found.objects)
    total = np.array([timing["total"] for timing in timings])
    stages = ("encode_image", "segment", "merge", "encode_reference")
    return {
        "objects": count,
        **{f"{stage} ms": float(np.median([timing[stage] for timing in timings])) for stage in stages},
        "frame ms": float(np.median(total)),
        "95 % ms": float(np.percentile(total, 95)),
        "frames/s": float(1000 / np.median(total)),
        "memory MB": _memory(),
        "growth MB": _memory() - memory,
        "seen %": 100.0 * seen / (count * frames),
    }


def _scene(count: int, shape: tuple[int, int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Four frames of `count` coloured boxes on noise, which move to and fro, and the boxes' masks in the
    first."""
    generator = np.random.default_rng(0)
    height, width = shape
    ground = generator.integers(90, 140, (height, width, 3), np.uint8)
    colours = generator.integers(0, 256, (count, 3), np.uint8)
    step = width // count
    pictures, masks = [], []
    for shift in (0, 2, 4, 2):
        picture = ground.copy()
        for index, colour in enumerate(colours):
            left = index * step + shift
            picture[height // 4 : 3 * height // 4, left : left + max(1, 2 * step // 3)] = colour
        pictures.append(picture)
    for index in range(count):
        mask = np.zeros(shape, bool)
        mask[height // 4 : 3 * height // 4, index * step : index * step + max(1, 2 * step // 3)] = True
        masks.append(mask)
    return pictures, masks


def build_engine_command(
    model: Annotated[str, typer.Option(help="A model's name or folder.")] = "uniref_nano",
    size: Annotated[str | None, typer.Option(help="Model size, height x width.")] = None,
    objects: Annotated[
        list[int], typer.Option(help="Batch sizes: 1, 2, 4 or 8; repeatable. All if left out.")
    ] = [],  # noqa: B006
) -> None:
    """Build and check the TensorRT engines, so that tracking starts at once."""
    import logging

    from ..runtime import load_runtime

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with load_runtime(model, size, "tensorrt") as loaded:
        unknown = sorted(set(objects) - set(loaded.buckets))
        if unknown:
            raise UniRefError(
                f"no batch size {unknown[0]}, expected some of {', '.join(map(str, loaded.buckets))}"
            )
        loaded.warm_up(objects or None)
        for name, value in loaded.describe().items():
            console.output.print(f"{name}: {value}", highlight=False, markup=False)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} x{os.cpu_count()}"


def _memory() -> float:
    """Resident memory of this process in MB; its peak where /proc is missing."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
