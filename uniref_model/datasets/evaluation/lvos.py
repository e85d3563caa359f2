"""LVOS: <split>/JPEGImages, <split>/Annotations and <split>_meta.json with each object's range of frames."""

from __future__ import annotations

from pathlib import Path

from ...reading import read_text
from ..errors import DatasetError, laid_out
from .base import Video, VideoObject, list_annotations, list_frames, read_videos

FRAME_STEP = 5
"""Annotated frames are named 00000001, 00000006, …: every fifth of the source video."""


class Lvos:
    """Reads <split>/<split>_meta.json, or meta_jsons/<split>_meta.json where the release has it there.

    Objects are scored as the official toolkit does it: on range(start, end, 5), the given frame among them,
    and averaged over "frame_nums" frames, so that a frame which the range leaves out counts as 0.
    """

    def __init__(self, root: Path, split: str = "valid") -> None:
        self.root = Path(root)
        self.folder = self.root / split
        places = [self.folder / f"{split}_meta.json", self.root / "meta_jsons" / f"{split}_meta.json"]
        self._meta_path = next((path for path in places if path.is_file()), places[0])
        self._videos = read_videos(
            self._meta_path,
            '{"videos": {video: {"objects": {id: {"frame_range": {"start", "end", "frame_nums"}}}}}}',
        )
        self.video_ids = tuple(self._videos)

    def unseen_videos(self) -> frozenset[str]:
        """Videos of classes absent from training, from the toolkit's unseen_videos.txt beside the split, if
        it is there."""
        path = self.folder / "unseen_videos.txt"
        return frozenset(read_text(path).split()) if path.is_file() else frozenset()

    def video(self, video_id: str) -> Video:
        frames = list_frames(self.folder / "JPEGImages" / video_id)
        annotations = list_annotations(self.folder / "Annotations" / video_id)
        needed = f'"objects" of video {video_id} with "frame_range" of "start" and "end"'
        with laid_out(self._meta_path, needed):
            objects = tuple(
                self._object(int(key), facts["frame_range"], annotations, video_id)
                for key, facts in sorted(self._videos[video_id]["objects"].items(), key=lambda kv: int(kv[0]))
            )
        return Video(video_id, tuple(frames), frames, annotations, objects)

    def _object(self, key: int, facts: dict, annotations: dict[str, Path], video_id: str) -> VideoObject:
        stated = range(int(facts["start"]), int(facts["end"]), FRAME_STEP)
        if len(stated) > len(annotations):  # before a list is made of it
            raise ValueError(f"{len(stated)} frames are stated, and {len(annotations)} have a mask")
        scored = tuple(f"{i:08d}" for i in stated)
        first = f"{int(facts['start']):08d}"
        for stem in {first, *scored}:
            if stem not in annotations:
                raise DatasetError(f"missing file {self.folder / 'Annotations' / video_id / (stem + '.png')}")
        return VideoObject(key, first, scored, int(facts.get("frame_nums", len(scored))))
