"""The authors' order of work beside ours, on the same weights and the same runtime: time and arithmetic by
graph, and what of either side nothing can save.

Theirs are graphs as their code works: references kept unprojected, attention for every object apart, every
query's mask; the backbone once for the references to come and once more for each object, objects one after
another, a prompt encoded whenever it is needed (`uniref_model/export/undone.py`). Both answer alike, or the
comparison stops.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from uniref_model.export.undone import SAVINGS, Undone, export_again
from uniref_model.profiling.compare import WARM_UP, compare
from uniref_model.runtime import contract, find_model
from uniref_model.runtime.files import graph_file
from uniref_model.runtime.graph_runtime import GraphRuntime
from uniref_model.runtime.onnx import load_onnx
from uniref_model.runtime.openvino import load_openvino

from ..registry import Options, Result
from ..results import COLOURS, new_figure
from .cpu_runtimes import OBJECTS, SIZE, load, named
from .network_work import BETWEEN, best_rate, multiply_adds

RUNTIMES = ("ONNX Runtime", "OpenVINO fp32")
KINDS = {"masks": False, "words and masks": True}
STAGES = {
    contract.ENCODE_IMAGE: "encode image",
    contract.ENCODE_TEXT: "encode text",
    contract.ATTEND[2]: "attend",
    contract.SEGMENT_SHARED: "segment",
    contract.SEGMENT: "segment",
    contract.ENCODE_REFERENCE: "encode reference",
}
"""What a graph is called where both sides stand beside each other."""

SIDES = ("ours", "theirs")


@dataclass
class Stopwatch:
    """What each graph of a runtime takes in every frame, in milliseconds, and how often it runs."""

    now: dict[str, list[float]] = field(default_factory=dict)
    frames: list[dict[str, list[float]]] = field(default_factory=list)

    def watch(self, runtime: GraphRuntime) -> None:
        """From now on."""
        bound, watched = runtime.bound, {}

        def timed(graph: str, bucket: int) -> Any:
            if (graph, bucket) not in watched:
                watched[graph, bucket] = _Timed(bound(graph, bucket), graph, self)
            return watched[graph, bucket]

        runtime.bound = timed  # type: ignore[method-assign]

    def end_frame(self) -> None:
        self.frames.append(self.now)
        self.now = {}

    def medians(self, skipped: int) -> dict[str, tuple[float, int]]:
        """Of each graph: milliseconds a frame and runs a frame; the first `skipped` frames do not count."""
        frames = self.frames[skipped:]
        names = dict.fromkeys(name for frame in frames for name in frame)
        return {
            name: (
                float(np.median([sum(frame.get(name, ())) for frame in frames])),
                round(float(np.median([len(frame.get(name, ())) for frame in frames]))),
            )
            for name in names
        }


class _Timed:
    """A bound graph whose runs are timed."""

    def __init__(self, inner: Any, graph: str, stopwatch: Stopwatch) -> None:
        self._inner, self._graph, self._stopwatch = inner, graph, stopwatch
        self.inputs, self.memory = inner.inputs, inner.memory

    def run(self, shared: Mapping[str, Any]) -> Mapping[str, Any]:
        start = perf_counter()
        outputs = self._inner.run(shared)
        spent = 1000 * (perf_counter() - start)
        self._stopwatch.now.setdefault(self._graph, []).append(spent)
        return outputs


def run(options: Options) -> Result:
    frames = options.choose(2, 30, 200)
    notes: list[str] = []
    ratios: list[dict[str, Any]] = []
    stages: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        shipped, folder = find_model("uniref_nano"), Path(scratch) / "authors"
        folder.mkdir()
        export_again(shipped, folder, SIZE, SAVINGS)
        folders = dict(zip(SIDES, (shipped, folder), strict=True))
        for name in RUNTIMES:
            with ExitStack() as stack:
                ours = load(name, SIZE, options.threads, stack, notes)
                if not isinstance(ours, GraphRuntime):
                    continue
                theirs = stack.enter_context(_load_theirs(name, folder, options.threads, Path(scratch)))
                theirs.prepare()
                if (replaced := theirs.describe().get("replaced by onnxruntime", "nothing")) != "nothing":
                    notes.append(f"{name}, theirs: ONNX Runtime runs {replaced}")
                watches = {side: Stopwatch() for side in SIDES}
                for side, runtime in zip(SIDES, (ours, theirs), strict=True):
                    watches[side].watch(runtime)
                rate = best_rate(name, options.threads, options.choose(1, 12, 60))
                for kind, words in KINDS.items():
                    for count in OBJECTS:
                        case = {"runtime": name, "references": kind, "objects": count}
                        found = _compared(ours, theirs, watches, count, frames, words)
                        parts = [
                            case | row
                            for side in SIDES
                            for row in _stages(side, watches[side], found, folders[side], count, rate)
                        ]
                        stages += parts
                        ratios.append(case | found | {"gflop_per_s": rate} | _floors(parts))
    return Result(
        {"ratios": ratios, "stages": stages, "frames": frames, "warm_up": WARM_UP},
        {"": _draw(stages, ratios)},
        [_ratios_table(ratios), _stages_table(stages)],
        [],
        notes,
    )


def _load_theirs(name: str, folder: Path, threads: int, scratch: Path) -> GraphRuntime:
    """Their graphs on one of `RUNTIMES`, one object at a time."""
    options: dict[str, Any] = {"size": SIZE, "threads": threads, "device": "cpu", "buckets": (1,)}
    if name == "ONNX Runtime":
        return load_onnx(folder, attention="batched", **options)
    cache = scratch / "engines"
    return load_openvino(folder, attention="batched", precision="fp32", cache=cache, **options)


def _compared(
    ours: GraphRuntime,
    theirs: GraphRuntime,
    watches: Mapping[str, Stopwatch],
    count: int,
    frames: int,
    words: bool,
) -> dict[str, Any]:
    """As of `compare`; the stopwatches are set to its frames."""

    def end_frame() -> None:
        for watch in watches.values():
            watch.end_frame()

    for watch in watches.values():
        watch.frames.clear()
        watch.now = {}
    found = compare(ours, Undone(theirs, SAVINGS), count, frames, end_frame, words=words)
    del found["references"]
    return found


def _stages(
    side: str, watch: Stopwatch, found: dict[str, Any], folder: Path, count: int, rate: float
) -> list[dict[str, Any]]:
    """A row for each graph that a frame runs, and one for what lies between them."""
    rows = []
    for graph, (spent, runs) in watch.medians(WARM_UP).items():
        objects = count if side == "ours" else 1
        mflop = 2e-6 * runs * multiply_adds(folder / graph_file(graph, SIZE), objects)
        row = {"side": side, "stage": STAGES[graph], "runs": runs, "ms": spent}
        rows.append(row | {"mflop": mflop, "unavoidable_ms": mflop / rate})
    rest = max(found[f"{side}_ms"]["p50"] - sum(row["ms"] for row in rows), 0.0)
    rows.append({"side": side, "stage": BETWEEN, "runs": 0, "ms": rest, "mflop": 0.0, "unavoidable_ms": 0.0})
    return rows


def _floors(parts: list[dict[str, Any]]) -> dict[str, float]:
    """Arithmetic of a frame on both sides."""
    own = {side: [row for row in parts if row["side"] == side] for side in SIDES}
    return {
        f"{side}_{what}": sum(row[what] for row in rows)
        for side, rows in own.items()
        for what in ("mflop", "unavoidable_ms")
    }


def _ratios_table(ratios: list[dict[str, Any]]) -> tuple[str, list[str], list[list[str]]]:
    header = ["references", "objects", "runtime", "ours ms", "theirs ms", "ratio", "of arithmetic alone"]
    header += ["ours at the best rate, ms", "ratio if ours reached it"]
    body = [
        [
            row["references"],
            str(row["objects"]),
            row["runtime"],
            f"{row['ours_ms']['p50']:.1f}",
            f"{row['theirs_ms']['p50']:.1f}",
            f"{row['ratio']:.2f}",
            f"{row['theirs_mflop'] / row['ours_mflop']:.2f}",
            f"{row['ours_unavoidable_ms']:.1f}",
            f"{row['theirs_ms']['p50'] / row['ours_unavoidable_ms']:.1f}",
        ]
        for row in ratios
    ]
    return f"The authors' order of work beside ours, uniref_nano {named(SIZE)}, p50", header, body


def _stages_table(stages: list[dict[str, Any]]) -> tuple[str, list[str], list[list[str]]]:
    header = ["references", "objects", "runtime", "stage"]
    header += [f"{side}: {what}" for side in SIDES for what in ("runs", "MFLOP", "ms", "floor ms")]
    keys = ("references", "objects", "runtime", "stage")
    found = {(*(row[key] for key in keys), row["side"]): row for row in stages}
    body = []
    order = [*dict.fromkeys(STAGES.values()), BETWEEN]
    cases = dict.fromkeys(key[:3] for key in found)
    places = [(*case, stage) for case in cases for stage in order]
    for place in [place for place in places if any((*place, side) in found for side in SIDES)]:
        cells = []
        for side in SIDES:
            row = found.get((*place, side))
            cells += [""] * 4 if row is None else _cells(row)
        body.append([str(part) for part in place] + cells)
    return "The same by stage, medians", header, body


def _cells(row: dict[str, Any]) -> list[str]:
    runs = str(row["runs"] or "")
    return [runs, f"{row['mflop']:.0f}", f"{row['ms']:.2f}", f"{row['unavoidable_ms']:.2f}"]


def _draw(stages: list[dict[str, Any]], ratios: list[dict[str, Any]]) -> Any:
    figure, axes = new_figure(len(KINDS), len(OBJECTS), (10.0, 5.4))
    names = [*dict.fromkeys(STAGES.values()), BETWEEN]
    colours = dict(zip(names, COLOURS, strict=False))
    for axis, (kind, count) in zip(axes.flat, ((k, n) for k in KINDS for n in OBJECTS), strict=True):
        own = [row for row in ratios if (row["references"], row["objects"]) == (kind, count)]
        bars = [(row, side) for row in own for side in SIDES]
        for place, (case, side) in enumerate(bars):
            left = 0.0
            parts = [
                row
                for row in stages
                if all(row[key] == case[key] for key in ("runtime", "references", "objects"))
                and row["side"] == side
            ]
            for part in parts:
                axis.barh(-place, part["ms"], 0.55, left, color=colours[part["stage"]])
                left += part["ms"]
            axis.barh(-place - 0.36, case[f"{side}_unavoidable_ms"], 0.12, color="#555555")
            ratio = f"  {case['ratio']:.2f}x" if side == "theirs" else ""
            axis.text(left, -place, f" {left:.0f} ms{ratio}", va="center", fontsize=7)
        axis.set_yticks([-place for place in range(len(bars))], [f"{c['runtime']}, {s}" for c, s in bars])
        axis.tick_params(labelsize=7)
        axis.set_title(f"{kind}, {count} object(s)", fontsize=9)
        axis.set_xlabel("ms a frame; thin: its arithmetic at the library's best rate", fontsize=7)
        axis.margins(x=0.25)
    handles = [axes.flat[0].barh(0, 0, color=colours[name], label=name) for name in names]
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize=7)
    return figure
