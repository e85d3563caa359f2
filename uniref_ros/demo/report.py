"""What `make demo` keeps of a run: an overlay video, a contact sheet, figures. No ROS here."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np

_SHEET_COLUMNS, _SHEET_ROWS, _TILE_WIDTH = 4, 3, 320
_MAX_REPEATS = 60  # of one picture in the video, when the stream pauses


class OverlayVideo:
    """Writes pictures to a video at a constant rate, each repeated until the next one's time, so that it
    plays in real time whatever the tracker's rate was."""

    def __init__(self, path: Path, rate: float) -> None:
        """rate: frames/s of the file."""
        self.path = path
        self._rate = rate
        self._writer: cv2.VideoWriter | None = None
        self._previous: tuple[float, np.ndarray] | None = None
        self._kept: list[np.ndarray] = []
        self._stride, self._seen = 1, 0

    def add(self, seconds: float, bgr: np.ndarray) -> None:
        """Append a picture, uint8 [h,w,3] BGR, at a time in seconds; a picture of another size is left
        out."""
        if self._previous is not None:
            before, picture = self._previous
            if bgr.shape != picture.shape:
                return
            self._write(picture, round((seconds - before) * self._rate))
        self._previous = (seconds, bgr)
        self._keep(bgr)

    def close(self) -> None:
        """Write the last picture and finish the file."""
        if self._previous is not None:
            self._write(self._previous[1], 1)
        if self._writer is not None:
            self._writer.release()

    def contact_sheet(self) -> np.ndarray | None:
        """Pictures spread evenly over the video on one page, uint8 [h,w,3] BGR; None when there were none."""
        if not self._kept:
            return None
        count = min(_SHEET_COLUMNS * _SHEET_ROWS, len(self._kept))
        chosen = [self._kept[round(index)] for index in np.linspace(0, len(self._kept) - 1, count)]
        height = round(_TILE_WIDTH * chosen[0].shape[0] / chosen[0].shape[1])
        tiles = [
            cv2.resize(picture, (_TILE_WIDTH, height), interpolation=cv2.INTER_AREA) for picture in chosen
        ]
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % _SHEET_COLUMNS)
        rows = [
            np.hstack(tiles[start : start + _SHEET_COLUMNS]) for start in range(0, len(tiles), _SHEET_COLUMNS)
        ]
        return np.vstack(rows)

    def _write(self, picture: np.ndarray, times: int) -> None:
        if self._writer is None:
            size = (picture.shape[1], picture.shape[0])
            code = cv2.VideoWriter_fourcc(*"mp4v")  # type: ignore[attr-defined]  # OpenCV 4.5's name of it
            self._writer = cv2.VideoWriter(str(self.path), code, self._rate, size)
        for _ in range(min(max(times, 1), _MAX_REPEATS)):
            self._writer.write(picture)

    def _keep(self, picture: np.ndarray) -> None:
        """Keep every n-th picture; n doubles when enough are kept, so memory stays small."""
        if self._seen % self._stride == 0:
            self._kept.append(picture)
            if len(self._kept) > 8 * _SHEET_COLUMNS * _SHEET_ROWS:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._seen += 1


@dataclass
class Figures:
    """Figures of one run. Per processed image: states, scores, age and total latency (ms)."""

    prompt: str
    states: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    dropped: int = 0
    first_tracked_after: float | None = None
    memory_start_mb: float = 0.0
    memory_end_mb: float = 0.0

    def summary(self) -> Summary:
        """The figures in short."""
        seen = [index for index, state in enumerate(self.states) if state == "tracked"]
        after = self.states[seen[0] :] if seen else []
        span = self.times[-1] - self.times[0] if len(self.times) > 1 else 0.0
        return Summary(
            prompt=self.prompt,
            images=len(self.states),
            images_per_second=round((len(self.times) - 1) / span, 2) if span > 0 else 0.0,
            tracked_share=round(after.count("tracked") / len(after), 4) if after else 0.0,
            images_before_found=seen[0] if seen else len(self.states),
            mean_score=round(float(np.mean([self.scores[i] for i in seen])), 3) if seen else 0.0,
            age_ms_p50_p95=_percentiles(self.ages),
            in_node_ms_p50_p95=_percentiles(self.totals),
            dropped=self.dropped,
            memory_mb_start_end=(round(self.memory_start_mb, 1), round(self.memory_end_mb, 1)),
            first_tracked_after_s=None
            if self.first_tracked_after is None
            else round(self.first_tracked_after, 1),
        )


@dataclass(frozen=True)
class Summary:
    """What the demo prints and writes to summary.json. tracked_share: of the images from the first tracked
    one on."""

    prompt: str
    images: int
    images_per_second: float
    tracked_share: float
    images_before_found: int
    mean_score: float
    age_ms_p50_p95: tuple[float, float]
    in_node_ms_p50_p95: tuple[float, float]
    dropped: int
    memory_mb_start_end: tuple[float, float]
    first_tracked_after_s: float | None

    @property
    def tracked(self) -> bool:
        """Whether the object was found and then tracked in most images."""
        return self.tracked_share > 0.5

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def _percentiles(values: list[float]) -> tuple[float, float]:
    if not values:
        return (0.0, 0.0)
    middle, high = np.percentile(values, (50, 95))
    return (round(float(middle), 1), round(float(high), 1))
