"""Build the sprite pack from what `fetch` unpacked: `build_pack()`. Each source is optional."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from .fetch import default_cache, unpacked
from .sprites import PackWriter, bleed_edges, trim
from .stamp_list import stamps

log = logging.getLogger(__name__)

PACK_NAME = "sprites.npz"
_LONGEST = 224
_BACKGROUND_LONGEST = 900
_WALLPAPERS = ("gnome-backgrounds", "mate-backgrounds", "lomiri-16.04", "lomiri-20.04", "ukui-wallpapers", "plasma-wallpapers")
# Drawings, logos and near-empty pictures among the wallpapers; matched against the path.
_NOT_PHOTOS = ("symbolic", "vnc", "mate/abstract", "mate/desktop", "screenshot", "konqui", "desert", "city.", "firstgen", "rollpaper",
               "the-mouse", "goldfish", "kay", "grey", "icecold", "elarun", "cluster", "flow/", "pixels", "fluent-color", "licorice")  # fmt: skip


def pack_path(cache_dir: Path | str | None = None) -> Path:
    """Where `build_pack` puts the pack."""
    return (Path(cache_dir) if cache_dir else default_cache()) / PACK_NAME


def read_rgba(path: Path) -> np.ndarray | None:
    """A picture file as uint8 RGBA, or None if it cannot be read."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8:
        return None
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGRA)
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGBA)


def add_stamps(writer: PackWriter, folder: Path) -> int:
    """The photographic stamps of tuxpaint. Returns how many."""
    root = folder / "usr/share/tuxpaint/stamps"
    before = len(writer.sprites)
    for path, noun, natural in stamps():
        image = read_rgba(root / f"{path}.png")
        image = None if image is None else trim(bleed_edges(image), _LONGEST)
        if image is None:
            log.debug("stamp %s is missing or empty", path)
            continue
        writer.add_sprite(noun, [image], "tuxpaint", natural=natural, title=path)
    return len(writer.sprites) - before


def add_wallpapers(writer: PackWriter, folder: Path, source: str) -> int:
    """The photographs of a wallpaper package, one size of each. Returns how many."""
    chosen: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        lowered = str(path.relative_to(folder)).lower()
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp") or any(word in lowered for word in _NOT_PHOTOS):
            continue
        key = path.parts[-4] if "contents" in path.parts else path.stem.split("_3840")[0].split("_5640")[0]
        chosen[key] = max(chosen.get(key, path), path, key=lambda p: p.stat().st_size)
    for key, path in chosen.items():
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            continue
        scale = _BACKGROUND_LONGEST / max(image.shape[:2])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        writer.add_background(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), f"{source}/{key}", source)
    return len(chosen)


def build_pack(
    cache_dir: Path | str | None = None, path: Path | str | None = None, sources: Iterable[str] | None = None,
    progress: Callable[[str], None] = log.info,
) -> Path:  # fmt: skip
    """Pack the pictures of all sources that were fetched into one file and return its path.

    sources: keys to use (default: all). A source that was not fetched is left out with a warning.
    """
    cache = Path(cache_dir) if cache_dir else default_cache()
    adders: dict[str, Callable[[PackWriter, Path], int]] = {"tuxpaint": add_stamps}
    for key in _WALLPAPERS:
        adders[key] = lambda writer, folder, key=key: add_wallpapers(writer, folder, key)
    writer = PackWriter()
    for key in sources if sources is not None else adders:
        if key not in adders:
            raise KeyError(f"source {key!r} cannot be packed, expected some of {sorted(adders)}")
        folder = unpacked(cache, key)
        if not folder.is_dir():
            log.warning("%s was not fetched and is left out", key)
            continue
        progress(f"{key}: {adders[key](writer, folder)} pictures")
    target = Path(path) if path else pack_path(cache)
    writer.save(target)
    return target
