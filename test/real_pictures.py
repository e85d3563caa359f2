"""Small real sets for tests: COCO-style folders of coloured squares, and packs imported from them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from uniref_model.datasets.importing import import_set
from uniref_model.datasets.plain import INDEX

COLOURS = {"red": (200, 30, 30), "blue": (30, 40, 200), "yellow": (230, 210, 30)}


def draw(things: list[tuple[str, tuple[int, int, int, int]]], shape=(120, 160)) -> np.ndarray:
    image = np.full((*shape, 3), 128, np.uint8)
    for colour, (x, y, w, h) in things:
        image[y : y + h, x : x + w] = COLOURS[colour]
    return image


def square(x: int, y: int, w: int, h: int) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def coco(
    folder: Path, pictures: dict[str, list[tuple[str, str, tuple[int, int, int, int]]]], **extra
) -> Path:
    """A COCO-style folder: file name -> (category, colour, x y w h) of its things."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted({name for things in pictures.values() for name, _, _ in things})
    images, notes = [], []
    for number, (file, things) in enumerate(pictures.items(), 1):
        cv2.imwrite(str(folder / file), draw([(c, b) for _, c, b in things])[..., ::-1])
        images.append({"id": number, "file_name": file, "height": 120, "width": 160})
        for name, _, box in things:
            notes.append(
                {"image_id": number, "category_id": names.index(name), "segmentation": square(*box)} | extra
            )
    categories = [{"id": i, "name": name, "supercategory": "none"} for i, name in enumerate(names)]
    path = folder / "_annotations.coco.json"
    path.write_text(json.dumps({"images": images, "annotations": notes, "categories": categories}))
    return path


MUG, BOX = ("coffee_mug", "red", (20, 20, 40, 40)), ("box", "blue", (90, 50, 50, 50))


def pack_of(root: Path, pictures: dict | None = None, *, group: bool = True) -> Path:
    """A pack of ten pictures: a mug in all, alone or with a box. group: it is the same mug."""
    both = {f"{i}.png": [MUG, BOX] if i % 2 else [MUG] for i in range(10)}
    import_set(coco(root / "raw", pictures or both), root / "pack" / "mine")
    if group:
        index = root / "pack" / "mine" / INDEX
        rows = [json.loads(line) for line in index.read_text().splitlines()]
        index.write_text(
            "".join(
                json.dumps(row | ({"group": "my mug"} if row["name"] == "coffee mug" else {})) + "\n"
                for row in rows
            )
        )
    return root / "pack"


def edit(pack: Path, line: int, **changes) -> None:
    index = next(pack.glob(f"*/{INDEX}"))
    rows = [json.loads(text) for text in index.read_text().splitlines()]
    rows[line] |= changes
    index.write_text("".join(json.dumps(row) + "\n" for row in rows))
