"""The frames that a person should look at first: on one page, the most doubtful one first."""

from __future__ import annotations

import heapq
import itertools
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..outputs import write_whole
from ..pictures import write_png
from ..tracking import TrackedFrame, TrackedObject, TrackState
from ..tracking.overlay import draw_overlay
from ..video import SourceFrame

MOST = 24
DOUBTFUL = 0.3
"""From which a frame is worth a look."""
_TILE, _COLUMNS, _LINE = 320, 4, 18
_JUMP = math.log(4)
"""Of an area from one frame to the next: four times as large, or a quarter, is as doubtful as can be."""


def doubt(item: TrackedObject, before: TrackedObject | None) -> tuple[float, str]:
    """How doubtful an object's label is, 0 to 1, and why. before: the object in the frame before.

    A score that is low; an object that has just vanished, or is found again after it was lost; an area that
    jumps.
    """
    reasons = [(1 - item.score, f"score {item.score:.2f}")] if item.box is not None else [(0.0, "")]
    if before is not None:
        if item.state is TrackState.LOST and before.state is TrackState.TRACKED:
            reasons.append((0.9, "lost here"))
        elif item.box is None and before.box is not None:
            reasons.append((0.7, "not seen"))
        if before.state is TrackState.LOST and item.box is not None:
            reasons.append((0.8, "found again"))
        if item.area and before.area:
            ratio = item.area / before.area
            reasons.append((min(1.0, abs(math.log(ratio)) / _JUMP), f"area x{ratio:.2f}"))
    return max(reasons)


class Review:
    """A `FrameWriter` of the sheet PNG and, beside it, a JSON list of its frames. Keeps `MOST` small pictures
    and no more. Nothing is written where there was nothing to doubt."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before: dict[tuple[str, str], TrackedObject] = {}
        self._worst: list[tuple[float, int, dict[str, Any], np.ndarray]] = []
        self._order = itertools.count(0, -1)  # of two that are as doubtful the earlier one stays

    def write(self, frame: SourceFrame, result: TrackedFrame, values: np.ndarray) -> None:
        """See `FrameWriter`."""
        worst, why = 0.0, ""
        for item in result.objects:
            level, reason = doubt(item, self._before.get((frame.camera, item.id)))
            if level > worst:
                worst, why = level, f"{item.label}: {reason}"
        here = {(frame.camera, item.id): item for item in result.objects}
        others = {key: item for key, item in self._before.items() if key[0] != frame.camera}
        self._before = others | here
        if worst >= DOUBTFUL and (len(self._worst) < MOST or worst > self._worst[0][0]):
            entry = {"name": frame.name, "camera": frame.camera, "doubt": round(worst, 3), "why": why}
            kept = (worst, next(self._order), entry, _tile(frame, result, entry))
            (heapq.heappush if len(self._worst) < MOST else heapq.heapreplace)(self._worst, kept)

    @property
    def count(self) -> int:
        """Frames on the sheet."""
        return len(self._worst)

    def close(self) -> None:
        """Write the sheet. Raises SourceError."""
        kept = sorted(self._worst, key=lambda item: item[:2], reverse=True)
        if not kept:
            return
        tiles = [tile for *_, tile in kept]
        height = max(tile.shape[0] for tile in tiles)
        columns = min(_COLUMNS, len(tiles))
        sheet = np.zeros((-(-len(tiles) // columns) * height, columns * _TILE, 3), np.uint8)
        for index, tile in enumerate(tiles):
            y, x = index // columns * height, index % columns * _TILE
            sheet[y : y + tile.shape[0], x : x + _TILE] = tile
        write_png(self._path, sheet[..., ::-1])
        listed = json.dumps([entry for *_, entry, _ in kept], indent=1)
        write_whole(self._path.with_suffix(".json"), listed + "\n")


def _tile(frame: SourceFrame, result: TrackedFrame, entry: dict[str, Any]) -> np.ndarray:
    drawn = draw_overlay(frame.image, result)
    height = max(1, round(_TILE * drawn.shape[0] / drawn.shape[1]))
    picture = cv2.resize(drawn, (_TILE, height), interpolation=cv2.INTER_AREA)
    caption = np.zeros((_LINE, _TILE, 3), np.uint8)
    text = f"{entry['camera']} {entry['name']}  {entry['why']}".strip()
    shown = text.encode("ascii", "replace").decode()[:46]
    cv2.putText(caption, shown, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([picture, caption])
