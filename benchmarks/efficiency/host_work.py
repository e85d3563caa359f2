"""The work beside the network: the tracker on a network that answers at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from uniref_model.profiling.host import FRAMES, PARTS, host_work
from uniref_model.runtime import ModelSpec, find_model

from ..registry import Check, Options, Result
from ..results import COLOURS, new_figure

OBJECTS = (1, 2, 4, 8)
GOALS = {("480p", 1): 2.0, ("1080p", 4): 6.0}
"""Milliseconds a frame at 192x320."""


def run(options: Options) -> Result:
    spec = ModelSpec.from_file(find_model("uniref_nano") / "model.json")
    frames = options.choose(2, 60, 300)
    sizes = sorted(spec.sizes)
    rows = [
        row | {"size": f"{size[0]}x{size[1]}"}
        for size in sizes
        for row in host_work(spec, size, OBJECTS, frames)
    ]
    header = ["model size", "frame", "objects", *PARTS, "total p95", "p99"]
    table = [
        [
            row["size"],
            row["frame"],
            str(row["objects"]),
            *(f"{row['ms'][part]['p50']:.2f}" for part in PARTS),
            *(f"{row['ms']['total'][rank]:.2f}" for rank in ("p95", "p99")),
        ]
        for row in rows
    ]
    return Result(
        {"rows": rows, "frames": frames},
        {"": _draw(rows)},
        [("Work beside the network, ms a frame, p50", header, table)],
        [] if options.smoke else _checks(rows),
    )


def _checks(rows: list[dict[str, Any]]) -> list[Check]:
    checks = []
    for (frame, count), goal in GOALS.items():
        row = next(row for row in rows if (row["frame"], row["objects"]) == (frame, count))
        found = row["ms"]["total"]["p50"]
        checks.append(
            Check(f"{frame}, {count} object(s): at most {goal:.0f} ms", found <= goal, f"{found:.1f} ms")
        )
    return checks


def _draw(rows: list[dict[str, Any]]) -> Any:
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    figure, axes = new_figure(1, len(sizes), (9.0, 3.2))
    labels = [f"{frame}\n{count}" for frame in FRAMES for count in OBJECTS]
    for axis, size in zip(np.atleast_1d(axes), sizes, strict=True):
        own = [row for row in rows if row["size"] == size]
        below = np.zeros(len(own))
        for colour, part in zip(COLOURS, PARTS[:-1], strict=False):
            heights = np.array([row["ms"][part]["p50"] for row in own])
            axis.bar(np.arange(len(own)), heights, bottom=below, color=colour, label=part)
            below += heights
        axis.set_xticks(np.arange(len(own)), labels, fontsize=6)
        axis.set_title(f"model size {size}", fontsize=9)
        axis.set_ylabel("ms a frame, p50", fontsize=8)
        axis.set_xlabel("frame, objects", fontsize=8)
    np.atleast_1d(axes)[0].legend(fontsize=7)
    return figure
