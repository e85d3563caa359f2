"""Pictures of what was measured; matplotlib is loaded when one is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UniRefError
from .latency import TIMINGS


def _axes(columns: int) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UniRefError("a plot needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(6 * columns, 4), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def timings(rows: list[dict[str, Any]], title: str, path: Path) -> None:
    """Median latency by step, one bar for each number of objects, with whiskers to p95."""
    figure, (axes,) = _axes(1)
    names = [str(row["objects"]) for row in rows]
    base = np.zeros(len(rows))
    for name in TIMINGS:
        heights = np.array([row["ms"][name]["p50"] for row in rows])
        axes.bar(names, heights, bottom=base, label=name)
        base += heights
    frame = [row["ms"]["frame"] for row in rows]
    axes.plot(names, [part["p95"] for part in frame], "k_", markersize=18, label="frame, p95")
    axes.set(xlabel="objects", ylabel="ms a frame (p50)", title=title)
    axes.legend()
    figure.savefig(path)


def flatness(table: dict[str, np.ndarray], title: str, path: Path) -> None:
    """Latency and resident memory over the frames: medians of a hundred stretches."""
    figure, both = _axes(2)
    length = max(1, len(table["frame"]) // 100)
    for axes, name, label in zip(both, ("frame", "memory"), ("ms a frame", "resident MB"), strict=True):
        pieces = table[name][: len(table[name]) // length * length].reshape(-1, length)
        x = np.arange(len(pieces)) * length
        axes.plot(x, np.median(pieces, 1))
        axes.set(xlabel="frame", ylabel=label, ylim=(0, None), title=title if name == "frame" else "")
    figure.savefig(path)
