"""What a GPU is worth: speed by stage against the roofline, the work beside the network, thousands of frames.

    python -m benchmarks run gpu --full --device cuda --out DIR      # on a GPU: under ten minutes
    python -m benchmarks run gpu --smoke --out DIR                   # on a CPU: shows that it runs, no more

One command for a machine that is lent for minutes: every part is a process of its own with a share of the
time, a part that fails or is cut off is named and keeps what it has measured, and the others run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..registry import Check, Options, Result
from ..results import COLOURS, new_figure
from .gpu_parts import PARTS, Plan

SECONDS = {
    "roof": 30,
    "nano": 60,
    "stages": 150,
    "flat_nano": 80,
    "tracked": 40,
    "flat_torch": 90,
    "tensorrt": 40,
    "exported": 90,
}
"""Each part's share: under ten minutes together."""
FLAT = 1.05
"""Highest ratio of the last frames' latency and memory to the first ones'."""
BYTES = 2
"""Of a parameter, for the floor: bfloat16."""
STAGES = ("encode_image", "segment", "encode_reference")


def run(options: Options) -> Result:
    sizes = options.choose(((192, 320),), ((192, 320),), ((192, 320), (256, 448)))
    small, nano = ("uniref_nano", (64, 128)), ("uniref_nano", (192, 320))
    r50 = "uniref_r50", (480, 864) if options.full else (128, 192)
    plan = Plan(
        options.device,
        options.threads,
        frame=options.choose((120, 160), (480, 640), (1080, 1920)),
        nano_sizes=sizes,
        networks=options.choose((small,), (nano,), (r50, nano)),
        big=options.choose(small, r50, r50),
        counts=options.choose((1,), (1, 4), (1, 4, 2, 8)),
        frames=options.choose(2, 10, 50),
        flat=options.choose(20, 200, 7000),
    )
    rows, told = [], {}
    for part in options.only or PARTS:
        found, told[part] = run_part(part, plan, SECONDS[part])
        rows += [{"part": part} | row for row in found]
    _add_floors(rows)
    return Result(
        {"plan": asdict(plan), "parts": told, "rows": rows},
        {"": _draw(rows)},
        _tables(rows, told),
        _checks(rows) if options.full else [],
        [
            "A stage's floor is the longer of its operations at the rate of a large bfloat16 product, and "
            "its parameters read once at the rate of a copy, both measured here.",
            "The weights of PyTorch's networks are random, which changes no time.",
            *([] if options.device == "cuda" else ["Run on a CPU: this shows that the parts run, no more."]),
        ],
    )


def run_part(part: str, plan: Plan, seconds: float) -> tuple[list[dict[str, Any]], str]:
    """Its rows, and what became of it, for people."""
    command = [sys.executable, "-m", "benchmarks.efficiency.gpu_parts", part, json.dumps(asdict(plan))]
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        try:
            status = subprocess.run(
                command,
                stdout=output,
                stderr=errors,
                timeout=seconds,
                cwd=Path(__file__).parents[2],
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = None
        output.seek(0)
        rows = [row for line in output if (row := _read(line)) is not None]
        errors.seek(0)
        last = ([line.strip() for line in errors if line.strip()] or ["it said nothing"])[-1]
    if status is None:
        return rows, f"cut off after {seconds:.0f} s with {len(rows)} lines"
    if status:
        return rows, f"failed with status {status} after {len(rows)} lines: {last[:300]}"
    return rows, f"done in {time.monotonic() - began:.0f} s"


def _read(line: str) -> dict[str, Any] | None:
    """A row; None for a line that is none: cut off in the middle, or said by a library."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _add_floors(rows: list[dict[str, Any]]) -> None:
    rates = {row["roof"]: row for row in rows if "roof" in row}
    if not {"bf16", "memory"} <= set(rates):
        return
    for row in rows:
        if "gflop" in row:
            computing = row["gflop"] / rates["bf16"]["tflops"]
            reading = BYTES * row["parameters"] / rates["memory"]["gb_per_s"] / 1e6
            row["floor_ms"] = max(computing, reading)


def _tables(rows: list[dict[str, Any]], told: dict[str, str]) -> list[tuple[str, list[str], list[list[str]]]]:
    timed = [row for row in rows if "ms" in row or "refused" in row]
    flat = [row for row in rows if "flat" in row]
    roof = [[row["roof"], f"{row.get('tflops', row.get('gb_per_s')):.4g}"] for row in rows if "roof" in row]
    return [
        ("Parts", ["part", "what became of it"], [[part, text] for part, text in told.items()]),
        ("Most that the device does, TFLOP/s and GB/s", ["of", "rate"], roof),
        (
            "Milliseconds",
            ["model", "size", "runtime", "objects", "stage", "p50", "p95", "p99", "floor", "of floor"],
            [_line(row) for row in timed],
        ),
        (
            "The first and the last frames",
            ["model", "runtime", "frames", "ms first", "last", "ratio", "MB first", "last", "device MB"],
            [
                [
                    row["model"],
                    row["runtime"],
                    str(row["frames"]),
                    *(f"{row['flat'][f'latency_{key}']:.4g}" for key in ("ms_first", "ms_last", "ratio")),
                    *(f"{row['flat'][f'memory_{key}']:.0f}" for key in ("mb_first", "mb_last")),
                    " to ".join("?" if mb is None else f"{mb:.0f}" for mb in row["device_mb"]),
                ]
                for row in flat
            ],
        ),
    ]


def _line(row: dict[str, Any]) -> list[str]:
    size = "x".join(map(str, row["size"]))
    start = [row["model"], size, row["runtime"], str(row.get("objects", "")), row.get("stage", "")]
    if "refused" in row:
        return [*start, row["refused"], "", "", "", ""]
    floor = row.get("floor_ms")
    over = ["", ""] if floor is None else [f"{floor:.3f}", f"{row['ms']['p50'] / floor:.1f}"]
    return [*start, *(f"{row['ms'][rank]:.3f}" for rank in ("p50", "p95", "p99")), *over]


def _checks(rows: list[dict[str, Any]]) -> list[Check]:
    return [
        Check(
            f"{row['model']} on {row['runtime']}: flat over {row['frames']} frames",
            max(row["flat"]["latency_ratio"], row["flat"]["memory_ratio"]) <= FLAT,
            f"latency {row['flat']['latency_ratio']:.3f}, memory {row['flat']['memory_ratio']:.3f}",
        )
        for row in rows
        if "flat" in row
    ]


def _name(row: dict[str, Any]) -> str:
    return f"{row['model']} {'x'.join(map(str, row['size']))}, {row['runtime']} ({row['part']})"


def _draw(rows: list[dict[str, Any]]) -> Any:
    """One object: the stages of every network and runtime, and their floors."""
    shown = (*STAGES, "host")
    timed = [row for row in rows if "ms" in row and row["objects"] == 1 and row["stage"] in shown]
    names = list(dict.fromkeys(map(_name, timed)))
    figure, axis = new_figure(1, 1, (9.0, 1.4 + 0.4 * max(1, len(names))))
    places, left = np.arange(len(names))[::-1], np.zeros(len(names))
    for stage, colour in zip(shown, COLOURS, strict=False):
        own = {_name(row): row["ms"]["p50"] for row in timed if row["stage"] == stage}
        values = np.array([own.get(name, 0.0) for name in names])
        axis.barh(places, values, left=left, color=colour, label=stage, height=0.7)
        left = left + values
    for place, name in zip(places, names, strict=True):
        floor = sum(row.get("floor_ms", 0.0) for row in timed if _name(row) == name)
        if floor:
            axis.plot([floor, floor], [place - 0.4, place + 0.4], color="#111111", linewidth=1.5)
    axis.set_yticks(places, names, fontsize=7)
    axis.set_xlabel("ms a frame, one object, p50; black: the roofline's floor")
    if names:
        axis.legend(fontsize=7)
    return figure
