"""YouTube-VOS 2018 and 2019, and MOSE: <split>/JPEGImages, <split>/Annotations and a meta file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...limits import shown
from ..errors import DatasetError, laid_out
from .base import Video, VideoObject, first_frames, list_annotations, list_frames, read_videos


class YoutubeVos:
    """Reads <split>/<meta>. "objects" maps ids to {"category", "frames"} (YouTube-VOS) or lists ids (MOSE).

    An object's mask is given in the first frame whose annotation shows it; later annotations, where a split
    has them, are ground truth only.
    """

    def __init__(self, root: Path, split: str = "valid", meta: str = "meta.json") -> None:
        self.root = Path(root)
        self.folder = self.root / split
        self._meta_path = self.folder / meta
        self._videos = read_videos(
            self._meta_path, '{"videos": {video: {"objects": {id: {"category", "frames"}}}}}'
        )
        self.video_ids = tuple(self._videos)

    def video(self, video_id: str) -> Video:
        objects = self._objects(video_id)
        frames = list_frames(self.folder / "JPEGImages" / video_id)
        annotations = list_annotations(self.folder / "Annotations" / video_id)
        for stem, path in annotations.items():
            if stem not in frames:
                raise DatasetError(
                    f"{path} has no frame: expected {self.folder / 'JPEGImages' / video_id / stem}.jpg"
                )
        first = first_frames(annotations, set(objects))
        with laid_out(self._meta_path, f'"objects" of video {video_id} with "category" and "frames"'):
            items = tuple(
                VideoObject(i, first[i], _stems(facts), category=str(facts.get("category", "")))
                for i, facts in sorted(objects.items())
            )
        return Video(video_id, tuple(frames), frames, annotations, items)

    def _objects(self, video_id: str) -> dict[int, Mapping[str, Any]]:
        video = self._videos[video_id]
        entry = video.get("objects") if isinstance(video, dict) else None
        if not isinstance(entry, (dict, list)) or not entry:
            raise DatasetError(f'{self._meta_path}: video {video_id} has no "objects"')
        with laid_out(self._meta_path, f"object ids of video {video_id} that are numbers"):
            facts = entry.items() if isinstance(entry, dict) else ((i, {}) for i in entry)
            return {int(i): of_object for i, of_object in facts}


def _stems(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """The frames that an object is scored on."""
    stems = facts.get("frames", [])
    if not isinstance(stems, list) or not all(isinstance(stem, str) for stem in stems):
        raise TypeError(f"frames are {shown(stems)}")
    return tuple(stems)
