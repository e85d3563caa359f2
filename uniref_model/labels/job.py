"""A job: which recordings to label with what, from YAML; and the tasks it is made of."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import SourceError, UniRefError
from ..limits import MAX_PIXELS, quoted
from ..offline.model import ModelChoice
from ..offline.sources import open_frames
from ..offline.wanted import References
from ..outputs import show
from ..pictures import natural
from ..settings import build, read_settings
from ..tracking import TrackerConfig
from ..video import Selection
from .choice import FrameChoice
from .datasets import FORMATS
from .part import plain

WRITES = ("masks", "overlay", "json", "bag", *FORMATS)
"""What a job may write of each recording, and, of all together, as data sets."""

MOST_TASKS = 1_000_000


@dataclass(frozen=True)
class Words:
    """An object to look for by words. label: its class; "" for the words."""

    text: str
    label: str = ""


@dataclass(frozen=True)
class SourceSettings:
    """Recordings that are asked the same. files: a path or a pattern (`**` too), relative to the job's file.

    known: a folder of known objects, which prompts may call by name (`KnownObjects`).
    prompts, mask, clicks, boxes, topics, start, end, stride: as `uniref track` has them. slice: seconds;
    longer recordings are cut into tasks of so much. hand_over: a slice begins with what the slice before it
    followed last, instead of its own prompts.
    """

    files: str
    prompts: tuple[Words, ...] = ()
    mask: str | None = None
    mask_form: str = "auto"
    clicks: tuple[str, ...] = ()
    boxes: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None
    stride: int = 1
    known: str | None = None
    replay_prompts: bool = False
    node: str = "/tracker"
    slice: float | None = None
    hand_over: bool = False


@dataclass(frozen=True)
class TrackerSettings:
    """The tracker's options that a job may set; see `TrackerConfig`."""

    references: str = "first+previous"
    mask_threshold: float | None = None
    language_threshold: float | None = None
    view_threshold: float | None = None
    contours: str = "model"
    reference_protocol: str = "streaming"


@dataclass(frozen=True)
class Job:
    """out: a folder, relative to the job's file, or an address that fsspec knows. write: of WRITES. frames:
    which become part of a data set. prompts, known: for sources that have none of their own."""

    out: str
    sources: tuple[SourceSettings, ...]
    write: tuple[str, ...] = ("json",)
    prompts: tuple[Words, ...] = ()
    known: str | None = None
    frames: FrameChoice = field(default_factory=FrameChoice)
    model: ModelChoice = field(default_factory=ModelChoice)
    tracker: TrackerSettings = field(default_factory=TrackerSettings)
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class Task:
    """One recording, or a slice of it, to label: plain values, so that any machine can do it.

    name: of its results, plain and its own in the job. source: the path. after: the task whose last frame it
    begins with, "" for none.
    """

    name: str
    source: str
    prompts: tuple[Words, ...]
    references: References
    topics: tuple[str, ...]
    selection: Selection
    known: str | None
    replayed: str | None
    write: tuple[str, ...]
    frames: FrameChoice
    model: ModelChoice
    tracker: TrackerConfig
    max_pixels: int
    after: str = ""
    hands_over: bool = False

    def fingerprint(self) -> str:
        """Of everything that its result depends on: what is asked, and the recording's size and time. A
        finished result counts as long as this is the same."""
        text = json.dumps([dataclasses.asdict(self), *self._states()], default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _states(self) -> Iterator[list[tuple[str, int, int]]]:
        given = (self.source, self.references.mask, self.known)
        return (list(_state(Path(path))) for path in given if path is not None)


def _state(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, bytes and time of a file, or of all in a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        yield file.name, status.st_size, status.st_mtime_ns


def read_job(path: Path) -> Job:
    """A job's YAML. Raises UniRefError naming the file and the setting."""
    try:
        settings = read_settings(path)
    except OSError as error:
        raise SourceError(f"cannot read {show(path)}: {error.strerror or error}") from error
    except ValueError as error:  # which names the file
        raise UniRefError(str(error)) from error
    try:
        return checked(build(Job, _with_words(settings)))
    except ValueError as error:
        raise UniRefError(f"{show(path)}: {error}") from error


def checked(job: Job) -> Job:
    """The job, when it makes sense. Raises ValueError."""
    if not job.sources:
        raise ValueError("sources is empty, expected at least one entry with files")
    for name in job.write:
        if name not in WRITES:
            raise ValueError(f"write has {quoted(name)}, expected some of {', '.join(WRITES)}")
    for index, source in enumerate(job.sources):
        where = f"sources[{index}]"
        drawn = source.mask is not None or bool(source.clicks or source.boxes)
        if not (source.prompts or job.prompts or drawn or source.replay_prompts):
            raise ValueError(f"{where} has nothing to follow: prompts, mask, clicks, boxes or replay_prompts")
        if source.slice is not None and not 1 <= source.slice < math.inf:
            raise ValueError(f"{where}.slice is {source.slice}, expected at least 1 s")
        if source.slice is not None and source.replay_prompts:
            raise ValueError(
                f"{where} has slice and replay_prompts: a slice does not know what was asked before"
            )
        if source.slice is not None and drawn and not source.hand_over:
            raise ValueError(
                f"{where}: what is drawn belongs to the first frame; slices of it need hand_over"
            )
        if source.hand_over and (source.slice is None or len(source.topics) > 1):
            raise ValueError(f"{where}.hand_over is for slices of one camera")
        try:
            Selection(source.start, source.end, source.stride)
        except SourceError as error:
            raise ValueError(f"{where}: {error}") from error
    TrackerConfig(**dataclasses.asdict(job.tracker))
    return job


def _with_words(values: dict[str, Any]) -> dict[str, Any]:
    """The settings with prompts that are plain texts written out."""
    sources = values.get("sources")
    if isinstance(sources, list):
        values = values | {"sources": [_written_out(item) for item in sources]}
    return _written_out(values)


def _written_out(values: Any) -> Any:
    prompts = values.get("prompts") if isinstance(values, dict) else None
    if not isinstance(prompts, list):
        return values
    return values | {"prompts": [{"text": item} if isinstance(item, str) else item for item in prompts]}


def plan(job: Job, folder: Path) -> list[tuple[Task, ...]]:
    """The job's units of work, in order: tasks of one unit are done one after the other, since each begins
    with the end of the one before. folder: of the job's file. Raises UniRefError for a pattern that finds
    nothing."""
    units: list[tuple[Task, ...]] = []
    names: dict[str, str] = {}
    for settings in job.sources:
        _check_known(job, settings, folder)
        for source in _find(settings.files, folder):
            name = plain(os.path.relpath(source, folder).replace(".." + os.sep, ""))
            if names.setdefault(name.lower(), str(source)) != str(source):
                name += "_" + hashlib.sha256(str(source).encode()).hexdigest()[:6]
            tasks = _tasks(job, settings, source, name, folder)
            units += [tuple(tasks)] if settings.hand_over else [(task,) for task in tasks]
            if len(units) > MOST_TASKS:
                raise UniRefError(f"more than {MOST_TASKS} tasks: make several jobs of it")
    names_of_all = [task.name for unit in units for task in unit]
    if len(set(names_of_all)) < len(names_of_all):
        again = next(name for name in names_of_all if names_of_all.count(name) > 1)
        raise UniRefError(f"the source {quoted(again)} is found by two entries of the job, expected one")
    return units


def _check_known(job: Job, settings: SourceSettings, folder: Path) -> None:
    known = settings.known or job.known
    if known is not None and not (folder / known).is_dir():
        raise SourceError(
            f"known: there is no folder {show(folder / known)}; `uniref teach --known` makes it"
        )


def _find(pattern: str, folder: Path) -> list[Path]:
    whole = os.path.join(folder, os.path.expanduser(pattern))
    if os.path.lexists(whole):
        return [Path(whole)]
    found = [Path(path) for path in glob.glob(whole, recursive=True)]
    if not found:
        raise SourceError(f"sources: nothing is found by {quoted(pattern, 200)} in {show(folder)}")
    return sorted(found, key=lambda path: (natural(path), str(path)))


def _tasks(job: Job, settings: SourceSettings, source: Path, name: str, folder: Path) -> Iterator[Task]:
    mask = None if settings.mask is None else folder / settings.mask
    whole = Task(
        name=name,
        source=str(source),
        prompts=settings.prompts or job.prompts,
        references=References((), mask, settings.mask_form, settings.clicks, settings.boxes),
        topics=settings.topics,
        selection=Selection(settings.start, settings.end, settings.stride),
        known=None if (known := settings.known or job.known) is None else str(folder / known),
        replayed="/" + settings.node.strip("/") if settings.replay_prompts else None,
        write=job.write,
        frames=job.frames,
        model=job.model,
        tracker=TrackerConfig(**dataclasses.asdict(job.tracker)),
        max_pixels=job.max_pixels,
    )
    if settings.slice is None:
        yield whole
        return
    start, end = settings.start or 0.0, settings.end
    length = _seconds(whole)
    if length is not None:
        end = length if end is None else min(end, length)
    count = 1 if end is None or end <= start else max(1, math.ceil((end - start) / settings.slice - 1e-9))
    for index in range(count):
        begin = start + index * settings.slice
        last = index == count - 1
        yield dataclasses.replace(
            whole,
            name=f"{name}.{index:03d}",
            selection=Selection(begin, settings.end if last else begin + settings.slice, settings.stride),
            after=f"{name}.{index - 1:03d}" if settings.hand_over and index else "",
            hands_over=settings.hand_over and not last,
        )


def _seconds(task: Task) -> float | None:
    """How long a recording is; None for one that cannot be opened, which the task itself will say."""
    try:
        frames = open_frames(task.source, task.topics, max_pixels=task.max_pixels)
    except UniRefError:
        return None
    try:
        return frames.seconds
    finally:
        frames.close()
