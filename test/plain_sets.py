"""A tiny pack of pictures in the plain layout: coloured blocks with masks and names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 60, 230)}


def make_pack(folder: Path) -> Path:
    """Two sets: `blocks` with a red and a blue block in each of six pictures, the last of them `val`; `green`
    with one green block in each of three, all of one group, the first of them `train`."""
    for index in range(6):
        blocks = [("red", (10 + 4 * index, 12, 30, 24)), ("blue", (60, 30 - 2 * index, 26, 30))]
        add_picture(folder / "blocks", f"{index}", blocks, split="val" if index == 5 else "train")
    for index in range(3):
        split = "val" if index else "train"
        add_picture(
            folder / "green", f"{index}", [("green", (20 + 9 * index, 20, 40, 30))], split=split, group="g"
        )
    return folder


def add_picture(folder: Path, name: str, blocks: list, **more: Any) -> None:
    """One picture of 96x64 pixels; blocks: (colour, (x, y, w, h))."""
    image, labels = np.full((64, 96, 3), 128, np.uint8), np.zeros((64, 96), np.uint8)
    rows = []
    for value, (colour, (x, y, w, h)) in enumerate(blocks, 1):
        image[y : y + h, x : x + w], labels[y : y + h, x : x + w] = COLOURS[colour], value
        rows.append(
            {
                "file": f"images/{name}.png",
                "mask": f"masks/{name}.png",
                "value": value,
                "name": f"{colour} block",
                "names": [f"{colour} block", "block"],
                "width": 96,
                "height": 64,
                "area": w * h,
                "complete": True,
                **more,
            }
        )
    for kind, picture in (("images", image[..., ::-1]), ("masks", labels)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / kind / f"{name}.png"), picture)
    with (folder / "index.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
