"""The shipped model on the runtimes of a CPU, frame by frame in turn, alone and beside a busy program."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from uniref_model.errors import RuntimeUnavailable
from uniref_model.profiling.figures import percentiles
from uniref_model.runtime import ObjectReferences, Runtime, load_runtime
from uniref_model.scene import boxes

from .. import machine
from ..registry import Check, Options, Result
from ..results import COLOURS, new_figure

SIZES = {(192, 320): (0, 1), (256, 448): (0,)}
"""Sizes of the model, with how many busy programs run beside it in turn."""
SIZE = (192, 320)
"""The default one."""
OBJECTS = (1, 4)
WARM_UP = 5
RUNTIMES = {
    "ONNX Runtime": ("onnxruntime", "fp32"),
    "OpenVINO fp32": ("openvino", "fp32"),
    "OpenVINO bf16": ("openvino", "bf16"),
}
GOALS = {(SIZE, 1): 55.0, (SIZE, 4): 28.0, ((256, 448), 1): 25.0}
"""Frames a second of the fastest, by size and objects, with nothing beside it."""


class Follower:
    """One runtime with references of its own: a frame is encoded, all objects are looked for by two mask
    references each, and their new references are encoded."""

    def __init__(self, runtime: Runtime, count: int) -> None:
        self.runtime = runtime
        self.pictures, masks = boxes(count, runtime.size)
        self.masks = np.stack(masks).astype(np.float32)
        self.first = self.previous = runtime.encode_reference(
            runtime.encode_image(self.pictures[0]), self.masks
        )

    def step(self, index: int) -> float:
        """Milliseconds."""
        start = time.perf_counter()
        frame = self.runtime.encode_image(self.pictures[index % len(self.pictures)])
        pairs = zip(self.first, self.previous, strict=True)
        self.runtime.segment(frame, [ObjectReferences(None, *pair) for pair in pairs])
        self.previous = self.runtime.encode_reference(frame, self.masks)
        return 1000 * (time.perf_counter() - start)


def run(options: Options) -> Result:
    """Measure size after size; `options.only`: those of these names ("256x448"). Each row says when it was
    measured and on what."""
    frames = options.choose(3, 120, 600)
    rows: list[dict[str, Any]] = []
    facts: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    for size in _wanted(options.only):
        own: list[dict[str, Any]] = []
        with machine.Watch() as watch, ExitStack() as stack:
            loaded = {name: load(name, size, options.threads, stack, notes) for name in RUNTIMES}
            runtimes = {name: runtime for name, runtime in loaded.items() if runtime is not None}
            for busy in SIZES[size]:
                with _busy_programs(busy):
                    for count in OBJECTS:
                        own += _interleaved(runtimes, count, frames, busy)
            facts |= {f"{name} {named(size)}": runtime.describe() for name, runtime in runtimes.items()}
        now = machine.measured(watch)
        rows += [row | {"measured": now} for row in own]
    if options.earlier is not None:
        rows, facts = joined(options.earlier, rows, facts)
    return _report(rows, facts, notes, frames, options)


def _report(
    rows: list[dict[str, Any]],
    facts: dict[str, dict[str, str]],
    notes: list[str],
    frames: int,
    options: Options,
) -> Result:
    notes += machine.remarks({row["size"]: row["measured"] for row in rows})
    header = ["size", "beside", "objects", "runtime", "p50 ms", "p95", "p99", "frames/s"]
    header.append("of ONNX Runtime's time")
    table = [
        [
            row["size"],
            "a busy program" if row["busy"] else "nothing of ours",
            str(row["objects"]),
            row["runtime"],
            *(f"{row['ms'][rank]:.1f}" for rank in ("p50", "p95", "p99")),
            f"{1000 / row['ms']['p50']:.1f}",
            f"{row['part']:.2f}",
        ]
        for row in rows
    ]
    title = f"The network of uniref_nano, {options.threads} threads, frames in turn"
    return Result(
        {"rows": rows, "runtimes": facts, "frames": frames, "warm_up": WARM_UP},
        {"": _draw(rows)},
        [(title, header, table)],
        [] if options.smoke else _checks(rows),
        notes,
    )


def joined(
    earlier: dict[str, Any], rows: list[dict[str, Any]], facts: dict[str, dict[str, str]]
) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]]]:
    """Rows and facts of runtimes with those of an earlier result of sizes that were not measured again."""
    then, new = machine.measured_then(earlier), {row["size"] for row in rows}
    rows = [*rows, *({"measured": then} | row for row in earlier["data"]["rows"] if row["size"] not in new)]
    order = list(map(named, SIZES))
    return sorted(rows, key=lambda row: order.index(row["size"])), earlier["data"]["runtimes"] | facts


def _wanted(names: tuple[str, ...]) -> list[tuple[int, int]]:
    found = [size for size in SIZES if not names or named(size) in names]
    if not found:
        raise ValueError(f"no size {names[0]!r}, expected some of {', '.join(map(named, SIZES))}")
    return found


def named(size: tuple[int, int]) -> str:
    """As the commands write it: height x width."""
    return f"{size[0]}x{size[1]}"


def load(
    name: str, size: tuple[int, int], threads: int, stack: ExitStack, notes: list[str]
) -> Runtime | None:
    """One of `RUNTIMES`, prepared for `OBJECTS`; None, with a note, where it is not installed."""
    runtime, precision = RUNTIMES[name]
    try:
        loaded = stack.enter_context(
            load_runtime("uniref_nano", size, runtime, threads, "cpu", precision=precision)
        )
    except RuntimeUnavailable as error:
        notes.append(f"{name} is left out: {error}")
        return None
    loaded.prepare(OBJECTS)
    kept = {key: text for key, text in loaded.describe().items() if key.startswith("not in ")}
    notes.extend(f"{name}, {named(size)}: {key}: {text}" for key, text in kept.items())
    return loaded


@contextmanager
def _busy_programs(count: int) -> Iterator[None]:
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def _interleaved(runtimes: dict[str, Runtime], count: int, frames: int, busy: int) -> list[dict[str, Any]]:
    followers = {name: Follower(runtime, count) for name, runtime in runtimes.items()}
    times: dict[str, list[float]] = {name: [] for name in followers}
    names = list(followers)
    for index in range(WARM_UP + frames):
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            spent = followers[name].step(index)
            if index >= WARM_UP:
                times[name].append(spent)
    first = np.array(times[names[0]])
    return [
        {
            "runtime": name,
            "size": named(runtimes[name].size),
            "objects": count,
            "busy": busy,
            "ms": percentiles(spent),
            "part": float(np.median(np.array(spent) / first)),
        }
        for name, spent in times.items()
    ]


def _checks(rows: list[dict[str, Any]]) -> list[Check]:
    checks = []
    for (size, count), goal in GOALS.items():
        alone = [row for row in rows if (row["size"], row["objects"], row["busy"]) == (named(size), count, 0)]
        if not alone:  # the size was not asked for
            continue
        best = min(alone, key=lambda row: row["ms"]["p50"])
        rate = 1000 / best["ms"]["p50"]
        claim = f"{named(size)}, {count} object{'s' if count > 1 else ''}: {goal:.0f} frames/s on the fastest"
        checks.append(Check(claim, rate >= goal, f"{rate:.1f} on {best['runtime']}"))
    return checks


def _draw(rows: list[dict[str, Any]]) -> Any:
    parts = list(dict.fromkeys((row["size"], row["busy"]) for row in rows))
    figure, axes = new_figure(1, len(parts), (1.0 + 4.0 * len(parts), 3.2))
    for axis, (size, busy) in zip(np.atleast_1d(axes), parts, strict=True):
        chosen = [row for row in rows if (row["size"], row["busy"]) == (size, busy)]
        names = list(dict.fromkeys(row["runtime"] for row in chosen))
        for place, name in enumerate(names):
            own = [row for row in chosen if row["runtime"] == name]
            middle = np.array([row["ms"]["p50"] for row in own])
            error = np.array([row["ms"]["p95"] for row in own]) - middle
            across = np.arange(len(own)) + 0.27 * place
            axis.bar(across, middle, 0.25, color=COLOURS[place], label=name)
            axis.errorbar(across, middle, [0 * error, error], fmt="none", ecolor="#555555", elinewidth=0.8)
            for x, y in zip(across, middle, strict=True):
                axis.text(x, y, f" {y:.0f}", ha="center", va="bottom", fontsize=7)
        axis.set_xticks(np.arange(len(OBJECTS)) + 0.27, [f"{count} object(s)" for count in OBJECTS])
        axis.set_title(f"{size}, {'beside one busy program' if busy else 'alone'}", fontsize=9)
        axis.set_ylabel("ms a frame, p50 (to p95)", fontsize=8)
    np.atleast_1d(axes)[0].legend(fontsize=7)
    return figure
