"""Videos: YouTube-VOS, LVOS, OVIS and Ref-YouTube-VOS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from uniref_model.datasets.errors import DatasetError, laid_out
from uniref_model.datasets.evaluation import RefYoutubeVos
from uniref_model.datasets.evaluation.base import list_annotations, list_frames, read_json, read_videos
from uniref_model.datasets.names import inside
from uniref_model.datasets.outlines import decode_segmentation
from uniref_model.datasets.pngs import image_size, read_image, read_labels
from uniref_model.datasets.training.base import Drawn, PackedList, frame_of, frame_pair, pick
from uniref_model.limits import shown

Size = tuple[int, int]

VOID = 255
"""In a label image: not to be judged."""


class MaskVideos:
    """Videos as folders of frames and label PNGs: YouTube-VOS and LVOS. An item is a video; its annotated
    frames and any object that two of them show can be drawn.

    folder holds JPEGImages and Annotations; meta_path lists the videos; span: see `frame_pair`.
    """

    has_masks = True

    def __init__(self, folder: Path, meta_path: Path, span: int) -> None:
        self._folder, self._span = folder, span
        self._videos = tuple(read_videos(meta_path, '{"videos": {video: {"objects": {…}}}}'))
        self._sizes: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._videos)

    def size(self, index: int) -> tuple[int, int]:
        if index not in self._sizes:
            frames = list_frames(self._folder / "JPEGImages" / self._videos[index])
            self._sizes[index] = image_size(next(iter(frames.values())))
        return self._sizes[index]

    def draw(self, index: int, rng: np.random.Generator) -> Drawn | None:
        frames, masks = _annotated(self._folder, self._videos[index])
        pair = frame_pair(len(masks), self._span, rng)
        if pair is None:
            return None
        stems = [list(masks)[i] for i in pair]
        labels = [read_labels(masks[stem]) for stem in stems]
        common = np.intersect1d(*labels)
        common = common[(common != 0) & (common != VOID)]
        if not len(common):
            return None
        chosen = pick(common, rng)
        return _clip(
            [read_image(frames[stem]) for stem in stems], [image == chosen for image in labels], stems
        )


def youtube_vos(root: Path, span: int) -> MaskVideos:
    """YouTube-VOS 2018 or 2019: train/JPEGImages, train/Annotations, train/meta.json."""
    return MaskVideos(root / "train", root / "train" / "meta.json", span)


def lvos(root: Path, span: int) -> MaskVideos:
    """LVOS: train/JPEGImages, train/Annotations, and train_meta.json in train/ or in meta_jsons/."""
    places = [root / "train" / "train_meta.json", root / "meta_jsons" / "train_meta.json"]
    return MaskVideos(root / "train", next((p for p in places if p.is_file()), places[0]), span)


class Ovis:
    """OVIS: annotations_train.json (YouTube-VIS form) and train/. An item is a video. Class-agnostic, as the
    paper makes it for VOS: what an instance is called is dropped, and every instance is an object."""

    has_masks = True

    def __init__(self, root: Path, span: int) -> None:
        self._folder, self._span = root / "train", span
        path = root / "annotations_train.json"
        data = read_json(path, 'OVIS instances with "videos" and "annotations"')
        instances: dict[int, list] = {}
        needed = (
            '"videos" with "file_names", "height", "width"; "annotations" with "video_id", "segmentations"'
        )
        with laid_out(path, needed):
            for item in data["annotations"]:
                if not item.get("iscrowd", 0):
                    instances.setdefault(item["video_id"], []).append(item["segmentations"])
            self._videos = PackedList(
                self._entry(video, instances[video["id"]])
                for video in data["videos"]
                if video["id"] in instances
            )
        if not len(self):
            raise DatasetError(f"{path} holds nothing to train on")

    def _entry(self, video: dict[str, Any], instances: list[Any]) -> tuple[list[str], Size, list[list[Any]]]:
        names = [str(inside(Path(), name, "a frame")) for name in video["file_names"]]
        for item in instances:
            if not isinstance(item, list) or len(item) != len(names):
                raise ValueError(f"segmentations of {len(names)} frames are {shown(item)}")
        return names, (int(video["height"]), int(video["width"])), instances

    def __len__(self) -> int:
        return len(self._videos)

    def size(self, index: int) -> tuple[int, int]:
        return self._videos[index][1]

    def draw(self, index: int, rng: np.random.Generator) -> Drawn | None:
        names, size, instances = self._videos[index]
        pair = frame_pair(len(names), self._span, rng)
        seen = [] if pair is None else [item for item in instances if all(item[i] for i in pair)]
        if not seen:
            return None
        chosen = pick(seen, rng)
        return _clip(
            [read_image(self._folder / names[i]) for i in pair],
            [decode_segmentation(chosen[i], size) for i in pair],
            [names[i] for i in pair],
        )


class ReferVideos:
    """Ref-YouTube-VOS: train/JPEGImages, train/Annotations, meta_expressions/train/meta_expressions.json. An
    item is an object of a video with all its expressions."""

    has_masks = True

    def __init__(self, root: Path, span: int) -> None:
        self._span = span
        self._source = RefYoutubeVos(root, "train")
        phrases: dict[tuple[str, int], list[str]] = {}
        for video in self._source.video_ids:
            for expression in self._source.expressions(video):
                if expression.object_id:
                    phrases.setdefault((video, expression.object_id), []).append(expression.text)
        self._items = PackedList((*key, texts) for key, texts in phrases.items())
        self._sizes: dict[str, tuple[int, int]] = {}
        if not len(self):
            raise DatasetError(
                f"{root / 'meta_expressions' / 'train' / 'meta_expressions.json'} has no expression with "
                '"obj_id": expected the train split'
            )

    def __len__(self) -> int:
        return len(self._items)

    def size(self, index: int) -> tuple[int, int]:
        video = self._items[index][0]
        if video not in self._sizes:
            self._sizes[video] = self._source.video(video).size()
        return self._sizes[video]

    def draw(self, index: int, rng: np.random.Generator) -> Drawn | None:
        name, number, phrases = self._items[index]
        frames, masks = _annotated(self._source.folder, name)
        pair = frame_pair(len(masks), self._span, rng)
        if pair is None:
            return None
        stems = [list(masks)[i] for i in pair]
        shown = [read_labels(masks[stem]) == number for stem in stems]
        return _clip([read_image(frames[stem]) for stem in stems], shown, stems, pick(phrases, rng))


def _annotated(folder: Path, video: str) -> tuple[dict[str, Path], dict[str, Path]]:
    """Frames and label images of a video by stem; every label image has its frame, else DatasetError."""
    frames = list_frames(folder / "JPEGImages" / video)
    masks = list_annotations(folder / "Annotations" / video)
    for stem, path in masks.items():
        if stem not in frames:
            raise DatasetError(f"{path} has no frame: expected {folder / 'JPEGImages' / video / stem}.jpg")
    return frames, masks


def _clip(
    images: list[np.ndarray], masks: list[np.ndarray], names: list[str], phrase: str = ""
) -> Drawn | None:
    """Two frames with an object; None where either does not show it."""
    for image, mask, name in zip(images, masks, names, strict=True):
        if image.shape[:2] != mask.shape:
            raise DatasetError(
                f"frame {name} has {image.shape[0]}x{image.shape[1]} pixels, its mask "
                f"{mask.shape[0]}x{mask.shape[1]}"
            )
    frames = [frame_of(image, mask) for image, mask in zip(images, masks, strict=True)]
    if any(frame is None for frame in frames):
        return None
    return Drawn(tuple(frames), phrase)
