"""Contact sheets: what was found, missed and invented, frame by frame, failures framed in red."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..pictures import write_png
from .clips import Reference
from .metrics import Score

TILE_WIDTH = 240
COLUMNS = 6
FAILED_BELOW = 0.5
"""J under which a tile is framed as a failure."""

FOUND, INVENTED, MISSED = (60, 200, 60), (230, 60, 60), (60, 120, 255)
"""RGB of true positives, false positives, false negatives."""


class ContactSheet:
    """Collects scored frames of one run and writes them as one picture."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._tiles: list[np.ndarray] = []
        self.failures = 0

    def add(
        self, name: str, image: np.ndarray, predicted: np.ndarray, truth: np.ndarray, score: Score
    ) -> None:
        """Add a frame: uint8 RGB [h,w,3], bool [h,w] masks, and its score."""
        height = max(1, round(image.shape[0] * TILE_WIDTH / image.shape[1]))
        tile = cv2.resize(image, (TILE_WIDTH, height), interpolation=cv2.INTER_AREA)
        p, t = (
            cv2.resize(mask.astype(np.uint8), (TILE_WIDTH, height), interpolation=cv2.INTER_NEAREST) > 0
            for mask in (predicted, truth)
        )
        for small, colour in ((p & t, FOUND), (p & ~t, INVENTED), (t & ~p, MISSED)):
            tile[small] = (0.5 * tile[small] + 0.5 * np.array(colour)).astype(np.uint8)
        failed = score.j < FAILED_BELOW
        self.failures += failed
        if failed:
            cv2.rectangle(tile, (1, 1), (TILE_WIDTH - 2, height - 2), INVENTED, 3)
        _write(tile, f"{name}  J {score.j:.2f} F {score.f:.2f}", (5, 14))
        self._tiles.append(tile)

    @property
    def count(self) -> int:
        """Tiles so far."""
        return len(self._tiles)

    def image(self) -> np.ndarray:
        """The sheet so far, uint8 RGB. Raises ValueError when it is empty."""
        if not self._tiles:
            raise ValueError(f"contact sheet {self.title!r} has no frames")
        height = max(tile.shape[0] for tile in self._tiles)
        rows = -(-len(self._tiles) // COLUMNS)
        sheet = np.full((24 + rows * height, COLUMNS * TILE_WIDTH, 3), 24, np.uint8)
        text = f"{self.title}: {self.failures} of {len(self._tiles)} frames under J {FAILED_BELOW}"
        _write(sheet, f"{text}   (green found, red invented, blue missed)", (5, 16))
        for i, tile in enumerate(self._tiles):
            y, x = 24 + i // COLUMNS * height, i % COLUMNS * TILE_WIDTH
            sheet[y : y + tile.shape[0], x : x + TILE_WIDTH] = tile
        return sheet

    def save(self, path: Path) -> None:
        """Write the sheet as a PNG, making its folder. Raises SourceError when it cannot be written."""
        write_png(path, cv2.cvtColor(self.image(), cv2.COLOR_RGB2BGR))


class SheetWriter:
    """One contact sheet for each run of a clip, written as <clip>-<run>.png. `add` fits `evaluate_clip`'s
    on_scored."""

    def __init__(self, folder: Path, clip: str) -> None:
        self._folder, self._clip = folder, clip
        self._sheets: dict[str, ContactSheet] = {}

    def add(
        self,
        reference: Reference,
        stem: str,
        image: np.ndarray,
        predicted: np.ndarray,
        labels: np.ndarray,
        score: Score,
    ) -> None:
        """Add one scored frame to its run's sheet."""
        title = f"{self._clip}, {reference.kind}" + (
            f' "{reference.expression}"' if reference.expression else ""
        )
        sheet = self._sheets.setdefault(reference.title, ContactSheet(title))
        sheet.add(stem, image, predicted, labels == reference.object.id, score)

    def save(self) -> list[Path]:
        """Write all sheets; returns their paths."""
        paths = [self._folder / f"{self._clip}-{title}.png" for title in self._sheets]
        for path, sheet in zip(paths, self._sheets.values(), strict=True):
            sheet.save(path)
        return paths


def _write(image: np.ndarray, text: str, at: tuple[int, int]) -> None:
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, thickness, cv2.LINE_AA)
