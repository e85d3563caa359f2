"""Trackers over a recording, one a camera, and the files that their frames go to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Protocol

import numpy as np

from ..errors import UniRefError
from ..known_objects import KnownObjects
from ..runtime import Runtime
from ..tracking import TrackedFrame, Tracker, TrackerConfig
from ..tracking.ids import ObjectIds
from ..video import SourceFrame
from .wanted import LabelValues, Wanted


class FrameWriter(Protocol):
    """Somewhere for frames to go."""

    def write(self, frame: SourceFrame, result: TrackedFrame, values: np.ndarray) -> None:
        """Take one frame. values: uint8 [256], from slots to values of written label images. Raises
        SourceError."""

    def close(self) -> None:
        """Finish what was written. Raises SourceError when it could not be."""


class Session:
    """What is wanted is followed from each camera's first frame on, under one id in all of them."""

    def __init__(
        self,
        runtime: Runtime,
        config: TrackerConfig,
        wanted: Sequence[Wanted],
        cameras: Iterable[str] = ("",),
        say: Callable[[str], None] = lambda text: None,
        known: KnownObjects | None = None,
    ) -> None:
        """say: told of what is not quite as asked. known: objects that may be called by
        name. Raises what adding the objects raises."""
        config = replace(config, max_objects=max(config.max_objects, len(wanted)))
        names = list(cameras)
        self.ids = ObjectIds()
        self.trackers = {name: Tracker(runtime, config, ids=self.ids, known=known) for name in names}
        self._wanted = {self.ids.claim(): item for item in wanted}
        self._values = {name: LabelValues(item.value for item in wanted) for name in names}
        self._writers: list[FrameWriter] = []
        self._begun: set[str] = set()
        self._say = say

    def write_to(self, writer: FrameWriter) -> None:
        """Hand every frame to a writer; `close` closes it."""
        self._writers.append(writer)

    def step(self, frame: SourceFrame) -> TrackedFrame:
        """Follow into the camera's next frame, and write. Raises UniRefError."""
        tracker = self.trackers[frame.camera]
        if frame.camera not in self._begun:
            self._begun.add(frame.camera)
            self._add_all(frame.camera, frame.image.shape[:2])
        result = tracker.step(frame.image)
        for note in result.notes:
            if note.level == "error" and note.object_id in self._wanted:
                raise UniRefError(note.message)
            self._say(f"{note.level}: {note.message}")
        values = self._values[frame.camera].table(result.objects)
        for writer in self._writers:
            writer.write(frame, result, values)
        return result

    def close(self) -> None:
        """Finish all files, whatever happens to one of them."""
        with ExitStack() as stack:
            for writer in self._writers:
                stack.callback(writer.close)

    def _add_all(self, camera: str, size: tuple[int, int]) -> None:
        tracker = self.trackers[camera]
        for object_id, item in self._wanted.items():
            item.prompt.check(size)
            tracker.add(item.prompt, object_id=object_id, label=item.label)
            self._values[camera].add(object_id, item.value)
