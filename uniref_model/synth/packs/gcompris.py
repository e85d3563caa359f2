"""Photographs out of gcompris: resource files, cut-outs of objects on plain ground, background pictures."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..archives import decode_picture, inflate

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
# Photographs of one thing where it was: file (without .webp), noun, and a box round it drawn by eye (left,
# top, right, bottom as fractions of the picture), from which GrabCut finds the thing.
SCENES: dict[str, tuple[str, float, float, float, float]] = {
    "dog": ("dog", 0.03, 0.02, 0.91, 0.94),
    "cow": ("cow", 0.24, 0.36, 0.91, 0.9),
    "cat": ("cat", 0.19, 0.13, 1, 0.73),
    "sheep": ("sheep", 0.22, 0.1, 0.72, 0.92),
    "duck": ("duck", 0.12, 0.2, 0.8, 0.9),
    "owl": ("owl", 0.52, 0.19, 0.81, 0.97),
    "pig": ("pig", 0.15, 0.21, 0.62, 0.83),
    "crocodile": ("crocodile", 0.06, 0.19, 0.9, 0.83),
    "koala": ("koala", 0.36, 0.2, 0.86, 0.85),
    "bison": ("bison", 0.19, 0.11, 0.82, 0.72),
    "hedgehog": ("hedgehog", 0.19, 0.17, 0.87, 0.81),
    "kangaroo": ("kangaroo", 0.27, 0.02, 0.58, 0.9),
    "moose": ("moose", 0.12, 0.17, 0.8, 0.9),
    "panda": ("panda", 0.2, 0.07, 0.85, 0.82),
    "polar_bear": ("polar bear", 0.28, 0.31, 0.81, 0.76),
    "scarlet_macaw": ("parrot", 0.22, 0.1, 0.9, 0.85),
    "chair": ("chair", 0.13, 0.08, 0.9, 0.9),
    "bulb": ("light bulb", 0.24, 0.22, 0.76, 0.9),
    "plate": ("plate", 0.21, 0.14, 0.8, 0.92),
    "cup": ("cup", 0.07, 0.07, 0.9, 0.9),
    "bucket": ("basket", 0.08, 0.05, 0.93, 0.95),
    "scissors2": ("scissors", 0.02, 0.03, 1, 0.96),
    "scissors3": ("scissors", 0.05, 0.3, 0.97, 0.96),
    "wrench1": ("wrench", 0.06, 0.24, 0.94, 0.69),
    "screwDriver2": ("screwdriver", 0.2, 0.03, 0.84, 0.95),
    "screwDriver": ("screwdriver", 0.03, 0.15, 0.96, 0.87),
    "hammer4": ("hammer", 0.1, 0.32, 0.9, 0.73),
    "hammer1": ("hammer", 0.09, 0.08, 0.94, 0.92),
    "measuringTape5": ("tape measure", 0.02, 0.05, 0.97, 0.58),
    "measuringTape6": ("tape measure", 0.08, 0.1, 0.9, 0.88),
    "multimeter2": ("multimeter", 0.1, 0.02, 0.88, 0.92),
    "windmill5": ("windmill", 0.13, 0.02, 0.73, 0.82),
    "windmill14": ("windmill", 0.25, 0.03, 0.88, 0.85),
    "windmill12": ("windmill", 0.29, 0.16, 0.68, 0.93),
    "windmill1": ("windmill", 0.28, 0.15, 0.72, 0.86),
    "windmill9": ("windmill", 0.1, 0.05, 0.96, 0.85),
    "solar7": ("solar panel", 0.11, 0.12, 0.96, 1),
    "statueOfLiberty": ("statue", 0.22, 0.07, 0.74, 1),
    "eiffelTower": ("tower", 0.16, 0.1, 0.85, 0.92),
    "arcDeTriomphe": ("arch", 0.19, 0.13, 0.81, 0.88),
    "leaningTowerOfPisa": ("tower", 0.2, 0.05, 0.63, 0.9),
    "tajMahal": ("building", 0.1, 0.08, 0.92, 0.75),
    "colosseum": ("building", 0.05, 0.1, 0.97, 0.88),
    "christTheRedeemer": ("statue", 0.3, 0.1, 0.62, 0.6),
    "fish16": ("fish", 0.08, 0.25, 1, 0.65),
    "fish18": ("fish", 0.05, 0.1, 0.95, 0.85),
    "fish12": ("fish", 0.16, 0.32, 0.85, 0.63),
    "fish19": ("fish", 0.08, 0.07, 0.97, 0.87),
    "fish13": ("fish", 0.08, 0.18, 1, 0.82),
    "fish15": ("fish", 0.23, 0.29, 0.79, 0.57),
    "fish26": ("fish", 0.17, 0.43, 0.87, 0.62),
    "fish28": ("fish", 0.12, 0.27, 0.73, 0.87),
    "fish27": ("fish", 0.18, 0.29, 0.92, 0.62),
    "fish22": ("fish", 0.13, 0.3, 0.98, 0.66),
    "fish24": ("fish", 0.31, 0.28, 0.8, 0.63),
    "fish25": ("fish", 0, 0.05, 0.98, 0.97),
    "fish21": ("fish", 0.12, 0.3, 0.87, 0.67),
    "fish1": ("fish", 0.14, 0.05, 0.93, 0.87),
    "fish2": ("fish", 0.15, 0.36, 0.86, 0.57),
    "fish3": ("fish", 0.05, 0.28, 0.88, 0.65),
    "georgeWashingtonBirthplace": ("house", 0.08, 0.1, 0.9, 0.8),
    "lincolnMemorial": ("temple", 0.03, 0.02, 0.97, 0.88),
    "statueofLiberty": ("statue", 0.22, 0.02, 0.8, 0.98),
    "greatPyramidOfGiza": ("pyramid", 0.01, 0.07, 0.99, 0.96),
    "bentPyramid": ("pyramid", 0.22, 0.2, 0.92, 0.72),
    "redPyramid": ("pyramid", 0.12, 0.27, 0.9, 0.7),
    "greatStupa": ("temple", 0.07, 0.02, 0.98, 0.85),
    "gatewayofIndia": ("gate", 0.1, 0.1, 0.75, 0.75),
    "rangGhar": ("building", 0.06, 0.02, 0.9, 0.95),
    "victoriaMemorial": ("palace", 0.08, 0.1, 0.95, 0.8),
    "goldenTemple": ("temple", 0.25, 0.28, 0.72, 0.72),
    "qutubMinar": ("tower", 0.38, 0.1, 0.62, 0.95),
    "pontduGard": ("bridge", 0.03, 0.2, 0.98, 0.8),
    "chateaudeChenonceau": ("castle", 0.22, 0.08, 0.95, 0.62),
    "montStMichel": ("castle", 0.42, 0.12, 0.9, 0.66),
    "berlinCathedral": ("church", 0.12, 0.1, 0.97, 0.88),
    "schwerinPalace": ("castle", 0.15, 0.25, 0.93, 0.85),
    "brandenburgGate": ("gate", 0.04, 0.02, 0.98, 0.95),
    "FanoeWindmill_background": ("windmill", 0.08, 0.05, 0.88, 0.88),
    "EgeskovSlotSpejling_background": ("castle", 0.15, 0.1, 0.87, 0.52),
    "EilanDonanCastle_background": ("castle", 0.4, 0.22, 0.8, 0.68),
    "Chenonceau_background": ("castle", 0.15, 0.15, 0.9, 0.72),
    "Nagoya_background": ("castle", 0.15, 0.06, 0.9, 0.85),
    "TourEiffel_background": ("tower", 0.15, 0.03, 0.85, 0.88),
    "Neuschwanstein_background": ("castle", 0.1, 0.06, 0.75, 0.82),
}
SCENE_FILES = (
    "categorization",
    "explore_farm_animals",
    "explore_world_animals",
    "explore_monuments",
    "details",
)
_SCENE_LONGEST = 480
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
        found[place] = inflate(content[4:]) if flags & _COMPRESSED else content

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


def scenes(folder: Path) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    """Photographs of named things in their surroundings: (file, noun, RGB, mask bool)."""
    found: dict[str, tuple[str, str, np.ndarray, np.ndarray]] = {}
    for path, content in (item for resource in SCENE_FILES for item in _pictures(folder, resource)):
        name = Path(path).stem
        image = _decode(content) if name in SCENES and name not in found else None
        if image is not None:
            noun, *box = SCENES[name]
            scale = _SCENE_LONGEST / max(image.shape[:2])
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            found[name] = (name, noun, image, grab(image, box))
    return list(found.values())


def grab(rgb: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The thing in a box (fractions) of a photograph uint8 [h,w,3], by GrabCut: bool [h,w]."""
    height, width = rgb.shape[:2]
    left, top = max(1, int(box[0] * width)), max(1, int(box[1] * height))
    right, bottom = min(width - 2, int(box[2] * width)), min(height - 2, int(box[3] * height))
    mask = np.zeros((height, width), np.uint8)
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    area = (left, top, right - left, bottom - top)
    cv2.grabCut(cv2.GaussianBlur(rgb, (0, 0), 1), mask, area, *models, 6, cv2.GC_INIT_WITH_RECT)
    inside = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    inside = cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(inside)
    if count < 2:
        return inside > 0
    large = [
        i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] > 0.15 * stats[1:, cv2.CC_STAT_AREA].max()
    ]
    whole = np.isin(parts, large).astype(np.uint8)
    return cv2.morphologyEx(whole, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0


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
    image = decode_picture(content, cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
