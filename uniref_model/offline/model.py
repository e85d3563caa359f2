"""Which model runs a recording."""

from __future__ import annotations

from dataclasses import dataclass

from ..runtime import Runtime, load_runtime


@dataclass(frozen=True)
class ModelChoice:
    """Arguments of `load_runtime`."""

    name: str = "uniref_nano"
    size: str | None = None
    runtime: str = "auto"
    device: str = "auto"
    threads: int | None = None
    fusion: str | None = None
    precision: str = "auto"

    def load(self, *, timed: bool = True) -> Runtime:
        """timed: see `load_runtime`. Raises UniRefError."""
        return load_runtime(
            self.name,
            self.size,
            self.runtime,
            self.threads,
            self.device,
            precision=self.precision,
            fusion=self.fusion,
            timed=timed,
        )
