"""`uniref bench`: what a frame costs here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from ..errors import ModelFileError, UniRefError
from . import console
from .options import Device, Model, Precision, RuntimeName, Size, Threads, parse_counts, parse_size

if TYPE_CHECKING:
    from ..runtime import Runtime


MOST_OBJECTS = 64


def register(parent: typer.Typer) -> None:
    """Add the commands to the program."""
    parent.command("bench")(bench_command)


def bench_command(
    objects: Annotated[
        str | None,
        typer.Option(
            help="Numbers of objects followed, separated by commas. 1,2,4,8 if left out, and 1 with --long."
        ),
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames measured for each.")] = 100,
    frame_size: Annotated[str, typer.Option(help="Size of the frames, height x width.")] = "480x640",
    model: Model = "uniref_nano",
    size: Size = None,
    runtime: RuntimeName = "auto",
    device: Device = "auto",
    threads: Threads = None,
    precision: Precision = "auto",
    long: Annotated[
        int, typer.Option(min=0, help="Follow for so many frames instead: flatness of latency and memory.")
    ] = 0,
    host: Annotated[
        bool,
        typer.Option(
            "--host", help="The work beside the network alone, at 480p, 720p and 1080p: it answers at once."
        ),
    ] = False,
    compare: Annotated[
        str | None,
        typer.Option(help="authors: their order of work beside ours, on the same weights, turn by turn."),
    ] = None,
    without: Annotated[
        list[str],
        typer.Option(help="Compare with ours without one saving (see --list-savings); repeatable."),
    ] = [],  # noqa: B006
    known: Annotated[
        bool,
        typer.Option(
            "--known", help="Known objects instead: 3 of 10, of 8 views each, looked for and followed."
        ),
    ] = False,
    weights: Annotated[Path | None, typer.Option(help="The model's .safetensors, if elsewhere.")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Also write the numbers here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw them here (.png or .svg).")] = None,
    list_savings: Annotated[bool, typer.Option("--list-savings", help="Say what can be undone.")] = False,
) -> None:
    """Measure latency by step, state and memory on made-up frames: coloured boxes that move."""
    from ..outputs import keep_apart, make_folder
    from ..profiling.figures import machine
    from ..runtime import load_runtime

    if list_savings:
        from ..export.undone import SAVINGS

        for name, what in SAVINGS.items():
            console.output.print(f"{name}: {what}", highlight=False)
        return
    if compare not in (None, "authors"):
        raise UniRefError(f"compare is {compare!r}, expected authors")
    shape, facts = parse_size(frame_size), machine()
    counts = _counts(objects or ("1" if long else "1,2,4,8"))
    written = [path for path in (out, plot) if path is not None]
    keep_apart(written, [weights] if weights is not None else [])
    for path in written:
        make_folder(path.parent)
    if host:
        rows = _host(model, size, counts, frames)
        facts |= {"runtime": "none", "command": " ".join(["uniref", *sys.argv[1:]])}
        _tell(facts, rows, out)
        return
    with load_runtime(model, size, runtime, threads, device, precision=precision) as loaded:
        facts |= loaded.describe() | {"frame": frame_size, "command": " ".join(["uniref", *sys.argv[1:]])}
        if compare or without:
            from ..export.undone import SAVINGS

            left = list(SAVINGS) if compare else without
            rows = _compare(loaded, counts, frames, left, weights)
        elif known:
            rows = _known(loaded, 2 * frames, long, shape)
        elif long:
            rows = _long(loaded, counts[0], long, shape, plot)
        else:
            rows = _timings(loaded, counts, frames, shape, plot)
    _tell(facts, rows, out)


def _tell(facts: dict[str, Any], rows: list[dict[str, Any]], out: Path | None) -> None:
    from ..outputs import write_whole

    caption = ", ".join(f"{name} {value}" for name, value in facts.items() if name != "command")
    console.output.print(caption, highlight=False)
    if facts["busy"]:
        console.status.print("warning: other programs were using this machine; compare ratios only")
    if out is not None:
        write_whole(out, json.dumps({"facts": facts, "rows": rows}, indent=1))


def _counts(text: str) -> tuple[int, ...]:
    counts = parse_counts(text)
    if counts[-1] > MOST_OBJECTS:
        raise UniRefError(f"objects are {text!r}, expected at most {MOST_OBJECTS}")
    return counts


def _host(model: str, size: str | None, objects: tuple[int, ...], frames: int) -> list[dict[str, Any]]:
    from ..profiling.host import FRAMES, PARTS, host_work
    from ..profiling.latency import WARM_UP
    from ..runtime import ModelSpec, find_model
    from ..runtime.files import choose_size

    spec = ModelSpec.from_file(find_model(model) / "model.json")
    chosen = choose_size(spec, size)
    with Progress(console=console.status) as bar:
        task = bar.add_task("frames", total=len(FRAMES) * len(objects) * (frames + WARM_UP))
        rows = host_work(spec, chosen, objects, frames, lambda: bar.advance(task))
    table = Table(title=f"beside a network of {chosen[0]}x{chosen[1]}, milliseconds a frame: p50")
    for name in ("frame", "objects", *PARTS, "total p95", "p99"):
        table.add_column(name, justify="right")
    for row in rows:
        parts = [f"{row['ms'][part]['p50']:.2f}" for part in PARTS]
        parts += [f"{row['ms']['total'][rank]:.2f}" for rank in ("p95", "p99")]
        table.add_row(row["frame"], str(row["objects"]), *parts)
    console.output.print(table)
    return rows


def _timings(
    runtime: Runtime, objects: tuple[int, ...], frames: int, shape: tuple[int, int], plot: Path | None
) -> list[dict[str, Any]]:
    from ..profiling import plots
    from ..profiling.latency import APART, TIMINGS, WARM_UP, run, summary

    rows = []
    with Progress(console=console.status) as bar:
        task = bar.add_task("frames", total=len(objects) * (frames + WARM_UP))
        for count in objects:
            rows.append(
                summary(runtime, count, run(runtime, count, frames, shape, lambda: bar.advance(task)))
            )
    table = Table("", title="milliseconds a frame: p50 (p95, p99)")
    for row in rows:
        table.add_column(f"{row['objects']} objects", justify="right")
    for name in (*TIMINGS, *APART):
        parts = [row["ms"][name] for row in rows]
        table.add_row(name, *(f"{p['p50']:.1f} ({p['p95']:.1f}, {p['p99']:.1f})" for p in parts))
    table.add_row("frames/s", *(f"{row['frames_per_second']:.1f}" for row in rows))
    table.add_row("network frames/s", *(f"{row['network_frames_per_second']:.1f}" for row in rows))
    table.add_row("state, kB at most", *(f"{row['state_bytes']['total_at_most'] / 1e3:.0f}" for row in rows))
    table.add_row("made for it, kB", *(f"{row['state_bytes']['made'] / 1e3:.0f}" for row in rows))
    for name in ("resident", "growth", "peak"):
        table.add_row(f"memory, MB {name}", *(f"{row['memory_mb'][name]:.1f}" for row in rows))
    console.output.print(table)
    state = rows[0]["state_bytes"]
    console.output.print(
        f"state: {state['object']} bytes an object, {state['first_frame']} a first frame (shared by the "
        f"objects anchored in it), {state['camera']} a camera; made once, with what a frame needs besides",
        highlight=False,
    )
    if plot is not None:
        plots.timings(rows, f"{runtime.spec.name} {runtime.size[0]}x{runtime.size[1]}, {runtime.name}", plot)
    return rows


def _long(
    runtime: Runtime, count: int, frames: int, shape: tuple[int, int], plot: Path | None
) -> list[dict[str, Any]]:
    from ..profiling import plots
    from ..profiling.latency import flatness, run, summary

    warm_up = min(200, frames)
    with Progress(console=console.status) as bar:
        task = bar.add_task("frames", total=frames + warm_up)
        table = run(runtime, count, frames, shape, lambda: bar.advance(task), warm_up)
    flat = flatness(table)
    part = flat["frames_at_each_end"]
    console.output.print(f"median of the last {part} of {frames} frames over the first {part}:")
    for what, unit in (("latency", "ms"), ("memory", "MB")):
        first, last = flat[f"{what}_{unit.lower()}_first"], flat[f"{what}_{unit.lower()}_last"]
        line = f"{what}: {flat[f'{what}_ratio']:.4f} ({first:.1f} to {last:.1f} {unit})"
        console.output.print(line, highlight=False)
    if plot is not None:
        plots.flatness(
            table, f"{count} objects, {runtime.spec.name} {runtime.size[0]}x{runtime.size[1]}", plot
        )
    return [summary(runtime, count, table, warm_up) | {"flatness": flat}]


def _known(runtime: Runtime, short: int, long: int, shape: tuple[int, int]) -> list[dict[str, Any]]:
    from ..profiling.known import CONTROL_EVERY, run

    frames = long or short
    with Progress(console=console.status) as bar:
        task = bar.add_task("frames", total=frames)
        found = run(runtime, frames, shape, lambda: bar.advance(task), CONTROL_EVERY if long else 1)
    title = f"{found['followed']} of {found['known']} known objects of {found['views']} views: ms a frame"
    table = Table("", "rows", "p50 (p95, p99)", title=title)
    for kind, times in found["ms"].items():
        table.add_row(
            kind, f"{found['rows'][kind]:.2f}", f"{times['p50']:.1f} ({times['p95']:.1f}, {times['p99']:.1f})"
        )
    console.output.print(table)
    flat = found["flatness"]
    memory = f"{flat['memory_mb_first']:.1f} to {flat['memory_mb_last']:.1f} MB"
    console.output.print(
        f"a view keeps {found['view_bytes'] / 1e3:.0f} kB; last over first of {frames} frames: latency "
        f"{flat['latency_ratio']:.3f}, memory {flat['memory_ratio']:.4f} ({memory})",
        highlight=False,
    )
    return [found]


def _compare(
    runtime: Runtime, objects: tuple[int, ...], frames: int, without: list[str], weights: Path | None
) -> list[dict[str, Any]]:
    from ..export.undone import undone
    from ..profiling.compare import WARM_UP, compare

    rows = []
    kinds = (False, True) if _takes_words(runtime) else (False,)
    with undone(runtime, without, weights) as other, Progress(console=console.status) as bar:
        task = bar.add_task("frames", total=len(kinds) * len(objects) * (frames + WARM_UP))
        for words in kinds:
            for count in objects:
                rows.append(compare(runtime, other, count, frames, lambda: bar.advance(task), words=words))
    table = Table(title=f"the network, ms a frame, p50; ours against without {', '.join(without)}")
    for name in ("references", "objects", "ours", "theirs", "ratio", "score difference", "mask IoU"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row["references"], str(row["objects"]),
            f"{row['ours_ms']['p50']:.1f}", f"{row['theirs_ms']['p50']:.1f}", f"{row['ratio']:.2f}",
            f"{row['worst_score_difference']:.1e}", f"{row['worst_mask_iou']:.4f}",
        )  # fmt: skip
    console.output.print(table)
    return [row | {"without": sorted(without)} for row in rows]


def _takes_words(runtime: Runtime) -> bool:
    """Asked before anything is measured, which may take long."""
    from ..profiling.compare import PROMPT

    try:
        runtime.encode_text(PROMPT)
    except ModelFileError as error:
        console.status.print(f"masks only: {error}", highlight=False)
        return False
    return True
