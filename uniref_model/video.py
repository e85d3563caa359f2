"""Frames in, pictures out: video files, folders, single images and cameras, all through OpenCV, all RGB."""

from __future__ import annotations

import os
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .errors import SourceError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
DEFAULT_FPS = 25.0
"""For written videos whose source has no rate of its own (images, some cameras)."""


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """index counts from 0; name is the image file's stem, or the index as five digits; image uint8 RGB
    [h,w,3]."""

    index: int
    name: str
    image: np.ndarray


class FrameSource(ABC):
    """Frames one after another. length is None when unknown; fps is None when the source has no rate."""

    length: int | None = None
    fps: float | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[SourceFrame]: ...

    def close(self) -> None:
        """Let go of the file or the camera."""
        return None


class ImageSource(FrameSource):
    """Image files in order."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self.length = len(paths)

    def __iter__(self) -> Iterator[SourceFrame]:
        for index, path in enumerate(self._paths):
            yield SourceFrame(index, path.stem, read_image(path))


class CaptureSource(FrameSource):
    """A video file or a camera."""

    def __init__(self, what: str | int, title: str) -> None:
        silence_ffmpeg()
        self._title = title
        self._capture = cv2.VideoCapture(what)
        opened, first = self._capture.read() if self._capture.isOpened() else (False, None)
        if not opened:
            self._capture.release()
            raise SourceError(
                f"{title} cannot be read: it is no video that OpenCV can decode, or has no frame"
            )
        self._first: np.ndarray | None = first
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.length = count if count > 0 and isinstance(what, str) else None
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = rate if 1.0 <= rate <= 1000.0 else None

    def __iter__(self) -> Iterator[SourceFrame]:
        index = 0
        frame, self._first = self._first, None
        while frame is not None:
            yield SourceFrame(index, f"{index:05d}", cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            index += 1
            good, frame = self._capture.read()
            if not good:
                return

    def close(self) -> None:
        self._capture.release()


def open_source(source: str) -> FrameSource:
    """A camera index, a video file, a folder of images, or one image. Raises SourceError."""
    path = Path(source)
    if source.isdecimal() and not path.exists():
        return CaptureSource(int(source), f"camera {source}")
    if path.is_dir():
        images = sorted((p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=_natural)
        if not images:
            raise SourceError(f"the folder {path} holds no image ({', '.join(IMAGE_SUFFIXES)})")
        return ImageSource(images)
    if not path.is_file():
        raise SourceError(f"no such file, folder or camera: {source}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource([path])
    return CaptureSource(str(path), f"the file {path}")


def read_image(path: Path) -> np.ndarray:
    """uint8 RGB [h,w,3] of an image file. Raises SourceError."""
    image = _decode(path, cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_label_image(path: Path) -> np.ndarray:
    """uint8 [h,w] of a mask file: values of a grey PNG, indices of a palette PNG. Raises SourceError."""
    image = _decode(path, cv2.IMREAD_UNCHANGED, palette_as_indices=True)
    if image.dtype != np.uint8:
        raise SourceError(f"the mask {path} has {image.dtype} pixels, expected an 8-bit image")
    if image.ndim == 3:
        if (image[..., :1] != image[..., :3]).any():
            raise SourceError(
                f"the mask {path} is a colour image, expected one channel whose values are labels"
            )
        image = image[..., 0]
    return np.ascontiguousarray(image)


def _decode(path: Path, mode: int, *, palette_as_indices: bool = False) -> np.ndarray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error
    bits = _palette_bits(data) if palette_as_indices else 0
    content = _drop_palette(data) if bits else data
    image = cv2.imdecode(np.frombuffer(content, np.uint8), mode) if content else None
    if image is None:
        raise SourceError(f"{path} is not an image that OpenCV can decode ({len(data)} bytes)")
    return image // (255 // (2**bits - 1)) if bits else image  # grey of few bits is decoded to the full range


_PNG_COLOUR_TYPE = 25  # offset: signature 8, chunk length 4, "IHDR" 4, width 4, height 4, bit depth 1


def _palette_bits(data: bytes) -> int:
    """Bits per index of a palette PNG, 0 for anything else."""
    is_palette = data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 33 and data[_PNG_COLOUR_TYPE] == 3
    return data[_PNG_COLOUR_TYPE - 1] if is_palette else 0


def _drop_palette(data: bytes) -> bytes:
    """A palette PNG declared grey, so that OpenCV decodes its indices and not their colours."""
    header = data[12:_PNG_COLOUR_TYPE] + b"\0" + data[_PNG_COLOUR_TYPE + 1 : 29]
    parts = [data[:12], header, zlib.crc32(header).to_bytes(4, "big")]
    place = 33
    while place + 8 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] not in (b"PLTE", b"tRNS"):
            parts.append(data[place:end])
        place = end
    return b"".join(parts)


def write_png(path: Path, image: np.ndarray) -> None:
    """uint8 [h,w] -> an 8-bit grey PNG. Raises SourceError."""
    good, data = cv2.imencode(".png", image)
    try:
        path.write_bytes(data.tobytes() if good else b"")
    except OSError as error:
        raise SourceError(f"cannot write {path}: {error.strerror or error}") from error


_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}


class VideoWriter:
    """Writes RGB frames to an .mp4 (MPEG-4) or .avi (Motion JPEG) file; frames of other sizes are scaled to
    the first."""

    def __init__(self, path: Path, fps: float | None) -> None:
        if path.suffix.lower() not in _CODECS:
            raise SourceError(f"cannot write {path}: expected a name that ends in {' or '.join(_CODECS)}")
        self._path = path
        self._fps = fps or DEFAULT_FPS
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, image: np.ndarray) -> None:
        """Append a frame, uint8 RGB [h,w,3]. Raises SourceError when the file cannot be made."""
        if self._writer is None:
            self._size = (image.shape[1], image.shape[0])
            make_folder(self._path.parent)
            silence_ffmpeg()
            code = cv2.VideoWriter_fourcc(*_CODECS[self._path.suffix.lower()])
            self._writer = cv2.VideoWriter(str(self._path), code, self._fps, self._size)
            if not self._writer.isOpened():
                raise SourceError(f"OpenCV cannot write the video {self._path} (is the folder writable?)")
        if (image.shape[1], image.shape[0]) != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


def make_folder(path: Path) -> None:
    """Make a folder and its parents. Raises SourceError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"cannot make the folder {path}: {error.strerror or error}") from error


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key under which frame2 comes before frame10."""
    return [
        (0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", path.name) if part
    ]


def silence_ffmpeg() -> None:
    """Keep FFmpeg's own complaints off stderr: the errors raised here say which file. OpenCV reads this
    once."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
