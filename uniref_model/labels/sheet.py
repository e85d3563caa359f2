"""A recording at a glance: a few drawn frames, spread over all of it, in a row."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..errors import SourceError
from ..outputs import show, write_whole
from ..tracking import TrackedFrame
from ..tracking.overlay import draw_overlay
from ..video import SourceFrame

_TILES, _WIDTH, _QUALITY = 6, 240, 85


class Strip:
    """A `FrameWriter` of one JPEG. Keeps every n-th frame, small; n doubles when enough are kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: list[np.ndarray] = []
        self._stride, self._count = 1, 0

    def write(self, frame: SourceFrame, result: TrackedFrame, values: np.ndarray) -> None:
        """See `FrameWriter`."""
        if self._count % self._stride == 0:
            drawn = draw_overlay(frame.image, result)
            height = max(1, round(_WIDTH * drawn.shape[0] / drawn.shape[1]))
            self._kept.append(cv2.resize(drawn, (_WIDTH, height), interpolation=cv2.INTER_AREA))
            if len(self._kept) >= 4 * _TILES:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._count += 1

    def close(self) -> None:
        """Write the picture, if there was a frame. Raises SourceError."""
        if not self._kept:
            return
        places = np.linspace(0, len(self._kept) - 1, min(_TILES, len(self._kept)))
        tiles = [self._kept[round(place)] for place in places]
        row = np.zeros((max(tile.shape[0] for tile in tiles), len(tiles) * _WIDTH, 3), np.uint8)
        for index, tile in enumerate(tiles):
            row[: tile.shape[0], index * _WIDTH : (index + 1) * _WIDTH] = tile
        good, data = cv2.imencode(".jpg", row[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        if not good:
            raise SourceError(f"cannot write {show(self._path)}: OpenCV makes no JPEG of it")
        write_whole(self._path, data.tobytes())
