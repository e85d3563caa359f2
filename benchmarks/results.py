"""Writes what an entry measured: JSON, and each figure as PNG and SVG."""

from __future__ import annotations

import json
import math
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from .registry import Result

COLOURS = ("#0b6fa4", "#35a7d8", "#0b3c5d", "#c8553d", "#e0a458", "#7a9e4f", "#7d5ba6")
"""Ours are the blues, peers the warm ones."""

_CAPTION = 100
"""Characters of the command under a picture."""


def new_figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (9.0, 4.0)) -> tuple[Any, Any]:
    """A figure and its axes in this project's style, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns)
    for axis in figure.axes:
        axis.grid(True, color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return figure, axes


def write(name: str, result: Result, facts: dict[str, Any], folder: Path) -> list[Path]:
    """Write NAME.json, and NAME[_suffix].png and .svg for each figure. Returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "name": name,
        **facts,
        "notes": result.notes,
        "checks": [vars(check) for check in result.checks],
        "tables": [{"title": title, "header": header, "rows": rows} for title, header, rows in result.tables],
        "data": result.data,
    }
    paths = [folder / f"{name}.json"]
    paths[0].write_text(json.dumps(_plain(content), indent=1) + "\n", encoding="utf-8")
    caption = _caption(facts)
    for suffix, figure in result.figures.items():
        figure.supxlabel(caption, fontsize=6.5, color="#666666")
        stem = f"{name}_{suffix}" if suffix else name
        for ending in ("png", "svg"):
            path = folder / f"{stem}.{ending}"
            figure.savefig(path, dpi=110, metadata={"Date": None} if ending == "svg" else None)
            paths.append(path)
    return paths


def read(name: str, folder: Path) -> dict[str, Any]:
    """NAME.json as `write` wrote it."""
    content: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return content


def _caption(facts: dict[str, Any]) -> str:
    machine, run = facts["machine"], facts["run"]
    quiet = "" if run["quiet"] else " - OTHER PROGRAMS WERE RUNNING: compare ratios only"
    command = textwrap.shorten(facts["command"], _CAPTION, placeholder=" …")  # whole in the JSON
    return f"{machine.get('gpu', machine['cpu'])} x{machine['cores']} - {command}{quiet}"


def _plain(value: Any) -> Any:
    """As JSON has it: floats of five digits, no NaN, NumPy's scalars as Python's."""
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value
