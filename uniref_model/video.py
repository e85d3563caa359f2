"""Frames in, pictures out: video files, folders, single images and cameras, all through OpenCV, all RGB.

Bags are sources too, see `bags.source`."""

from __future__ import annotations

import math
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .errors import SourceError
from .limits import MAX_PIXELS, check_pixels
from .outputs import finish, make_folder, show, temporary
from .pictures import IMAGE_SUFFIXES, list_images, read_image

DEFAULT_FPS = 25.0
"""For written videos whose source has no rate of its own (images, some cameras)."""

LOWEST_FPS, HIGHEST_FPS = 1.0, 240.0
"""A stated rate outside is not believed: browsers write 1000 frames/s into every recording."""

_PROBED = 12
"""Frames whose times are read where the stated rate is not believed."""


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """index counts a camera's frames from 0; name is the image file's stem, or the index as five digits;
    image uint8 RGB [h,w,3].

    camera: which of the source's; "" for the only one. stamp: ns, the recorded header's, or since the
    beginning where the source has a rate but no stamps; None where it has neither. frame_id: the header's.
    recorded: ns, when a bag received it.
    """

    index: int
    name: str
    image: np.ndarray
    camera: str = ""
    stamp: int | None = None
    frame_id: str = ""
    recorded: int | None = None


@dataclass(frozen=True)
class Selection:
    """Which frames of a source. start, end: seconds from its beginning, `end` excluded; None for all of it.
    stride: of every camera, the first of so many frames. Raises SourceError."""

    start: float | None = None
    end: float | None = None
    stride: int = 1

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise SourceError(f"the stride is {self.stride}, expected at least 1")
        for name, value in (("start", self.start), ("end", self.end)):
            if value is not None and not 0 <= value < math.inf:
                raise SourceError(f"the {name} is {value} s, expected 0 or more")
        if self.end is not None and self.end <= (self.start or 0.0):
            raise SourceError(f"the end, {self.end:g} s, is not after the start, {self.start or 0.0:g} s")

    @property
    def is_timed(self) -> bool:
        return self.start is not None or self.end is not None

    def indices(self, fps: float | None, what: str) -> range:
        """The frames of a source with a rate, by index. Raises SourceError for a time where it has none."""
        if not self.is_timed:
            return range(0, sys.maxsize, self.stride)
        if fps is None:
            raise SourceError(f"{what} has no rate of its own: start and end mean nothing in it")
        last = sys.maxsize if self.end is None else math.ceil(self.end * fps - _SAME_TIME)
        return range(math.ceil((self.start or 0.0) * fps - _SAME_TIME), last, self.stride)


_SAME_TIME = 1e-6
"""Frames by which a time may miss a frame and still mean it: 1.2 s at 25 frames/s is 30.000000000000004."""


_ALL = Selection()


class FrameSource(ABC):
    """Frames one after another. length is None when unknown; fps is None when the source has no rate.

    paths: the files it is read from; named_by_file: one a frame, which has its name. cameras: whose frames
    come, by `SourceFrame.camera`.
    """

    length: int | None = None
    fps: float | None = None
    paths: Sequence[Path] = ()
    named_by_file = False
    cameras: Sequence[str] = ("",)

    @property
    def seconds(self) -> float | None:
        """How long it is, None when unknown."""
        return self.length / self.fps if self.length and self.fps else None

    @abstractmethod
    def __iter__(self) -> Iterator[SourceFrame]: ...

    def close(self) -> None:
        """Let go of the file or the camera."""
        return None


class ImageSource(FrameSource):
    """Image files in order."""

    named_by_file = True

    def __init__(self, paths: list[Path], max_pixels: int = MAX_PIXELS, selection: Selection = _ALL) -> None:
        self._chosen = selection.indices(None, "a folder of images")[: len(paths)]
        self.paths = paths
        self._max_pixels = max_pixels
        self.length = len(paths[:: selection.stride])

    def __iter__(self) -> Iterator[SourceFrame]:
        for index, path in enumerate(self.paths):
            if index in self._chosen:
                yield SourceFrame(index, path.stem, read_image(path, self._max_pixels))


class CaptureSource(FrameSource):
    """A video file, a stream or a camera. fps is measured on the first frames where the stated one is
    nonsense."""

    def __init__(
        self,
        what: str | int,
        title: str,
        max_pixels: int = MAX_PIXELS,
        selection: Selection = _ALL,
    ) -> None:
        self._title = title
        self._capture = open_capture(what, title)
        self.paths = [Path(what)] if isinstance(what, str) and Path(what).is_file() else []
        try:
            width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
            height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
            if width > 0 and height > 0:  # streams may not say
                check_pixels(width, height, title, max_pixels)
            good, frame = self._capture.read()
            self._first: np.ndarray | None = frame if good else None
            if self._first is None:
                raise SourceError(
                    f"{title} cannot be read: it is no video that OpenCV can decode, or has no frame"
                )
        except Exception:
            self._capture.release()
            raise
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        known = self.paths and 0 < count < 1e9
        rate = read_rate(self._capture, self.paths[0] if self.paths else None)
        try:
            self._chosen = selection.indices(rate, title)
        except SourceError:
            self._capture.release()
            raise
        self.length = len(range(int(count))[_slice(self._chosen)]) if known else None
        self._rate = rate
        self.fps = None if rate is None else rate / selection.stride

    def __iter__(self) -> Iterator[SourceFrame]:
        index = 0
        frame, self._first = self._first, None
        while frame is not None and index < self._chosen.stop:
            if index in self._chosen:
                rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                yield SourceFrame(index, f"{index:05d}", rgb, stamp=self._time(index))
            index += 1
            good, frame = self._capture.read()
            if not good:
                return

    def _time(self, index: int) -> int | None:
        return None if self._rate is None else round(1e9 * index / self._rate)

    def close(self) -> None:
        self._capture.release()


def _slice(indices: range) -> slice:
    return slice(indices.start, indices.stop, indices.step)


def open_capture(what: str | int, title: str) -> cv2.VideoCapture:
    """OpenCV's reader of a video file, a stream's address or a camera. Raises SourceError."""
    silence_ffmpeg()
    if isinstance(what, str) and not is_utf8(what):
        raise SourceError(f"{title} cannot be opened: the name of a video must be UTF-8")
    capture = cv2.VideoCapture(what)
    if not capture.isOpened():
        capture.release()
        raise SourceError(f"{title} cannot be read: it is no video that OpenCV can decode, or has no frame")
    return capture


def is_rate(fps: float) -> bool:
    """Whether so many frames a second can be believed; not-a-number cannot."""
    return LOWEST_FPS <= fps <= HIGHEST_FPS


def read_rate(capture: cv2.VideoCapture, path: Path | None) -> float | None:
    """Frames a second as stated, if it can be believed; else measured in the file; else None."""
    stated = float(capture.get(cv2.CAP_PROP_FPS))
    if is_rate(stated) or path is None:
        return stated if is_rate(stated) else None
    probe = cv2.VideoCapture(str(path))
    times: list[float] = []
    while len(times) < _PROBED and probe.read()[0]:
        times.append(probe.get(cv2.CAP_PROP_POS_MSEC))
    probe.release()
    span = times[-1] - times[0] if times else 0.0
    measured = 1000 * (len(times) - 1) / span if span > 0 else 0.0
    return measured if is_rate(measured) else None


def open_source(source: str, max_pixels: int = MAX_PIXELS, selection: Selection = _ALL) -> FrameSource:
    """A camera (its index, or its device such as /dev/video0), a video file, a stream's address (rtsp://…), a
    folder of images, or one image. Raises SourceError."""
    path = Path(source)
    if source.isascii() and source.isdecimal() and not path.exists():
        return CaptureSource(int(source), f"camera {source}", max_pixels, selection)
    if _STREAM.match(source):
        return CaptureSource(source, f"the stream {show(source)}", max_pixels, selection)
    if path.is_dir():
        images = list_images(path)
        if not images:
            raise SourceError(f"the folder {show(path)} holds no image ({', '.join(IMAGE_SUFFIXES)})")
        return ImageSource(images, max_pixels, selection)
    if path.is_char_device() and (device := _CAMERA.fullmatch(os.path.realpath(path))):
        return CaptureSource(int(device[1]), f"the camera {source}", max_pixels, selection)
    if not path.is_file():
        reason = "is no ordinary file" if path.exists() else "does not exist"
        raise SourceError(f"no such file, folder or camera: {show(source)} {reason}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource([path], max_pixels, selection)
    return CaptureSource(str(path), f"the file {show(path)}", max_pixels, selection)


_STREAM = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_CAMERA = re.compile(r"/dev/video([0-9]+)")

_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}


class VideoWriter:
    """Writes RGB frames to an .mp4 (MPEG-4) or .avi (Motion JPEG) file; frames of other sizes are scaled to
    the first. The file takes its name when it is finished and was found to be whole."""

    def __init__(self, path: Path, fps: float | None) -> None:
        if path.suffix.lower() not in _CODECS:
            raise SourceError(
                f"cannot write {show(path)}: expected a name that ends in {' or '.join(_CODECS)}"
            )
        if not is_utf8(path):  # OpenCV would crash
            raise SourceError(f"cannot write {show(path)}: the name of a video must be UTF-8")
        self._path = path
        self._fps = encodable_rate(fps)
        self._part = self._path  # until it is begun
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._frames = 0

    def write(self, image: np.ndarray) -> None:
        """Append a frame, uint8 RGB [h,w,3]. Raises SourceError when the file cannot be made."""
        if self._writer is None:
            self._size = (image.shape[1], image.shape[0])
            self._writer = self._open()
        if (image.shape[1], image.shape[0]) != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self._frames += 1

    def _open(self) -> cv2.VideoWriter:
        make_folder(self._path.parent)
        silence_ffmpeg()
        self._part = temporary(self._path)
        codec = _CODECS[self._path.suffix.lower()]
        code = cv2.VideoWriter_fourcc(*codec)  # type: ignore[attr-defined]  # OpenCV 4.5's name of it
        writer = cv2.VideoWriter(str(self._part), code, self._fps, self._size)
        if not writer.isOpened():
            self._part.unlink(missing_ok=True)
            width, height = self._size
            raise SourceError(
                f"OpenCV cannot write the video {show(self._path)} of {width}x{height} pixels at "
                f"{self._fps:g} frames/s"
            )
        return writer

    def close(self) -> None:
        """Finish the file. Raises SourceError when not all of it was written, as on a full disk."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        try:
            found = _count_frames(self._part)
            if found != self._frames:  # OpenCV does not say so when writing fails
                raise SourceError(
                    f"cannot write {show(self._path)}: not all of {self._frames} frames arrived in the file "
                    "(is there room on the disk?)"
                )
            finish(self._part, self._path)
        finally:
            self._part.unlink(missing_ok=True)


def _count_frames(path: Path) -> int:
    """Frames that a video file announces, when its last one is there; else 0."""
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            return 0
        count = round(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.set(cv2.CAP_PROP_POS_FRAMES, count - 1)
        return count if capture.read()[0] else 0
    finally:
        capture.release()


def encodable_rate(fps: float | None) -> float:
    """A rate that players and the MPEG-4 encoder take: DEFAULT_FPS for none, NaN or a nonsensical one.

    The encoder counts time in at most 65535 parts of a second: too few for three decimals of a rate over 65.
    """
    if fps is None or not is_rate(fps):
        return DEFAULT_FPS
    return round(fps, 3 if fps < 65 else 2)


def is_utf8(path: Path | str) -> bool:
    """Whether a file name can be handed to OpenCV; others end in a segmentation fault there."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def silence_ffmpeg() -> None:
    """Keep FFmpeg's own complaints off stderr: the errors raised here say which file. OpenCV reads this
    once."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
