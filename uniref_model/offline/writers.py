"""Files that frames go to: a video, label images, numbers, a bag; each whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..bags.writer import BagWriter
from ..errors import SourceError
from ..outputs import keep_apart, make_folder, show, writing
from ..pictures import write_png
from ..tracking import TrackedFrame, TrackedObject
from ..tracking.overlay import draw_overlay
from ..video import FrameSource, SourceFrame, VideoWriter
from .session import FrameWriter


@dataclass(frozen=True)
class Outputs:
    """Where to write; None leaves it out. Of several cameras each has a video and a folder of masks of its
    own, named by its topic."""

    video: Path | None = None
    masks: Path | None = None
    json: Path | None = None
    bag: Path | None = None
    timed: bool = True
    """Whether the JSON says how long each frame took: else the same recording gives the same files."""

    def check(self, source: FrameSource, mask: Path | None, export: Path | None = None) -> None:
        """Refuse outputs that would destroy what is read, or each other. export: the folder of a data set
        that is made besides. Raises SourceError."""
        files = [path for path in (self.json, self.bag, export) if path is not None]
        files += self._videos(source).values()
        if self.masks is not None and source.named_by_file:
            files += _mask_files(source.paths, self.masks)
        keep_apart(files, [*source.paths, *([mask] if mask is not None else [])])

    def open(self, source: FrameSource, header: Mapping[str, Any]) -> Iterator[FrameWriter]:
        """The writers, opened one by one; the caller closes them. header: of the JSON document.
        Raises SourceError."""
        if self.bag is not None:
            yield BagFrames(self.bag)
        if self.video is not None:
            yield Videos(self._videos(source), source.fps)
        if self.masks is not None:
            yield MaskFiles(self.masks)
        if self.json is not None:
            yield JsonFrames(self.json, header, timed=self.timed)

    def _videos(self, source: FrameSource) -> dict[str, Path]:
        path = self.video
        if path is None:
            return {}
        return {
            camera: path.with_name(f"{path.stem}.{camera.replace('/', '.')}{path.suffix}") if camera else path
            for camera in source.cameras
        }


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


class Videos:
    """The pictures with the objects drawn, a video a camera."""

    def __init__(self, paths: Mapping[str, Path], fps: float | None) -> None:
        self._videos = {camera: VideoWriter(path, fps) for camera, path in paths.items()}

    def write(self, frame: SourceFrame, result: TrackedFrame, values: np.ndarray) -> None:
        self._videos[frame.camera].write(draw_overlay(frame.image, result))

    def close(self) -> None:
        _close_all([video.close for video in self._videos.values()])


class MaskFiles:
    """One 8-bit label PNG a frame, named like it."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self._folder = folder

    def write(self, frame: SourceFrame, result: TrackedFrame, values: np.ndarray) -> None:
        write_png(self._folder / frame.camera / f"{frame.name}.png", values[result.label_image])

    def close(self) -> None:
        """Nothing is open."""


class BagFrames:
    """`objects` and `label_image` as the node publishes them: pixels are slots."""

    def __init__(self, path: Path) -> None:
        self._bag = BagWriter(path)

    def write(self, frame: SourceFrame, result: TrackedFrame, values: np.ndarray) -> None:
        self._bag.write(frame, result)

    def close(self) -> None:
        self._bag.close()


class JsonFrames:
    """One JSON document, written frame by frame so that it never has to be held: {…, "frames": […]}."""

    def __init__(self, path: Path, header: Mapping[str, Any], *, timed: bool = True) -> None:
        """timed: with the milliseconds that each frame took."""
        self._timed = timed
        self._stack = ExitStack()
        self._file = self._stack.enter_context(writing(path))
        self._file.write(json.dumps(header)[:-1] + ', "frames": [')
        self._separator = "\n"

    def write(self, frame: SourceFrame, result: TrackedFrame, values: np.ndarray) -> None:
        entry = {
            "index": frame.index,
            "name": frame.name,
            **({"camera": frame.camera} if frame.camera else {}),
            **({"stamp_ns": frame.stamp} if frame.stamp is not None else {}),
            "size": [result.size[1], result.size[0]],
            **({"ms": round(result.timings["total"], 2)} if self._timed else {}),
            "objects": [object_json(item, int(values[item.slot])) for item in result.objects],
        }
        self._file.write(self._separator + json.dumps(entry))
        self._separator = ",\n"

    def close(self) -> None:
        """End the document, which then takes its name. Raises SourceError when it could not be written."""
        with self._stack:
            self._file.write("\n]}\n")


def object_json(item: TrackedObject, value: int) -> dict[str, Any]:
    """One object of one frame. value: in written label images."""
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


def _close_all(closers: Sequence[Callable[[], None]]) -> None:
    with ExitStack() as stack:
        for close in closers:
            stack.callback(close)
