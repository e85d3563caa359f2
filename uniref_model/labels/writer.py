"""A data set written as a recording is tracked."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import SourceError
from ..outputs import show, temporary_folder
from ..tracking import TrackedFrame
from ..video import SourceFrame
from .choice import FrameChoice
from .datasets import check_format, write_dataset
from .part import Part, PartWriter, coco_masks, plain
from .review import Review

REVIEW = "review.png"


@dataclass(frozen=True)
class Export:
    """A data set to be made. form: of `datasets.FORMATS`. Raises SourceError for a folder that holds
    something, and where pycocotools is missing."""

    form: str
    folder: Path
    choice: FrameChoice

    def __post_init__(self) -> None:
        check_format(self.form, self.folder)
        coco_masks()

    def open(self, source: str) -> DatasetWriter:
        """The writer of this recording, named after it. Raises SourceError."""
        return DatasetWriter(self, plain(Path(source).stem))


class DatasetWriter:
    """A `FrameWriter` whose folder takes its name when the recording is over and the data set whole; with it
    a review sheet of the most doubtful frames, whether they were chosen or not."""

    def __init__(self, export: Export, name: str) -> None:
        self._export = export
        folder = export.folder
        self._built = temporary_folder(folder)
        self._part = Part(name, self._built)
        self._writer = PartWriter(self._built, export.choice)
        self._review = Review(folder / REVIEW)

    def write(self, frame: SourceFrame, result: TrackedFrame, values: np.ndarray) -> None:
        """See `FrameWriter`."""
        self._writer.write(frame, result, values)
        self._review.write(frame, result, values)

    def close(self) -> None:
        """Make the data set. Raises SourceError, also when no frame was chosen."""
        try:
            self._writer.close()
            if not self._writer.kept:
                raise SourceError(f"no frame was chosen: there is no data set {show(self._export.folder)}")
            write_dataset(self._export.form, [self._part], self._export.folder)
            self._review.close()
        finally:
            shutil.rmtree(self._built, ignore_errors=True)
