"""The run's log: one JSON object a line, a picture of it, and the progress bar."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from tqdm import tqdm


class RunLog:
    """Averages figures over `every` steps, appends them to log.jsonl and shows them in the bar."""

    def __init__(self, folder: Path, minutes: float, done_minutes: float, every: int = 20) -> None:
        self._path = folder / "log.jsonl"
        self._picture = folder / "log.png"
        self._every = every
        self._sums: dict[str, list[float]] = defaultdict(list)
        self._bar = tqdm(
            total=round(max(minutes, done_minutes), 2),  # tqdm forgets a total that is passed
            initial=round(done_minutes, 2),
            unit="min",
            dynamic_ncols=True,
            bar_format="{l_bar}{bar}| {n:.1f}/{total:.0f} min {postfix}",
        )

    def step(self, step: int, minutes: float, figures: dict[str, float]) -> None:
        """Add one step's figures."""
        for name, value in figures.items():
            self._sums[name].append(value)
        self._bar.update(minutes - self._bar.n)
        if step % self._every == 0:
            means = {name: sum(values) / len(values) for name, values in self._sums.items()}
            self._sums.clear()
            self.write({"step": step, "minutes": round(minutes, 3), **means})
            shown = {
                key.removeprefix("iou/"): f"{means[key]:.2f}"
                for key in ("loss", "iou/words", "iou/mask", "iou/hint", "pairs/s")
                if key in means
            }
            self._bar.set_postfix(step=step, **shown)

    def write(self, row: dict[str, float]) -> None:
        """Append one line to log.jsonl."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(
                json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}) + "\n"
            )

    def draw(self) -> None:
        """Redraw log.png from log.jsonl."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        rows = [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
        figure, axes = pyplot.subplots(1, 3, figsize=(16, 4.5))
        groups = {
            "loss": ("loss", "class", "l1", "giou", "mask", "dice", "dense", "proposals"),
            "IoU, training": ("iou/words", "iou/mask", "iou/both", "iou/hint", "score/absent", "score/gone"),
            "validation": (
                "val/iou/words",
                "val/iou/mask",
                "val/iou/both",
                "val/iou/hint",
                "val/false/absent",
                "val/false/gone",
            ),
        }
        for axis, (title, names) in zip(axes, groups.items(), strict=True):
            for name in names:
                points = [(row["minutes"], row[name]) for row in rows if name in row]
                if points:
                    axis.plot(*zip(*points, strict=True), label=name.removeprefix("val/"), linewidth=1)
            axis.set(title=title, xlabel="minutes")
            axis.grid(alpha=0.3)
            if axis.lines:
                axis.legend(fontsize=8)
        axes[0].set_yscale("log")
        figure.tight_layout()
        figure.savefig(self._picture, dpi=80)
        pyplot.close(figure)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()
