"""Tiny data sets in the published layouts, made of moving rectangles, and labelled fake predictors for
them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from uniref_model.datasets.evaluation import ReferringImage, Video, decode_segmentation
from uniref_model.evaluation.presets import load_preset
from uniref_model.evaluation.runner import run_benchmark
from uniref_model.label_pngs import davis_palette

HEIGHT, WIDTH = 64, 96
SIDES = {1: (16, 20), 2: (12, 14)}
"""Object id -> (height, width) of its rectangle."""
WIDTH_1, WIDTH_2 = SIDES[1][1], SIDES[2][1]
SEEN, UNSEEN = "person", "unheard_of_thing"


def labels_at(index: int, ids: tuple[int, ...]) -> np.ndarray:
    """Label image of a frame: each object moves right by 2 pixels a frame, never touching the border or
    another."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for i in ids:
        height, width = SIDES[i]
        top, left = 6 + 26 * (i - 1), 8 + 2 * index
        labels[top : top + height, left : left + width] = i
    return labels


def write_frame(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.array([[90, 90, 90], [230, 60, 40], [40, 90, 230]], np.uint8)
    Image.fromarray(colours[labels]).save(path, quality=95)


def write_annotation(path: Path, labels: np.ndarray, palette: list[int] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    image.putpalette(palette or davis_palette())
    image.save(path)


def write_video(
    images: Path, annotations: Path | None, stems: list[str], starts: dict[int, int], published: bool = True
) -> None:
    """Frames and masks of one video. starts: object id -> index of the frame it appears in. Unless published,
    only the masks of the frames where an object appears are written, and only of that object."""
    for index, stem in enumerate(stems):
        labels = labels_at(index, tuple(i for i, start in starts.items() if index >= start))
        write_frame(images / f"{stem}.jpg", labels)
        new = [i for i, start in starts.items() if index == start]
        if annotations is not None and (published or new):
            shown = labels if published else np.where(np.isin(labels, new), labels, 0).astype(np.uint8)
            write_annotation(annotations / f"{stem}.png", shown)


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def make_davis(root: Path, videos: tuple[str, ...] = ("bear",), frames: int = 5) -> Path:
    stems = [f"{i:05d}" for i in range(frames)]
    for video in videos:
        images, masks = (root / kind / "480p" / video for kind in ("JPEGImages", "Annotations"))
        write_video(images, masks, stems, {1: 0, 2: 0})
    path = root / "ImageSets" / "2017" / "val.txt"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(videos) + "\n")
    return root


def make_davis16(root: Path, videos: tuple[str, ...] = ("bear",), frames: int = 5) -> Path:
    """As published: one object, marked 255, and a list of pictures and masks with a slash before them."""
    lines = []
    for video in videos:
        for index in range(frames):
            stem = f"480p/{video}/{index:05d}"
            labels = labels_at(index, (1,))
            write_frame(root / "JPEGImages" / f"{stem}.jpg", labels)
            path = root / "Annotations" / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 * labels).save(path)
            lines.append(f"/JPEGImages/{stem}.jpg /Annotations/{stem}.png ")
    path = root / "ImageSets" / "480p" / "val.txt"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")
    return root


def make_youtube_vos(
    root: Path, split: str = "valid", published: bool = False, starts: dict[int, int] | None = None
) -> Path:
    """One video, every fifth frame; by default object 2, of an unseen class, appears in the third."""
    starts = starts or {1: 0, 2: 2}
    stems = [f"{5 * i:05d}" for i in range(5)]
    folder = root / split
    write_video(folder / "JPEGImages" / "v1", folder / "Annotations" / "v1", stems, starts, published)
    objects = {
        str(i): {"category": {1: SEEN, 2: UNSEEN}[i], "frames": stems[start:]} for i, start in starts.items()
    }
    write_json(folder / "meta.json", {"videos": {"v1": {"objects": objects}}})
    return root


def make_lvos(root: Path, frame_nums: int = 4) -> Path:
    stems = [f"{1 + 5 * i:08d}" for i in range(5)]
    folder = root / "valid"
    write_video(folder / "JPEGImages" / "v1", folder / "Annotations" / "v1", stems, {1: 0})
    ranges = {"1": {"frame_range": {"start": "00000001", "end": "00000021", "frame_nums": str(frame_nums)}}}
    write_json(folder / "valid_meta.json", {"videos": {"v1": {"objects": ranges}}})
    return root


def make_ref_youtube_vos(root: Path, split: str = "valid", masks: bool = False) -> Path:
    stems = [f"{5 * i:05d}" for i in range(3)]
    videos = {}
    for video in ("v1", "held_back"):
        annotations = root / split / "Annotations" / video if masks else None
        write_video(root / split / "JPEGImages" / video, annotations, stems, {1: 0, 2: 0})
        phrases = {str(i - 1): {"exp": f"object {i}"} | ({"obj_id": str(i)} if masks else {}) for i in (1, 2)}
        videos[video] = {"expressions": phrases, "frames": stems}
    write_json(root / "meta_expressions" / split / "meta_expressions.json", {"videos": videos})
    held_back = {"held_back": videos["held_back"]}
    write_json(root / "meta_expressions" / "test" / "meta_expressions.json", {"videos": held_back})
    return root


def make_ref_davis(root: Path) -> Path:
    stems = [f"{i:05d}" for i in range(3)]
    folder = root / "valid"
    write_video(folder / "JPEGImages" / "bear", folder / "Annotations" / "bear", stems, {1: 0, 2: 0})
    phrases = {
        str(4 * (i - 1) + a): {"exp": f"object {i}", "obj_id": str(i)} for i in (1, 2) for a in range(4)
    }
    videos = {"bear": {"expressions": phrases, "frames": stems}}
    write_json(root / "meta_expressions" / "valid" / "meta_expressions.json", {"videos": videos})
    return root


def make_refcoco(root: Path) -> Path:
    """REFER's layout: two references to one image, by polygon and by uncompressed RLE, with three
    sentences."""
    labels = labels_at(0, (1, 2))
    name = "COCO_train2014_000000000009.jpg"
    write_frame(root / "images" / "mscoco" / "images" / "train2014" / name, labels)
    top, left = 6, 8
    height, width = SIDES[1]
    polygon = [left, top, left + width, top, left + width, top + height, left, top + height]
    columns = (labels == 2).ravel(order="F")
    changes = np.flatnonzero(np.diff(np.concatenate([[False], columns, [False]]).astype(np.int8)))
    counts = np.diff(np.concatenate([[0], changes, [columns.size]])).tolist()
    annotations = [
        {"id": 70, "image_id": 9, "segmentation": [[float(v) for v in polygon]]},
        {"id": 71, "image_id": 9, "segmentation": {"counts": counts, "size": [HEIGHT, WIDTH]}, "iscrowd": 1},
    ]
    image = {"id": 9, "file_name": name, "height": HEIGHT, "width": WIDTH}
    write_json(root / "refcoco" / "instances.json", {"images": [image], "annotations": annotations})

    def ref(ref_id: int, ann_id: int, sents: list[str], split: str) -> dict:
        sentences = [{"sent_id": i, "sent": s, "raw": s, "tokens": s.split()} for i, s in enumerate(sents)]
        return {"ref_id": ref_id, "ann_id": ann_id, "image_id": 9, "split": split, "sentences": sentences}

    refs = [
        ref(1, 70, ["object 1", "the red one"], "val"),
        ref(2, 71, ["object 2"], "val"),
        ref(3, 70, ["object 1"], "train"),
    ]
    (root / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    return root


class FakePredictor:
    """Knows the truth and answers it, changed in a labelled way, so that the right score can be computed by
    hand.

    shift: object id -> columns its masks are moved right. empty: (stem, object id) pairs that are left out.
    swap: answers object 1 where 2 is meant and the other way round. fail_at: raises when it reaches this
    stem, as a killed run would.
    """

    def __init__(
        self,
        shift: dict[int, int] | None = None,
        empty: set[tuple[str, int]] | None = None,
        swap: bool = False,
        fail_at: str | None = None,
        name: str = "fake",
    ) -> None:
        self.shift, self.empty, self.swap, self.fail_at, self.name = (
            shift or {},
            empty or set(),
            swap,
            fail_at,
            name,
        )
        self.calls: list[str] = []

    def describe(self) -> dict[str, str]:
        return {"predictor": self.name}

    def vos(self, video: Video):
        self.calls.append(video.id)
        known: set[int] = set()
        for stem in video.frames:
            known |= set(video.given(stem))
            if known:
                yield stem, self._answer(video, stem, known)

    def referring(self, video: Video, phrase: str):
        self.calls.append(f"{video.id}/{phrase}")
        wanted = int(phrase.split()[-1])
        for stem in video.frames:
            yield stem, (self._answer(video, stem, {1, 2}) == wanted).astype(np.uint8)

    def referring_together(self, video: Video, phrases):
        self.calls.append(f"{video.id}/{len(phrases)}")
        for stem in video.frames:
            yield stem, self._answer(video, stem, {1, 2})

    def image(self, sample: ReferringImage, phrase: str) -> np.ndarray:
        self.calls.append(phrase)
        truth = decode_segmentation(sample.truth, sample.size)
        return np.roll(truth, self.shift.get(int(sample.id), 0), axis=1)

    def _answer(self, video: Video, stem: str, known: set[int]) -> np.ndarray:
        if stem == self.fail_at:
            raise KeyboardInterrupt
        index = video.frames.index(stem)
        truth = video.labels(stem) if stem in video.annotations else labels_at(index, tuple(known))
        out = np.zeros_like(truth)
        for i in sorted(known):
            if (stem, i) not in self.empty:
                mask = np.roll(truth == i, self.shift.get(i, 0), axis=1)
                out[mask] = 3 - i if self.swap else i
        return out


def shifted_iou(width: int, by: int) -> float:
    """IoU of a rectangle with itself moved sideways."""
    return (width - by) / (width + by)


def run(name: str, root: Path, out: Path, predictor: FakePredictor, **changes) -> dict:
    """A preset's benchmark."""
    return run_benchmark(load_preset(name, **changes), root, predictor, out)
