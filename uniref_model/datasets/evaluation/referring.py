"""Ref-YouTube-VOS and Ref-DAVIS17: phrases for the objects of videos, in
meta_expressions/<split>/meta_expressions.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import DatasetError, laid_out
from ..names import plain_name
from .base import Expression, Video, list_annotations, list_frames, read_videos, said
from .davis import objects_of

REF_DAVIS_ANNOTATORS = 4
"""Two people, each describing the first frame and the whole video."""

_EXPECTED = '{"videos": {video: {"expressions": {id: {"exp"}}, "frames": [...]}}}'


class RefYoutubeVos:
    """<split>/JPEGImages and the phrases. The published valid list holds the test videos too; they are left
    out when meta_expressions/test is there, as everyone does. Masks exist only in the train split."""

    def __init__(self, root: Path, split: str = "valid") -> None:
        self.root = Path(root)
        self.folder = self.root / split
        self._meta_path = _meta_path(self.root, split)
        self._videos = read_videos(self._meta_path, _EXPECTED)
        test = _meta_path(self.root, "test")
        held_back = set(read_videos(test, _EXPECTED)) if split == "valid" and test.is_file() else set()
        self.video_ids = tuple(sorted(set(self._videos) - held_back))

    def video(self, video_id: str) -> Video:
        entry = self._videos[video_id]
        frames = list_frames(
            self.folder / "JPEGImages" / video_id, _frame_names(entry, self._meta_path, video_id)
        )
        folder = self.folder / "Annotations" / video_id
        annotations = list_annotations(folder) if folder.is_dir() else {}
        phrases = self.expressions(video_id)
        return Video(video_id, tuple(frames), frames, annotations, expressions=phrases)

    def expressions(self, video_id: str) -> tuple[Expression, ...]:
        """A video's phrases, without a look at its frames."""
        return tuple(_phrases(self._videos[video_id], self._meta_path, video_id))


class RefDavis:
    """Ref-DAVIS17 converted to the Ref-YouTube-VOS layout (the conversion published with ReferFormer):
    valid/JPEGImages, valid/Annotations (the unsupervised masks) and phrases numbered object * 4 +
    annotator."""

    def __init__(self, root: Path, split: str = "valid") -> None:
        self.root = Path(root)
        self.folder = self.root / split
        self._meta_path = _meta_path(self.root, split)
        self._videos = read_videos(self._meta_path, _EXPECTED)
        self.video_ids = tuple(sorted(self._videos))

    def video(self, video_id: str) -> Video:
        entry = self._videos[video_id]
        frames = list_frames(
            self.folder / "JPEGImages" / video_id, _frame_names(entry, self._meta_path, video_id)
        )
        annotations = list_annotations(self.folder / "Annotations" / video_id)
        for stem in frames:
            if stem not in annotations:
                raise DatasetError(f"missing file {self.folder / 'Annotations' / video_id / (stem + '.png')}")
        phrases = list(_phrases(entry, self._meta_path, video_id))
        if len(phrases) % REF_DAVIS_ANNOTATORS:
            raise DatasetError(
                f"{self._meta_path}: video {video_id} has {len(phrases)} expressions, "
                f"expected {REF_DAVIS_ANNOTATORS} for every object"
            )
        numbered = tuple(
            Expression(p.id, p.text, i // REF_DAVIS_ANNOTATORS + 1, i % REF_DAVIS_ANNOTATORS)
            for i, p in enumerate(phrases)
        )
        first = next(iter(frames))
        return Video(
            video_id, tuple(frames), frames, annotations, objects_of(annotations[first], first), numbered
        )


def _meta_path(root: Path, split: str) -> Path:
    return root / "meta_expressions" / split / "meta_expressions.json"


def _frame_names(entry: Any, path: Path, video_id: str) -> tuple[str, ...]:
    names = entry.get("frames") if isinstance(entry, dict) else None
    if not isinstance(names, list) or not names:
        raise DatasetError(f'{path}: video {video_id} has no "frames"')
    return tuple(plain_name(name, f"a frame of video {video_id}") for name in names)


def _phrases(entry: dict[str, Any], path: Path, video_id: str) -> list[Expression]:
    with laid_out(path, f'"expressions" of video {video_id}, {{id: {{"exp": text}}}}'):
        return [
            Expression(str(key), said(facts["exp"]), int(facts.get("obj_id", 0)))
            for key, facts in entry["expressions"].items()
        ]
