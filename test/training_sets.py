"""The paper's training data sets, tiny, in exactly their published layouts: moving rectangles."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
from evaluation_data import (
    HEIGHT,
    WIDTH,
    labels_at,
    make_lvos,
    make_ref_youtube_vos,
    make_refcoco,
    make_youtube_vos,
    write_frame,
    write_json,
)

VG_PHRASES = ("the red box on the left", "a blue box")


def box_of(label: int, index: int = 0) -> tuple[int, int, int, int]:
    """x, y, width, height of a rectangle of `labels_at`."""
    rows, columns = np.nonzero(labels_at(index, (1, 2)) == label)
    return int(columns.min()), int(rows.min()), int(np.ptp(columns) + 1), int(np.ptp(rows) + 1)


def run_lengths(mask: np.ndarray) -> dict:
    """A mask as COCO's uncompressed run lengths, column by column, zeros first."""
    flat = mask.ravel(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
    counts = np.diff(np.concatenate([[0], changes, [flat.size]]))
    return {"counts": [int(c) for c in (counts if counts[-1] else counts[:-1])], "size": list(mask.shape)}


def polygon(label: int) -> list[float]:
    x, y, w, h = box_of(label)
    return [float(v) for v in (x, y, x + w, y, x + w, y + h, x, y + h)]


def make_visual_genome(root: Path) -> Path:
    """Version 1.4: two images in the two archives' folders; the second is also in COCO (id 9). Its regions:
    one per rectangle, one outside the image, one with a blank phrase."""
    images = []
    for number, folder, coco in ((1, "VG_100K_2", None), (2, "VG_100K", 9)):
        write_frame(root / folder / f"{number}.jpg", labels_at(0, (1, 2)))
        url = f"https://cs.stanford.edu/people/rak248/{folder}/{number}.jpg"
        images.append(
            {
                "width": WIDTH,
                "height": HEIGHT,
                "url": url,
                "image_id": number,
                "coco_id": coco,
                "flickr_id": None,
            }
        )
    write_json(root / "image_data.json", images)

    def region(number: int, image: int, box: tuple[int, int, int, int], phrase: str) -> dict:
        x, y, width, height = box
        return {
            "region_id": number, "image_id": image, "phrase": phrase,
            "x": x, "y": y, "width": width, "height": height,
        }  # fmt: skip

    entries = []
    for image in (1, 2):
        regions = [region(10 * image + i, image, box_of(i), VG_PHRASES[i - 1]) for i in (1, 2)]
        regions.append(region(10 * image + 3, image, (WIDTH + 5, 0, 9, 9), "outside"))
        regions.append(region(10 * image + 4, image, box_of(1), "  "))
        entries.append({"id": image, "regions": regions})
    write_json(root / "region_descriptions.json", entries)
    return root


def make_coco(root: Path) -> Path:
    """Two images: one with both rectangles and a crowd, one without objects."""
    images = []
    for number, labels in ((1, labels_at(0, (1, 2))), (2, labels_at(0, ()))):
        name = f"{number:012d}.jpg"
        write_frame(root / "train2017" / name, labels)
        images.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
    crowd = {"counts": [0, HEIGHT * WIDTH], "size": [HEIGHT, WIDTH]}
    objects = [(1, [polygon(1)], 0), (18, run_lengths(labels_at(0, (2,)) == 2), 0), (1, crowd, 1)]
    annotations = [
        {
            "id": i,
            "image_id": 1,
            "category_id": c,
            "iscrowd": crowd,
            "segmentation": s,
            "bbox": list(box_of(1)),
        }
        for i, (c, s, crowd) in enumerate(objects)
    ]
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
    value = {"images": images, "annotations": annotations, "categories": categories}
    write_json(root / "annotations" / "instances_train2017.json", value)
    return root


def make_refcoco_all(root: Path) -> Path:
    """RefCOCO, RefCOCO+ and RefCOCOg (umd), each with one referred object in its train split."""
    make_refcoco(root)
    refs = pickle.loads((root / "refcoco" / "refs(unc).p").read_bytes())
    for name, split_by in (("refcoco+", "unc"), ("refcocog", "umd")):
        shutil.copytree(root / "refcoco", root / name)
        (root / name / "refs(unc).p").unlink()
        (root / name / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, protocol=2))
    return root


def make_train_lvos(root: Path) -> Path:
    """LVOS's train split: the same layout as its validation split."""
    make_lvos(root)
    (root / "valid").rename(root / "train")
    (root / "train" / "valid_meta.json").rename(root / "train" / "train_meta.json")
    return root


def make_ovis(root: Path) -> Path:
    """One video of four frames; instance 2, of another category, is not seen in the last two."""
    names = [f"v1/img_{i + 1:07d}.jpg" for i in range(4)]
    for index, name in enumerate(names):
        write_frame(root / "train" / name, labels_at(index, (1, 2) if index < 2 else (1,)))

    def instance(label: int, category: int) -> dict:
        shown = range(4) if label == 1 else range(2)
        masks = [run_lengths(labels_at(i, (label,)) == label) if i in shown else None for i in range(4)]
        return {
            "id": label, "video_id": 1, "category_id": category, "iscrowd": 0, "segmentations": masks,
            "bboxes": [None] * 4, "areas": [None] * 4, "height": HEIGHT, "width": WIDTH, "length": 1,
        }  # fmt: skip

    video = {"id": 1, "width": WIDTH, "height": HEIGHT, "length": 4, "file_names": names}
    categories = [{"id": 1, "name": "Person"}, {"id": 13, "name": "Sheep"}]
    value = {"videos": [video], "annotations": [instance(1, 1), instance(2, 13)], "categories": categories}
    write_json(root / "annotations_train.json", value)
    return root


def make_all(data: Path) -> Path:
    """A data folder with all of them under the names that the stages' configs use."""
    make_visual_genome(data / "visual_genome")
    make_coco(data / "coco")
    make_refcoco_all(data / "refcoco")
    make_youtube_vos(data / "youtube_vos_2019", "train", published=True)
    make_train_lvos(data / "lvos")
    make_ovis(data / "ovis")
    make_ref_youtube_vos(data / "ref_youtube_vos", "train", masks=True)
    return data


TINY_TEXT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
"""A text encoder in place of MiniLM's sizes, for tests that can put it there."""


def write_tiny_model(path: Path, text_hidden: int) -> Path:
    """A network small enough to be trained in a test of a few seconds."""
    values = {
        "name": "tiny",
        "hidden": 32,
        "backbone": {"name": "test_resnet", "channels": [32, 48, 192, 96]},
        "text": {"encoder": "minilm-l6", "hidden": text_hidden, "max_words": 12},
        "value_encoder": {"stem": 8, "widths": [8, 16, 16, 16], "blocks": [1, 1, 1, 1], "gate_hidden": 4},
        "fusion": {"heads": 2, "head_channels": 16},
        "transformer": {
            "encoder_layers": 1, "decoder_layers": 2, "heads": 2, "points": 2, "ffn": 32, "queries": 12,
        },
        "mask_head": {"reduce": 16},
    }  # fmt: skip
    path.write_text(json.dumps(values))
    return path
