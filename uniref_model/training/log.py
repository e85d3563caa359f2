"""A run's log: one JSON object a line, TensorBoard where it is installed, the progress bar, and a picture."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from uniref_model.outputs import write_whole
from uniref_model.reading import parse_json, read_bytes

EVERY = 20
"""Steps that a line sums up."""

_log = logging.getLogger(__name__)


class RunLog:
    """Means over EVERY steps of the main process, in folder/log.jsonl.

    key: what steps are called there ("step", "iteration"). total, done, unit: of the progress bar. step: the
    last step of the checkpoint that the run goes on from; what a stopped run wrote after it is taken back.
    shown: figures beside the bar.
    """

    def __init__(
        self,
        folder: Path,
        *,
        key: str,
        step: int,
        total: float,
        done: float,
        unit: str,
        shown: Sequence[str] = ("loss",),
    ) -> None:
        self.path = folder / "log.jsonl"
        self._key, self._shown = key, shown
        self._forget_after(step)
        self._sums: dict[str, list[float]] = defaultdict(list)
        self._board = _tensorboard(folder / "tensorboard", step)
        # tqdm forgets a total that is passed
        self._bar = tqdm(
            total=max(total, done),
            initial=done,
            unit=unit,
            dynamic_ncols=True,
            bar_format="{l_bar}{bar}| {n:.4g}/{total:.4g} " + unit + " {postfix}",
        )

    def step(self, number: int, done: float, figures: Mapping[str, Any], *, last: bool = False) -> None:
        """Add the figures of step `number`, from 1; terms of some steps alone are averaged over these."""
        for name, value in figures.items():
            self._sums[name].append(float(value))
        self._bar.update(done - self._bar.n)
        if number % EVERY == 0 or last:
            means = {name: sum(values) / len(values) for name, values in self._sums.items()}
            self._sums.clear()
            self.write(number, means)
            self._bar.set_postfix({name: f"{means[name]:.3g}" for name in self._shown if name in means})

    def write(self, number: int, figures: Mapping[str, float]) -> None:
        """Append one line, and a point to every curve."""
        row = {self._key: number, **{name: float(f"{value:.6g}") for name, value in figures.items()}}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name if name.startswith("val/") else f"train/{name}", value, number)
            self._board.flush()

    def _forget_after(self, step: int) -> None:
        self.path.touch()
        kept = [row for row in read_log(self.path) if row.get(self._key, math.inf) <= step]
        write_whole(self.path, "".join(json.dumps(row) + "\n" for row in kept))

    def close(self) -> None:
        """End the bar and the TensorBoard file."""
        self._bar.close()
        if self._board is not None:
            self._board.close()


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _log.warning("tensorboard is not installed: the curves are in log.jsonl alone")
        return None
    # points after a checkpoint that a stopped run still wrote are taken back
    return SummaryWriter(str(folder), purge_step=step + 1)


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of a log.jsonl; a line that was cut short, or is none, says nothing. Raises OSError,
    LimitError, SourceError."""
    rows = []
    for line in read_bytes(path, ordinary=True).decode("utf-8", "replace").splitlines():
        with contextlib.suppress(ValueError):
            row = parse_json(line)
            if isinstance(row, dict) and all(type(value) in (int, float) for value in row.values()):
                rows.append(row)
    return rows


_PANELS = {"loss": ("loss",), "IoU, training": ("iou/", "score/"), "validation": ("val/",)}
_TERMS = ("loss", "class", "l1", "giou", "mask", "dice", "dense", "proposals")


def draw(log: Path, picture: Path) -> None:
    """Draw the curves of a run on clips from its log.jsonl."""
    from matplotlib.figure import Figure

    rows = [row for row in read_log(log) if "step" in row]
    names = sorted({name for row in rows for name in row})
    figure = Figure(figsize=(16, 4.5))
    axes = figure.subplots(1, 3)
    for axis, (title, starts) in zip(axes, _PANELS.items(), strict=True):
        chosen = _TERMS if title == "loss" else [name for name in names if name.startswith(starts)]
        for name in chosen:
            points = [(row["step"], row[name]) for row in rows if name in row]
            if points:
                axis.plot(*zip(*points, strict=True), label=name.removeprefix("val/"), linewidth=1)
        axis.set(title=title, xlabel="steps")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=8)
    axes[0].set_yscale("log")
    figure.tight_layout()
    figure.savefig(picture, dpi=80)
