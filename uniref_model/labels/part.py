"""A labelled recording on disk, from which every layout of a data set is made: `images/` as JPEG, and one
line of JSON a frame, with each object's mask as run lengths (COCO's)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

from ..errors import SourceError
from ..limits import quoted
from ..offline.writers import object_json
from ..outputs import make_folder, show, told, write_whole
from ..reading import parse_json
from ..tracking import TrackedFrame
from ..video import SourceFrame
from .choice import Chooser, FrameChoice

FRAMES, IMAGES = "frames.jsonl", "images"
_QUALITY = 95
"""Of the JPEGs: no visible loss."""

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


def plain(name: str) -> str:
    """A name fit for a file in any data set, made of any text."""
    return _NOT_PLAIN.sub("_", name).strip("._-")[:100] or "video"


def coco_masks() -> Any:
    """The module pycocotools.mask. Raises SourceError."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise SourceError(f"data sets need pycocotools ({error}): pip install pycocotools") from error
    return mask


class PartWriter:
    """A `FrameWriter` that keeps the frames that are chosen, a camera's apart from another's."""

    def __init__(self, folder: Path, choice: FrameChoice) -> None:
        """Raises SourceError."""
        coco_masks()
        make_folder(folder)
        self._folder, self._choice = folder, choice
        self._choosers: dict[str, Chooser] = {}
        self.kept = 0
        """Frames written."""
        with told(folder / FRAMES):
            self._file: IO[str] = (folder / FRAMES).open("w", encoding="utf-8")

    def write(self, frame: SourceFrame, result: TrackedFrame, values: np.ndarray) -> None:
        """See `FrameWriter`."""
        chooser = self._choosers.setdefault(frame.camera, Chooser(self._choice))
        if not chooser.takes(frame.image, result):
            return
        place = Path(IMAGES) / frame.camera / f"{frame.name}.jpg"
        good, data = cv2.imencode(
            ".jpg", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
        )
        if not good:
            raise SourceError(f"OpenCV makes no JPEG of {frame.image.shape} pixels")
        write_whole(self._folder / place, data.tobytes())
        height, width = result.size
        entry = {
            "file": place.as_posix(),
            "name": frame.name,
            "index": frame.index,
            "camera": frame.camera,
            "stamp_ns": frame.stamp,
            "size": [width, height],
            "objects": [
                object_json(item, int(values[item.slot])) | {"rle": encode(result.label_image == item.slot)}
                for item in result.objects
                if item.box is not None
            ],
        }
        with told(self._folder / FRAMES):
            self._file.write(json.dumps(entry) + "\n")
        self.kept += 1

    def close(self) -> None:
        """Finish the part."""
        with told(self._folder / FRAMES):
            self._file.close()


def encode(mask: np.ndarray) -> str:
    """COCO's compressed run lengths of a bool mask [h,w], as text."""
    return coco_masks().encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode("ascii")


def decode(counts: str, size: Sequence[int]) -> np.ndarray:
    """The bool mask [h,w] of `encode`'s text; size: [width, height]."""
    return coco_masks().decode({"size": [size[1], size[0]], "counts": counts.encode("ascii")}).astype(bool)


@dataclass(frozen=True)
class Part:
    """What `PartWriter` wrote. name: of the recording, plain."""

    name: str
    folder: Path

    def frames(self) -> Iterator[dict[str, Any]]:
        """Its lines, "video" added: the name of the recording, or of its camera. Raises SourceError."""
        try:
            with (self.folder / FRAMES).open(encoding="utf-8") as file:
                for line in file:
                    entry = parse_json(line)
                    camera = plain(entry["camera"]) if entry["camera"] else ""
                    yield entry | {"video": f"{self.name}.{camera}" if camera else self.name}
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(f"the part {show(self.folder)} cannot be read: {quoted(error)}") from error

    def label_image(self, entry: dict[str, Any]) -> np.ndarray:
        """uint8 [h,w] of a frame: the objects' values, 0 where there is none."""
        width, height = entry["size"]
        labels = np.zeros((height, width), np.uint8)
        for item in entry["objects"]:
            labels[decode(item["rle"], entry["size"])] = item["value"]
        return labels
