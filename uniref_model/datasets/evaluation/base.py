"""What every dataset reader yields, whatever its layout on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...errors import UniRefError
from ...limits import MAX_ANNOTATION_BYTES, shown
from ...pictures import natural
from ...reading import parse_json, read_text
from ..errors import DatasetError
from ..names import plain_name
from ..pngs import image_size, read_image, read_labels


@dataclass(frozen=True)
class VideoObject:
    """An annotated object of a video.

    first_frame: stem of the frame in which its mask is given. scored_frames: stems it is scored on where the
    data set says so, else empty. frame_count: over how many frames its mean is taken where the data set says
    so, else 0. category: its class name, "" where the data set has none.
    """

    id: int
    first_frame: str
    scored_frames: tuple[str, ...] = ()
    frame_count: int = 0
    category: str = ""


@dataclass(frozen=True)
class Expression:
    """A phrase for one object. id: its key in the data set. object_id: its object, 0 where that is not
    published.
    annotator: which of several independent sets of phrases it belongs to.

    Answers are written to files of these names, so an id is one plain name, else DatasetError."""

    id: str
    text: str
    object_id: int = 0
    annotator: int = 0

    def __post_init__(self) -> None:
        plain_name(self.id, "an expression's id")


@dataclass(frozen=True)
class Video:
    """One video. frames: stems in order of time. annotations: label PNGs by stem (ground truth where
    published, else only the given masks). Answers are written to files of these names, so id and stems are
    plain names, else DatasetError. binary: its masks mark one object, 1, with any value."""

    id: str
    frames: tuple[str, ...]
    frame_paths: dict[str, Path] = field(repr=False)
    annotations: dict[str, Path] = field(default_factory=dict, repr=False)
    objects: tuple[VideoObject, ...] = ()
    expressions: tuple[Expression, ...] = ()
    binary: bool = False

    def __post_init__(self) -> None:
        plain_name(self.id, "a video's id")
        for stem in self.frames:
            plain_name(stem, f"a frame of video {self.id}")

    def size(self) -> tuple[int, int]:
        """(height, width) of the original frames."""
        return image_size(self.frame_paths[self.frames[0]])

    def images(self) -> Iterator[tuple[str, np.ndarray]]:
        """(stem, uint8 RGB [h,w,3]) in order of time."""
        return ((stem, read_image(self.frame_paths[stem])) for stem in self.frames)

    def given(self, stem: str) -> dict[int, np.ndarray]:
        """Masks given in this frame: object id -> bool [h,w]. Nothing else of the ground truth is shown to a
        method."""
        ids = [item.id for item in self.objects if item.first_frame == stem]
        if not ids:
            return {}
        labels = self.labels(stem)
        return {i: labels == i for i in ids}

    def labels(self, stem: str) -> np.ndarray:
        """Label image uint8 [h,w] of an annotated frame. Raises DatasetError for a file that is none."""
        labels = read_labels(self.annotations[stem])
        return (labels > 0).astype(np.uint8) if self.binary else labels


@dataclass(frozen=True)
class ReferringImage:
    """One referred object of an image, with all its phrases. truth: COCO segmentation (polygons or RLE)."""

    id: str
    path: Path
    size: tuple[int, int]
    phrases: tuple[str, ...]
    truth: Any = field(repr=False)


class VideoDataset(Protocol):
    """A data set of videos; reading is lazy, one video at a time."""

    root: Path
    video_ids: tuple[str, ...]

    def video(self, video_id: str) -> Video:
        """Read one video's lists. Raises DatasetError naming what is missing."""
        ...


def said(text: object) -> str:
    """A phrase out of a data set's file. Raises TypeError for what is no text."""
    if not isinstance(text, str):
        raise TypeError(f"a phrase is {shown(text)}")
    return text


def read_json(path: Path, expected: str) -> Any:
    """Parse a JSON file. `expected` ends the error's sentence: what the file should hold."""
    try:
        return parse_json(read_text(path, MAX_ANNOTATION_BYTES, ordinary=True))
    except FileNotFoundError as error:
        raise DatasetError(f"missing file {path}: expected {expected}") from error
    except (OSError, UniRefError) as error:
        raise DatasetError(f"{path} cannot be read ({error}): expected {expected}") from error
    except ValueError as error:
        raise DatasetError(f"{path} is not valid JSON ({error}): expected {expected}") from error


def read_videos(path: Path, expected: str) -> dict[str, Any]:
    """The "videos" object of a meta file, by video id."""
    videos = read_json(path, expected)
    videos = videos.get("videos") if isinstance(videos, dict) else None
    if not isinstance(videos, dict) or not videos:
        raise DatasetError(f'{path} has no "videos": expected {expected}')
    for video_id in videos:
        plain_name(video_id, f"a video of {path}")
    return videos


def list_frames(folder: Path, stems: tuple[str, ...] | None = None) -> dict[str, Path]:
    """JPEG frames of a folder by stem, in order; with `stems`, exactly those. Raises DatasetError for a
    missing one."""
    found = _by_stem(folder, ".jpg")
    if not found:
        raise DatasetError(f"no frames in {folder}: expected <frame>.jpg files")
    if stems is None:
        return found
    for stem in stems:
        if stem not in found:
            raise DatasetError(f"missing frame {folder / (stem + '.jpg')}")
    return {stem: found[stem] for stem in stems}


def list_annotations(folder: Path) -> dict[str, Path]:
    """Label PNGs of a folder by stem, in order. Raises DatasetError when there is none."""
    found = _by_stem(folder, ".png")
    if not found:
        raise DatasetError(f"no masks in {folder}: expected <frame>.png label images")
    return found


def _by_stem(folder: Path, suffix: str) -> dict[str, Path]:
    """Files in the order of time, 2 before 10, but for hidden ones (a Mac's `._` files are no pictures)."""
    found = (path for path in folder.glob(f"*{suffix}") if not path.name.startswith("."))
    return {path.stem: path for path in sorted(found, key=natural)}


def first_frames(annotations: dict[str, Path], ids: set[int]) -> dict[int, str]:
    """For each object id the stem of the first label image that shows it. Raises DatasetError when none
    does."""
    first: dict[int, str] = {}
    for stem, path in annotations.items():
        if len(first) == len(ids):
            break
        for i in ids & set(np.unique(read_labels(path)).tolist()):
            first.setdefault(i, stem)
    missing = sorted(ids - set(first))
    if missing:
        folder = next(iter(annotations.values())).parent
        raise DatasetError(f"object {missing[0]} is in the meta file, but no mask in {folder} shows it")
    return first
