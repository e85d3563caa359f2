"""RefCOCO, RefCOCO+ and RefCOCOg in the REFER layout: <name>/instances.json, <name>/refs(<splitBy>).p and
COCO images."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...limits import MAX_ANNOTATION_BYTES
from ...reading import read_bytes
from ..errors import DatasetError, laid_out
from ..names import inside
from .base import ReferringImage, read_json, said

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
        with laid_out(self._instances_path, '"images" and "annotations" with ids'):
            self._images = {image["id"]: image for image in instances["images"]}
            self._annotations = {item["id"]: item for item in instances["annotations"]}
        folders = [self.root / name for name in IMAGE_FOLDERS]
        self._image_folder = next((path for path in folders if path.is_dir()), None)
        if self._image_folder is None:
            raise DatasetError(f"no COCO images: expected one of {', '.join(str(path) for path in folders)}")

    def __len__(self) -> int:
        return len(self._refs)

    def __iter__(self) -> Iterator[ReferringImage]:
        return (self._sample(ref) for ref in self._refs)

    def _sample(self, ref: dict[str, Any]) -> ReferringImage:
        with laid_out(self._instances_path, f"the image and annotation that {self._refs_path} refers to"):
            image, annotation = self._images[ref["image_id"]], self._annotations[ref["ann_id"]]
        with laid_out(self._instances_path, 'images of "file_name", "height", "width" and a "segmentation"'):
            path = inside(self._image_folder, image["file_name"], f"an image of {self._instances_path}")
            size, truth = (int(image["height"]), int(image["width"])), annotation["segmentation"]
        if not path.is_file():
            raise DatasetError(f"missing image {path}")
        with laid_out(self._refs_path, 'references with "sentences" of "sent"'):
            phrases = tuple(said(sentence["sent"]) for sentence in ref["sentences"])
        return ReferringImage(str(ref["ref_id"]), path, size, phrases, truth)


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
