"""What known objects cost a frame: looked for by views in turn, and followed, beside the same by words."""

from __future__ import annotations

from typing import Any

import numpy as np

from uniref_model.profiling.known import CONTROL_EVERY
from uniref_model.profiling.known import run as measure
from uniref_model.runtime import load_runtime

from ..registry import Options, Result
from ..results import COLOURS, new_figure
from .cpu_runtimes import SIZE, named

FRAME = (480, 640)


def run(options: Options) -> Result:
    frames, control_every = options.choose((60, 1), (300, 1), (5000, CONTROL_EVERY))
    with load_runtime("uniref_nano", SIZE, threads=options.threads, device=options.device) as runtime:
        found = measure(runtime, frames, FRAME, control_every=control_every)
        facts = runtime.describe()
    table = [
        [kind, f"{found['rows'][kind]:.2f}", *(f"{times[rank]:.1f}" for rank in ("p50", "p95", "p99"))]
        for kind, times in found["ms"].items()
    ]
    flat = found["flatness"]
    things = f"{found['followed']} of {found['known']} known objects of {found['views']} views"
    notes = [
        f"{things}, frames of {named(FRAME)}.",
        f"A view keeps {found['view_bytes'] / 1e3:.0f} kB while its object is followed.",
        f"Memory of the last {flat['frames_at_each_end']} of {frames} frames over the first: "
        f"{flat['memory_ratio']:.4f}.",
        f"Runtime: {facts['runtime']}, chosen {facts['chosen']}.",
    ]
    header = ["", "rows a frame", "p50 ms", "p95", "p99"]
    title = f"A frame of the tracker with known objects, uniref_nano {named(SIZE)}"
    return Result(
        found | {"runtime": facts},
        {"": _draw(found, things)},
        [(title, header, table)],
        [],
        notes,
    )


def _draw(found: dict[str, Any], things: str) -> Any:
    figure, axis = new_figure(1, 1, (7.0, 2.4))
    kinds = list(found["ms"])
    places = np.arange(len(kinds))[::-1]
    for rank, colour in (("p99", "#cfe3ee"), ("p95", "#7fb8d6"), ("p50", COLOURS[0])):
        axis.barh(places, [found["ms"][kind][rank] for kind in kinds], color=colour, height=0.7, label=rank)
    for place, kind in zip(places, kinds, strict=True):
        text = f" {found['ms'][kind]['p50']:.1f} ms, {found['rows'][kind]:.1f} rows"
        axis.text(found["ms"][kind]["p99"], place, text, va="center", fontsize=7)
    axis.set_yticks(places, [f"by {kind}" for kind in kinds], fontsize=8)
    axis.set_xlabel(f"ms a frame, {things}", fontsize=8)
    axis.margins(x=0.25)
    axis.legend(fontsize=7)
    return figure
