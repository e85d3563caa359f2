"""What is said of a recording at the end."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from rich.table import Table

from ..runtime import Runtime
from ..tracking import TrackedFrame, TrackState

_LATENCIES = 1000
"""Newest frames from which the summary's latency is taken."""


@dataclass
class _ObjectSummary:
    label: str
    seen: int = 0
    total: int = 0
    score: float = 0.0
    first_seen: int | None = None
    state: TrackState = TrackState.SEARCHING


@dataclass
class Summary:
    """What the table at the end says."""

    several: bool = False
    """Whether there are several cameras, whose objects are told apart."""
    frames: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    objects: dict[str, _ObjectSummary] = field(default_factory=dict)

    def take(self, result: TrackedFrame, camera: str = "") -> None:
        """Count one frame."""
        self.frames += 1
        self.latencies.append(result.timings["total"])
        for item in result.objects:
            name = f"{item.id} {camera}" if self.several else item.id
            entry = self.objects.setdefault(name, _ObjectSummary(item.label))
            entry.total += 1
            entry.state = item.state
            if item.box is not None:
                entry.seen += 1
                entry.score += item.score
                entry.first_seen = result.index if entry.first_seen is None else entry.first_seen

    def table(self, runtime: Runtime) -> Table:
        """A rich table of the objects, its caption with the speed and what ran."""
        facts = runtime.describe()
        median, high = np.percentile(self.latencies or [0.0], [50, 95])
        caption = (
            f"{self.frames} frames, {median:.0f} ms a frame (95 % under {high:.0f} ms), "
            f"{facts['model']} {facts['size']} on {facts['runtime']}"
        )
        table = Table(caption=caption)
        for name in ("id", "object", "state at the end", "seen in", "first seen", "mean score"):
            table.add_column(name)
        for name, entry in self.objects.items():
            table.add_row(
                name,
                entry.label,
                entry.state.value,
                f"{entry.seen} of {entry.total}",
                "never" if entry.first_seen is None else f"frame {entry.first_seen}",
                f"{entry.score / entry.seen:.2f}" if entry.seen else "",
            )
        return table
