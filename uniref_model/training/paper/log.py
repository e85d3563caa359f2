"""The log of a stage: TensorBoard where it is installed, one JSON object a line, and the progress bar."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

EVERY = 20
"""Iterations that a line sums up."""

_log = logging.getLogger(__name__)


class StageLog:
    """Means over EVERY iterations, for the main process of a run in `folder` that starts at `done`."""

    def __init__(self, folder: Path, total: int, done: int) -> None:
        self._path = folder / "log.jsonl"
        self._forget_after(done)
        self._sums: dict[str, list[float]] = {}
        self._board = _tensorboard(folder / "tensorboard", done)
        self._bar = tqdm(total=total, initial=done, unit="it", dynamic_ncols=True)

    def iteration(self, number: int, figures: dict[str, Tensor | float]) -> None:
        """Add the figures of iteration `number` (from 1). Terms that only some batches have are averaged over
        these."""
        for name, value in figures.items():
            self._sums.setdefault(name, []).append(float(value))
        self._bar.update(1)
        if number % EVERY == 0 or number == self._bar.total:
            means = {name: sum(values) / len(values) for name, values in self._sums.items()}
            self._sums.clear()
            self._write(number, means)

    def _forget_after(self, done: int) -> None:
        """Take back lines that a stopped run wrote after its last checkpoint."""
        if self._path.is_file():
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if json.loads(line)["iteration"] <= done]
            self._path.write_text("".join(kept), encoding="utf-8")

    def _write(self, number: int, means: dict[str, float]) -> None:
        row = {"iteration": number, **{name: float(f"{value:.6g}") for name, value in means.items()}}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._board is not None:
            for name, value in means.items():
                self._board.add_scalar(f"train/{name}", value, number)
            self._board.flush()
        self._bar.set_postfix(loss=f"{means['loss']:.3f}", iou=f"{means['iou']:.2f}")

    def close(self) -> None:
        """End the bar and the TensorBoard file."""
        self._bar.close()
        if self._board is not None:
            self._board.close()


def _tensorboard(folder: Path, done: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _log.warning("tensorboard is not installed: the curves are in log.jsonl alone")
        return None
    # points after a checkpoint that a stopped run still wrote are taken back
    return SummaryWriter(str(folder), purge_step=done + 1)
