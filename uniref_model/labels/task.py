"""One task of a job: a recording, or a slice of one, in; a folder with its results out, whole or not."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..bags.source import BagSource
from ..errors import SourceError, UniRefError
from ..known_objects import KnownObjects
from ..offline.replay import Replay
from ..offline.session import Session
from ..offline.sources import open_frames
from ..offline.wanted import Wanted, read_references
from ..offline.writers import Outputs
from ..outputs import write_whole
from ..prompts import Prompt
from ..runtime import Runtime
from ..tracking import TrackedFrame, TrackedObject, TrackState
from ..video import FrameSource, SourceFrame
from .datasets import FORMATS
from .handover import HandOver, read_handover
from .job import Task
from .part import PartWriter
from .review import Review
from .sheet import Strip
from .store import Store

RESULT, TIMING, PART = "result.json", "timing.json", "part"
MOST_INTERVALS, MOST_WARNINGS = 1000, 100
_TELL_EVERY = 0.5  # s between two notices of progress


@dataclass
class _ObjectFacts:
    id: str
    label: str
    camera: str
    frames: int = 0
    seen: int = 0
    scores: float = 0.0
    first_seen: int | None = None
    lost: list[list[int]] = field(default_factory=list)
    losing: bool = False

    def take(self, index: int, item: TrackedObject) -> None:
        self.frames += 1
        if item.box is not None:
            self.seen += 1
            self.scores += item.score
            self.first_seen = index if self.first_seen is None else self.first_seen
        was, self.losing = self.losing, item.state is TrackState.LOST
        if self.losing and was:
            self.lost[-1][1] = index
        elif self.losing and len(self.lost) < MOST_INTERVALS:
            self.lost.append([index, index])

    def plain(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "label": self.label,
            "camera": self.camera,
            "frames": self.frames,
            "seen": self.seen,
            "first_seen": self.first_seen,
            "mean_score": round(self.scores / self.seen, 4) if self.seen else None,
            "lost": self.lost,
        }


class Facts:
    """A `FrameWriter` of nothing: it counts what the summary says."""

    def __init__(self) -> None:
        self.frames = 0
        self._objects: dict[tuple[str, str], _ObjectFacts] = {}

    def write(self, frame: SourceFrame, result: TrackedFrame, values: np.ndarray) -> None:
        """See `FrameWriter`."""
        self.frames += 1
        for item in result.objects:
            key = frame.camera, item.id
            facts = self._objects.setdefault(key, _ObjectFacts(item.id, item.label, frame.camera))
            facts.take(frame.index, item)

    def close(self) -> None:
        """Nothing is open."""

    def plain(self) -> list[dict[str, Any]]:
        """Of every object: how many frames since it was asked for, in how many it was seen, and from which
        frame to which it was lost, by index; the first `MOST_INTERVALS` times."""
        return [facts.plain() for facts in self._objects.values()]


def run_task(
    task: Task, store: Store, runtime: Runtime, on_frames: Callable[[int], None] = lambda count: None
) -> dict[str, Any]:
    """Do a task and hand its folder to the store. Returns what `result.json` says. on_frames: told the number
    of frames so far, not too often. Raises UniRefError; nothing is then left of it."""
    begun = time.monotonic()
    fingerprint = task.fingerprint()  # before: of a recording that grows meanwhile the result is out of date
    with store.workplace(task.name) as folder:
        frames = open_frames(task.source, task.topics, task.selection, task.max_pixels)
        try:
            work = _Work(task, store, runtime, frames, folder)
            work.run(on_frames)
        finally:
            frames.close()
        result = {"task": task.name, "source": task.source, "fingerprint": fingerprint} | work.plain()
        write_whole(folder / TIMING, json.dumps({"seconds": round(time.monotonic() - begun, 3)}) + "\n")
        write_whole(folder / RESULT, json.dumps(result, indent=1) + "\n")
        store.publish(task.name, folder)
    return result


class _Work:
    """A session over a task's frames, with its writers."""

    def __init__(self, task: Task, store: Store, runtime: Runtime, frames: FrameSource, folder: Path) -> None:
        self._task, self._frames, self._folder = task, frames, folder
        self._warnings: deque[str] = deque(maxlen=MOST_WARNINGS)
        self._facts, self._review = Facts(), Review(folder / "review.png")
        say = self._warnings.append
        known = None if task.known is None else KnownObjects(task.known)
        self._warnings.extend(f"{name}: {fault}" for name, fault in (known.damaged if known else {}).items())
        wanted = _wanted(task, store)
        self._session = Session(runtime, task.tracker, wanted, frames.cameras, say, known)
        self._replay = None
        if task.replayed is not None:
            trackers, ids, pixels = self._session.trackers, self._session.ids, task.max_pixels
            self._replay = Replay(frames, trackers, ids, say, node=task.replayed, max_pixels=pixels)

    def run(self, on_frames: Callable[[int], None]) -> None:
        """Step all frames. Raises UniRefError."""
        try:
            self._open()
            told = time.monotonic()
            for frame in self._frames:
                if self._replay is not None and not self._replay.enabled:
                    continue
                self._session.step(frame)
                if time.monotonic() - told >= _TELL_EVERY:
                    told = time.monotonic()
                    on_frames(self._facts.frames)
        finally:
            self._session.close()
        if isinstance(self._frames, BagSource) and self._frames.first_refusal:
            left_out = self._frames.refused.total()
            self._warnings.append(f"{left_out} images could not be used; {self._frames.first_refusal}")
        if not self._facts.frames:
            timed = " in this span" if self._task.selection.is_timed else ""
            raise SourceError(f"it has no frames{timed}")

    def plain(self) -> dict[str, Any]:
        """What is known at the end, as JSON's types."""
        return {
            "frames": self._facts.frames,
            "doubtful": self._review.count,
            "objects": self._facts.plain(),
            "warnings": list(self._warnings),
        }

    def _open(self) -> None:
        task, folder = self._task, self._folder
        for writer in _outputs(task, folder).open(self._frames, {"source": task.source}):
            self._session.write_to(writer)
        for writer in (self._review, Strip(folder / "sheet.jpg"), self._facts):
            self._session.write_to(writer)
        if set(task.write) & set(FORMATS):
            self._session.write_to(PartWriter(folder / PART, task.frames))
        if task.hands_over:
            self._session.write_to(HandOver(folder / "handover"))


def _outputs(task: Task, folder: Path) -> Outputs:
    wanted = {
        "video": folder / "overlay.mp4" if "overlay" in task.write else None,
        "masks": folder / "masks" if "masks" in task.write else None,
        "json": folder / "objects.json" if "json" in task.write else None,
        "bag": folder / "bag" if "bag" in task.write else None,
    }
    return Outputs(**wanted, timed=False)


def _wanted(task: Task, store: Store) -> list[Wanted]:
    """What to follow: what the slice before hands over, and of the task's own prompts those that it does not
    cover. Raises UniRefError."""
    own = [Wanted(Prompt(words.text), label=words.label or None) for words in task.prompts]
    drawn = read_references(task.references, task.max_pixels)
    if not task.after:
        return [*own, *drawn]
    handed = read_handover(store.fetch(task.after) / "handover", task.max_pixels)
    if not handed and not own:
        raise UniRefError(f"nothing was seen in {task.after}, which was to hand over")
    known = {item.prompt.text for item in handed if item.prompt.text}
    return [*handed, *(item for item in own if item.prompt.text not in known)]
