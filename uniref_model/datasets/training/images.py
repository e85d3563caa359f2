"""Still pictures: Visual Genome's region descriptions, RefCOCO/+/g, COCO."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from uniref_model.datasets.errors import DatasetError, laid_out
from uniref_model.datasets.evaluation.base import read_json, said
from uniref_model.datasets.evaluation.refcoco import RefCoco, read_refs
from uniref_model.datasets.names import inside
from uniref_model.datasets.outlines import decode_segmentation
from uniref_model.datasets.pngs import read_image
from uniref_model.datasets.training.base import Drawn, Frame, PackedList, frame_of, pick

REFCOCO_SPLITS = (("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd"))
"""The three data sets and whose split of each the paper uses."""


class Coco:
    """COCO 2017: annotations/instances_train2017.json and train2017/. An item is an image; its objects are
    the annotations that are not crowds."""

    has_masks = True

    def __init__(self, root: Path, split: str = "train2017") -> None:
        self._path = root / "annotations" / f"instances_{split}.json"
        self._folder = _folder(root / split, "COCO's images")
        data = read_json(self._path, 'COCO instances with "images" and "annotations"')
        objects: dict[int, list[Any]] = {}
        needed = '"images" with "file_name", "height", "width"; "annotations" with "image_id", "segmentation"'
        with laid_out(self._path, needed):
            for item in data["annotations"]:
                if not item.get("iscrowd", 0):
                    objects.setdefault(item["image_id"], []).append(item["segmentation"])
            self._items = PackedList(
                (image["file_name"], (int(image["height"]), int(image["width"])), objects[image["id"]])
                for image in data["images"]
                if image["id"] in objects
            )
        _not_empty(self, self._path)

    def __len__(self) -> int:
        return len(self._items)

    def size(self, index: int) -> tuple[int, int]:
        return self._items[index][1]

    def draw(self, index: int, rng: np.random.Generator) -> Drawn | None:
        name, size, objects = self._items[index]
        image = _read(inside(self._folder, name, "an image"), size)
        frame = frame_of(image, decode_segmentation(pick(objects, rng), size))
        return None if frame is None else Drawn((frame,))


class ReferCoco:
    """The training splits of RefCOCO, RefCOCO+ and RefCOCOg as one data set, in the REFER layout. An item is
    a referred object with all its expressions.

    exclude_evaluation: leave out images of any of the three validation or test splits.
    """

    has_masks = True

    def __init__(self, root: Path, exclude_evaluation: bool = False) -> None:
        excluded = evaluation_images(root) if exclude_evaluation else frozenset()
        self._items = PackedList(
            (str(sample.path), sample.size, sample.phrases, sample.truth)
            for name, split_by in REFCOCO_SPLITS
            for sample in RefCoco(root, name, split_by, "train")
            if _coco_id(sample.path) not in excluded
        )
        _not_empty(self, root)

    def __len__(self) -> int:
        return len(self._items)

    def size(self, index: int) -> tuple[int, int]:
        return self._items[index][1]

    def draw(self, index: int, rng: np.random.Generator) -> Drawn | None:
        path, size, phrases, truth = self._items[index]
        frame = frame_of(_read(Path(path), size), decode_segmentation(truth, size))
        return None if frame is None else Drawn((frame,), pick(phrases, rng))


class VisualGenome:
    """Visual Genome 1.2 or 1.4: image_data.json, region_descriptions.json, VG_100K/ and VG_100K_2/. An item
    is a region: a box and its phrase. There are no masks.

    excluded: COCO ids of images to leave out (about half of Visual Genome's images are COCO's).
    """

    has_masks = False

    def __init__(self, root: Path, excluded: frozenset[int] = frozenset()) -> None:
        self._root = root
        position = self._read_images(root / "image_data.json", excluded)
        self._read_regions(root / "region_descriptions.json", position)
        _not_empty(self, root / "region_descriptions.json")

    def __len__(self) -> int:
        return len(self._image)

    def size(self, index: int) -> tuple[int, int]:
        return self._images[self._image[index]][1]

    def draw(self, index: int, rng: np.random.Generator) -> Drawn | None:
        name, size = self._images[self._image[index]]
        start = self._ends[index - 1] if index else 0
        phrase = self._text[start : self._ends[index]].tobytes().decode()
        box = tuple(float(v) for v in self._boxes[index])
        return Drawn((Frame(_read(inside(self._root, name, "an image"), size), None, box),), phrase)

    def _read_images(self, path: Path, excluded: frozenset[int]) -> dict[int, int]:
        """Fill the table of images; returns the row of every image id."""
        data = read_json(path, "Visual Genome's list of images")
        rows: dict[int, int] = {}
        images = []
        with laid_out(path, 'entries with "image_id", "url", "height" and "width"'):
            for item in data:
                if item.get("coco_id") not in excluded or item.get("coco_id") is None:
                    number = int(item.get("image_id", item.get("id")))
                    rows[number] = len(images)
                    # the url's last folder, VG_100K or VG_100K_2, is the archive that holds the image
                    folder = PurePosixPath(item["url"]).parent.name
                    images.append((f"{folder}/{number}.jpg", (int(item["height"]), int(item["width"]))))
        self._images = PackedList(images)
        return rows

    def _read_regions(self, path: Path, rows: dict[int, int]) -> None:
        data = read_json(path, "Visual Genome's region descriptions")
        image, boxes, texts = [], [], []
        needed = 'entries with "regions" of "image_id", "x", "y", "width", "height", "phrase"'
        with laid_out(path, needed):
            for entry in data:
                for region in entry["regions"]:
                    row = rows.get(int(region["image_id"]))
                    if row is None:
                        continue
                    box = _clip(region, self._images[row][1])
                    text = said(region["phrase"]).strip().encode()
                    if box is not None and text:
                        image.append(row)
                        boxes.append(box)
                        texts.append(text)
        # arrays, for five million regions
        self._image = np.asarray(image, np.int32)
        self._boxes = np.asarray(boxes, np.int32).reshape(-1, 4)
        self._ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        self._text = np.frombuffer(b"".join(texts), np.uint8)


def evaluation_images(root: Path) -> frozenset[int]:
    """COCO ids of the images in RefCOCO/+/g's validation and test splits, from REFER's files under `root`."""
    return frozenset(
        int(ref["image_id"])
        for name, split_by in REFCOCO_SPLITS
        for ref in read_refs(root / name / f"refs({split_by}).p")
        if ref["split"] != "train"
    )


def _clip(region: dict[str, Any], size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """A region's box inside its image; None where less than a pixel is left."""
    x0, y0 = max(int(region["x"]), 0), max(int(region["y"]), 0)
    x1 = min(int(region["x"]) + int(region["width"]), size[1])
    y1 = min(int(region["y"]) + int(region["height"]), size[0])
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def _coco_id(path: Path) -> int:
    """The image id of a COCO file name, such as COCO_train2014_000000000009.jpg."""
    return int(path.stem.rsplit("_", 1)[-1])


def _read(path: Path, size: tuple[int, int]) -> np.ndarray:
    image = read_image(path)
    if image.shape[:2] != size:
        raise DatasetError(
            f"{path} has {image.shape[0]}x{image.shape[1]} pixels, its annotation says {size[0]}x{size[1]}"
        )
    return image


def _folder(path: Path, what: str) -> Path:
    if not path.is_dir():
        raise DatasetError(f"missing folder {path}: expected {what}")
    return path


def _not_empty(dataset: Any, path: Path) -> None:
    if not len(dataset):
        raise DatasetError(f"{path} holds nothing to train on")
