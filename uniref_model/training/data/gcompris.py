"""Photographs out of gcompris: resource files, cut-outs of objects on plain ground, background pictures."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

# Photographs on a plain ground, chosen by eye: file (without .webp) and noun.
CUT_OUTS = {
    "scissors1": "scissors",
    "scissors4": "scissors",
    "cuttingTool": "pliers",
    "plier1": "pliers",
    "plier2": "pliers",
    "plier4": "pliers",
    "hammer2": "hammer",
    "hammer5": "hammer",
    "hammer6": "hammer",
    "hammer7": "hammer",
    "hammer8": "hammer",
    "wrench": "wrench",
    "spray": "bottle",
    "measuringTape2": "tape measure",
    "measuringTape4": "tape measure",
    "pencil": "pencil",
    "weighingMachine": "scale",
    "volleyball": "ball",
}
_COMPRESSED, _FOLDER = 1, 2


def read_resources(path: Path) -> dict[str, bytes]:
    """Files of a Qt resource file (.rcc, zlib or plain) by path. Raises ValueError for another format."""
    data = path.read_bytes()
    if data[:4] != b"qres":
        raise ValueError(f"{path} is not a Qt resource file (starts with {data[:4]!r})")
    version, tree, blobs, names = struct.unpack(">4I", data[4:20])
    node = 14 if version < 2 else 22
    found: dict[str, bytes] = {}

    def name(offset: int) -> str:
        (length,) = struct.unpack_from(">H", data, names + offset)
        return data[names + offset + 6 : names + offset + 6 + 2 * length].decode("utf-16-be")

    def walk(index: int, parent: str) -> None:
        at = tree + index * node
        name_at, flags = struct.unpack_from(">IH", data, at)
        place = f"{parent}/{name(name_at)}" if index else ""
        if flags & _FOLDER:
            count, first = struct.unpack_from(">II", data, at + 6)
            for child in range(first, first + count):
                walk(child, place)
            return
        (offset,) = struct.unpack_from(">I", data, at + 10)
        (length,) = struct.unpack_from(">I", data, blobs + offset)
        content = data[blobs + offset + 4 : blobs + offset + 4 + length]
        found[place] = zlib.decompress(content[4:]) if flags & _COMPRESSED else content

    walk(0, "")
    return found


def cut_out(rgb: np.ndarray, tolerance: int = 14) -> np.ndarray | None:
    """Cut an object off its plain ground: what is not reached from the border by a flood fill.

    rgb uint8 [h,w,3]. Returns RGBA uint8 [h,w,4], or None when the ground is not plain or little is left.
    """
    padded = cv2.copyMakeBorder(rgb, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    rim = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]]).astype(np.int16)
    ground = np.median(rim, axis=0)
    if (np.abs(rim - ground).max(1) < 2.5 * tolerance).mean() < 0.75:
        return None
    padded[[0, -1]] = ground
    padded[:, [0, -1]] = ground
    height, width = padded.shape[:2]
    reached = np.zeros((height + 2, width + 2), np.uint8)
    step = (tolerance,) * 3
    flags = 8 | (255 << 8) | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE
    cv2.floodFill(padded, reached, (0, 0), 0, tuple(2 * s for s in step), tuple(2 * s for s in step), flags)
    object_mask = cv2.bitwise_not(reached)[2:-2, 2:-2]
    object_mask = cv2.morphologyEx(object_mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats((object_mask > 127).astype(np.uint8))
    if count < 2:
        return None
    keep = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    share = stats[keep, cv2.CC_STAT_AREA] / parts.size
    if not 0.03 < share < 0.9:
        return None
    alpha = cv2.GaussianBlur(((parts == keep) * 255).astype(np.uint8), (0, 0), 0.7)
    return np.dstack([rgb, alpha])


def photographs(folder: Path) -> list[tuple[str, np.ndarray]]:
    """Cut-outs of the package unpacked at `folder`: (noun, RGBA)."""
    found = []
    for path, content in _pictures(folder, "categorization"):
        noun = CUT_OUTS.get(Path(path).stem)
        if noun is not None:
            image = cut_out(_decode(content))
            if image is not None:
                found.append((noun, image))
    return found


def scenery(folder: Path) -> list[tuple[str, np.ndarray]]:
    """Photographs of buildings and landscapes, for backgrounds: (name, RGB)."""
    found = []
    for resource in ("explore_monuments", "details"):
        for path, content in _pictures(folder, resource):
            if resource == "details" and "background" not in path:
                continue
            image = _decode(content)
            if image is not None and max(image.shape[:2]) >= 480:
                found.append((Path(path).stem, image))
    return found


def _pictures(folder: Path, resource: str) -> list[tuple[str, bytes]]:
    path = next(iter(folder.rglob(f"{resource}.rcc")), None)
    if path is None:
        return []
    return [(name, data) for name, data in read_resources(path).items() if name.endswith(".webp")]


def _decode(content: bytes) -> np.ndarray | None:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
