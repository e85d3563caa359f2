"""DAVIS 2017: ImageSets/2017/<split>.txt, JPEGImages/480p/<video>, Annotations/480p/<video>."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...reading import read_text
from ..errors import DatasetError
from ..names import plain_name
from ..pngs import read_labels
from .base import Video, VideoObject, list_annotations, list_frames

VOID = 255


class Davis:
    """Semi-supervised DAVIS 2017 at 480p. The objects are those of the first frame's mask."""

    def __init__(self, root: Path, split: str = "val") -> None:
        self.root = Path(root)
        path = self.root / "ImageSets" / "2017" / f"{split}.txt"
        if not path.is_file():
            raise DatasetError(f"missing file {path}: expected the list of videos of split {split!r}")
        names = read_text(path).split()
        self.video_ids = tuple(plain_name(name, f"a video of {path}") for name in names)
        if not self.video_ids:
            raise DatasetError(f"{path} is empty: expected one video name a line")

    def video(self, video_id: str) -> Video:
        frames = list_frames(self.root / "JPEGImages" / "480p" / video_id)
        annotations = list_annotations(self.root / "Annotations" / "480p" / video_id)
        first = next(iter(frames))
        if first not in annotations:
            raise DatasetError(
                f"missing file {self.root / 'Annotations' / '480p' / video_id / (first + '.png')}"
            )
        return Video(video_id, tuple(frames), frames, annotations, objects_of(annotations[first], first))


def objects_of(path: Path, stem: str) -> tuple[VideoObject, ...]:
    """The objects a label image shows, in order of id."""
    ids = [i for i in np.unique(read_labels(path)).tolist() if i not in (0, VOID)]
    if not ids:
        raise DatasetError(f"{path} shows no object")
    return tuple(VideoObject(i, stem) for i in ids)
