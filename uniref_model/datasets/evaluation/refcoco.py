"""RefCOCO, RefCOCO+ and RefCOCOg in the REFER layout: <name>/instances.json, <name>/refs(<splitBy>).p and
COCO images."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import RuntimeUnavailable
from ...limits import MAX_ANNOTATION_BYTES
from ...reading import read_bytes
from ..errors import DatasetError
from ..names import inside
from .base import ReferringImage, read_json

IMAGE_FOLDERS = ("images/mscoco/images/train2014", "images/train2014", "train2014")
"""Where REFER's own set-up and common copies of it keep the COCO images."""


class RestrictedUnpickler(pickle.Unpickler):
    """Reads containers, numbers and text, and refuses everything else: a pickle can otherwise run any
    code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is not a plain container, number or text")


class RefCoco:
    """name: "refcoco", "refcoco+" or "refcocog"; split_by: whose split ("unc", "umd", "google"); split:
    "val", "testA", …

    Iterating yields one ReferringImage for each referred object of the split.
    """

    def __init__(self, root: Path, name: str, split_by: str, split: str) -> None:
        self.root = Path(root)
        folder = self.root / name
        self._refs_path = folder / f"refs({split_by}).p"
        refs = read_refs(self._refs_path)
        self._refs = [ref for ref in refs if ref["split"] == split]
        if not self._refs:
            known = ", ".join(sorted({str(ref["split"]) for ref in refs}))
            raise DatasetError(f"{self._refs_path} has no split {split!r}; it has {known or 'none'}")
        self._instances_path = folder / "instances.json"
        instances = read_json(self._instances_path, 'COCO instances with "images" and "annotations"')
        try:
            self._images = {image["id"]: image for image in instances["images"]}
            self._annotations = {item["id"]: item for item in instances["annotations"]}
        except (KeyError, TypeError) as error:
            raise DatasetError(
                f'{self._instances_path}: expected "images" and "annotations" with ids'
            ) from error
        folders = [self.root / name for name in IMAGE_FOLDERS]
        self._image_folder = next((path for path in folders if path.is_dir()), None)
        if self._image_folder is None:
            raise DatasetError(f"no COCO images: expected one of {', '.join(str(path) for path in folders)}")

    def __len__(self) -> int:
        return len(self._refs)

    def __iter__(self) -> Iterator[ReferringImage]:
        return (self._sample(ref) for ref in self._refs)

    def _sample(self, ref: dict[str, Any]) -> ReferringImage:
        try:
            image, annotation = self._images[ref["image_id"]], self._annotations[ref["ann_id"]]
        except KeyError as error:
            raise DatasetError(
                f"{self._instances_path} lacks id {error}, to which {self._refs_path} refers"
            ) from error
        path = inside(self._image_folder, image["file_name"], f"an image of {self._instances_path}")
        if not path.is_file():
            raise DatasetError(f"missing image {path}")
        return ReferringImage(
            id=str(ref["ref_id"]),
            path=path,
            size=(int(image["height"]), int(image["width"])),
            phrases=tuple(str(sentence["sent"]) for sentence in ref["sentences"]),
            truth=annotation["segmentation"],
        )


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """COCO polygons or RLE as a bool [h,w] mask, by COCO's own rasteriser. Raises RuntimeUnavailable without
    pycocotools."""
    try:
        from pycocotools import mask as coco
    except ImportError as error:
        raise RuntimeUnavailable(
            "RefCOCO's masks need pycocotools: install it, or this package with its 'eval' extra"
        ) from error
    if isinstance(segmentation, list):
        encoded = coco.merge(coco.frPyObjects(segmentation, *size))
    elif isinstance(segmentation["counts"], list):
        encoded = coco.frPyObjects(segmentation, *size)
    else:
        encoded = segmentation
    return coco.decode(encoded).astype(bool)


def read_refs(path: Path) -> list[dict[str, Any]]:
    """REFER's list of references. Raises DatasetError where the file is missing or something else."""
    if not path.is_file():
        raise DatasetError(f"missing file {path}: expected REFER's pickled list of references")
    try:
        # the published files were written by Python 2, whose byte strings hold Latin-1 at worst
        data = io.BytesIO(read_bytes(path, MAX_ANNOTATION_BYTES))
        refs = RestrictedUnpickler(data, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, AttributeError) as error:
        raise DatasetError(f"{path} is not a plain pickle of references: {error}") from error
    needed = {"ref_id", "ann_id", "image_id", "split", "sentences"}
    if not isinstance(refs, list) or not all(isinstance(ref, dict) and needed <= set(ref) for ref in refs):
        raise DatasetError(f"{path}: expected a list of references with {', '.join(sorted(needed))}")
    return refs
