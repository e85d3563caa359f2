"""`uniref track`: a tracker over a video, with its pictures, masks and numbers written as they come."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..errors import CapacityError, MaskError, SourceError, UniRefError
from ..limits import MAX_PIXELS
from ..outputs import keep_apart, make_folder, show, writing
from ..pictures import read_masks, write_png
from ..prompts import Prompt
from ..runtime import Runtime, load_runtime
from ..tracking import TrackedFrame, TrackedObject, Tracker, TrackerConfig, TrackState
from ..tracking.config import MAX_LABEL
from ..tracking.overlay import draw_overlay
from ..video import FrameSource, SourceFrame, VideoWriter, open_source
from . import console

_LATENCIES = 1000
"""Newest frames from which the summary's latency is taken."""


@dataclass(frozen=True)
class References:
    """What to follow, as typed: every prompt, mask label, click and box is one object. mask_form: see
    `pictures.read_masks`."""

    prompts: tuple[str, ...] = ()
    mask: Path | None = None
    mask_form: str = "auto"
    clicks: tuple[str, ...] = ()
    boxes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outputs:
    """Where to write; None leaves it out."""

    video: Path | None = None
    masks: Path | None = None
    json: Path | None = None

    def check(self, source: FrameSource, mask: Path | None) -> None:
        """Refuse outputs that would destroy what is read, or each other. Raises SourceError."""
        files = [path for path in (self.video, self.json) if path is not None]
        if self.masks is not None and source.named_by_file:
            files += _mask_files(source.paths, self.masks)
        keep_apart(files, [*source.paths, *([mask] if mask is not None else [])])


def _mask_files(pictures: Sequence[Path], folder: Path) -> list[Path]:
    """The file of each picture's mask. Raises SourceError where two pictures would share one."""
    named: dict[str, Path] = {}
    for picture in pictures:
        other = named.setdefault(picture.stem, picture)
        if other is not picture:
            raise SourceError(
                f"{show(other.name)} and {show(picture.name)} would share the mask "
                f"{show(picture.stem)}.png: rename one"
            )
    return [folder / f"{stem}.png" for stem in named]


@dataclass(frozen=True)
class ModelChoice:
    """Arguments of `load_runtime`."""

    name: str = "uniref_nano"
    size: str | None = None
    runtime: str = "auto"
    device: str = "auto"
    threads: int | None = None
    fusion: str | None = None

    def load(self) -> Runtime:
        return load_runtime(self.name, self.size, self.runtime, self.threads, self.device, fusion=self.fusion)


def track(
    source: str,
    references: References,
    outputs: Outputs,
    model: ModelChoice,
    config: TrackerConfig,
    max_frames: int | None = None,
    quiet: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Follow the references through the source. Raises UniRefError; what was written until then is kept
    whole. max_pixels: of a frame or mask, as its file states them."""
    wanted = _read_references(references, max_pixels)
    if len(wanted) > MAX_LABEL:
        raise CapacityError(f"{len(wanted)} objects asked for, at most {MAX_LABEL} fit an 8-bit label image")
    config = replace(config, max_objects=max(config.max_objects, len(wanted)))
    frames = open_source(source, max_pixels)
    try:
        outputs.check(frames, references.mask)
        with model.load() as runtime:
            session = _Session(Tracker(runtime, config), wanted, source, outputs, frames.fps)
            try:
                _run(session, frames, max_frames, quiet)
            finally:
                session.close()
            if not quiet:
                console.output.print(session.summary.table(runtime))
    finally:
        frames.close()


def _run(session: _Session, frames: FrameSource, max_frames: int | None, quiet: bool) -> None:
    total = frames.length if max_frames is None else min(max_frames, frames.length or max_frames)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    hidden = quiet or not console.status.is_terminal
    progress = Progress(*columns, console=console.status, transient=True)
    with nullcontext() if hidden else progress:  # disabled, rich 13.0 would still end a line
        task = progress.add_task("tracking", total=total)
        try:
            for frame in frames:
                if max_frames is not None and frame.index >= max_frames:
                    break
                session.step(frame)
                progress.advance(task)
        except KeyboardInterrupt:  # the usual end of a camera: finish the files
            console.status.print("stopped")
    done = session.summary.frames
    if frames.length and max_frames is None and done < 0.9 * frames.length:
        console.status.print(f"warning: the source ended after {done} of {frames.length} announced frames")


def _read_references(references: References, max_pixels: int) -> list[_Wanted]:
    """Check everything that needs neither a frame nor a model."""
    wanted = [_Wanted(Prompt(prompt)) for prompt in references.prompts]
    if references.mask is not None:
        found = read_masks(references.mask, references.mask_form, max_pixels)
        wanted += [_Wanted(Prompt(mask=item.mask), item.label) for item in found]
    for text in references.clicks:
        wanted.append(_Wanted(Prompt(points=[tuple(_numbers(text, 2, "--click", "X,Y"))])))
    for text in references.boxes:
        wanted.append(_Wanted(Prompt(box=_numbers(text, 4, "--box", "X,Y,W,H"))))
    if not wanted:
        raise UniRefError("nothing to follow: give --prompt, --mask, --click or --box")
    return wanted


def _numbers(text: str, count: int, option: str, form: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise MaskError(f"{option} {text!r} is not {form} (numbers in pixels)")
    return numbers


@dataclass(frozen=True, eq=False)
class _Wanted:
    """One object to add. label: its value in the given label image, kept in written masks."""

    prompt: Prompt
    label: int | None = None


class _Session:
    """A tracker and the files that its frames go to."""

    def __init__(
        self, tracker: Tracker, wanted: Sequence[_Wanted], source: str, outputs: Outputs, fps: float | None
    ) -> None:
        self._tracker = tracker
        self._wanted = wanted
        self._values = np.zeros(MAX_LABEL + 1, np.uint8)
        self.summary = Summary()
        self._closers: list[Callable[[], None]] = []
        self._writers: list[Callable[[SourceFrame, TrackedFrame], None]] = []
        if outputs.video is not None:
            self._write_video(VideoWriter(outputs.video, fps))
        if outputs.masks is not None:
            make_folder(outputs.masks)
            self._masks = outputs.masks
            self._writers.append(self._write_masks)
        if outputs.json is not None:
            self._write_json(JsonFrames(outputs.json, {"source": source}))

    def step(self, frame: SourceFrame) -> None:
        if frame.index == 0:
            self._add_all(frame.image.shape[:2])
        result = self._tracker.step(frame.image)
        for note in result.notes:
            if note.level == "error":
                raise UniRefError(note.message)
            console.status.print(f"{note.level}: {note.message}")
        self.summary.take(result)
        for write in self._writers:
            write(frame, result)

    def close(self) -> None:
        """Finish all files, whatever happens to one of them."""
        with ExitStack() as stack:
            for close in self._closers:
                stack.callback(close)

    def _add_all(self, size: tuple[int, int]) -> None:
        taken = {item.label for item in self._wanted if item.label is not None}
        free = (value for value in range(1, MAX_LABEL + 1) if value not in taken)
        for item in self._wanted:
            item.prompt.check(size)
            name = self._tracker.add(item.prompt)
            slot = next(known.slot for known in self._tracker.objects if known.id == name)
            self._values[slot] = next(free) if item.label is None else item.label

    def _write_video(self, writer: VideoWriter) -> None:
        self._closers.append(writer.close)
        self._writers.append(lambda frame, result: writer.write(draw_overlay(frame.image, result)))

    def _write_masks(self, frame: SourceFrame, result: TrackedFrame) -> None:
        write_png(self._masks / f"{frame.name}.png", self._values[result.label_image])

    def _write_json(self, writer: JsonFrames) -> None:
        self._closers.append(writer.close)
        self._writers.append(lambda frame, result: writer.write(frame, result, self._values))


class JsonFrames:
    """One JSON document, written frame by frame so that it never has to be held: {…, "frames": […]}."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self._stack = ExitStack()
        self._file = self._stack.enter_context(writing(path))
        self._file.write(json.dumps(header)[:-1] + ', "frames": [')
        self._separator = "\n"

    def write(self, frame: SourceFrame, result: TrackedFrame, values: np.ndarray) -> None:
        objects = [_object_json(item, int(values[item.slot])) for item in result.objects]
        entry = {
            "index": frame.index,
            "name": frame.name,
            "size": [result.size[1], result.size[0]],
            "ms": round(result.timings["total"], 2),
            "objects": objects,
        }
        self._file.write(self._separator + json.dumps(entry))
        self._separator = ",\n"

    def close(self) -> None:
        """End the document, which then takes its name. Raises SourceError when it could not be written."""
        with self._stack:
            self._file.write("\n]}\n")


def _object_json(item: TrackedObject, value: int) -> dict[str, Any]:
    return {
        "id": item.id,
        "value": value,
        "label": item.label,
        "prompt": item.prompt,
        "state": item.state.value,
        "score": round(item.score, 4),
        "box": list(item.box) if item.box else None,
        "area": item.area,
    }


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

    frames: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    objects: dict[str, _ObjectSummary] = field(default_factory=dict)

    def take(self, result: TrackedFrame) -> None:
        self.frames += 1
        self.latencies.append(result.timings["total"])
        for item in result.objects:
            entry = self.objects.setdefault(item.id, _ObjectSummary(item.label))
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
