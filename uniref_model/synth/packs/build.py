"""Build the sprite pack from what `fetch` unpacked: `build_pack()`. Each source is optional."""

from __future__ import annotations

import json
import logging
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from ..rooms.build import ROOMS, add_rooms
from ..things import turntable
from ..things.names import KINDS, SYNONYMS
from . import gcompris
from .fetch import default_cache, unpacked
from .furniture_list import furniture_noun, is_natural
from .sprites import PackWriter, bleed_edges, trim, trim_together
from .stamp_list import stamps

log = logging.getLogger(__name__)

PACK_NAME = "sprites.npz"
_LONGEST = 224
_TURNTABLE_LONGEST = 176
_BAD_EMOJI = {"earth", "moon", "box", "christmas tree", "boy", "girl", "man", "woman", "speaker"}
_BACKGROUND_LONGEST = 900
_WALLPAPERS = (
    "gnome-backgrounds",
    "mate-backgrounds",
    "lomiri-16.04",
    "lomiri-20.04",
    "ukui-wallpapers",
    "plasma-wallpapers",
)
# Drawings, logos and near-empty pictures among the wallpapers; matched against the path.
_NOT_PHOTOS = (
    "symbolic",
    "vnc",
    "mate/abstract",
    "mate/desktop",
    "screenshot",
    "konqui",
    "desert",
    "city.",
    "firstgen",
    "rollpaper",
    "the-mouse",
    "goldfish",
    "kay",
    "grey",
    "icecold",
    "elarun",
    "cluster",
    "flow/",
    "pixels",
    "fluent-color",
    "licorice",
)


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
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp") or any(
            word in lowered for word in _NOT_PHOTOS
        ):
            continue
        key = path.parts[-4] if "contents" in path.parts else path.stem.split("_3840")[0].split("_5640")[0]
        chosen[key] = max(chosen.get(key, path), path, key=lambda p: p.stat().st_size)
    for key, path in chosen.items():
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            continue
        writer.add_background(_shrink(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), f"{source}/{key}", source)
    return len(chosen)


def _shrink(image: np.ndarray) -> np.ndarray:
    scale = _BACKGROUND_LONGEST / max(image.shape[:2])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image


def add_furniture(writer: PackWriter, folder: Path) -> int:
    """The 3-D models of the furniture package, rendered from all round. Returns how many (0 without
    OpenGL)."""
    try:
        renderer = turntable.Renderer()
    except Exception as error:  # no moderngl, or whatever the OpenGL driver raises when there is none
        log.warning(
            "furniture is left out: cannot render (%s); it needs the package moderngl and an EGL driver",
            error,
        )
        return 0
    before = len(writer.sprites)
    credits: list[dict[str, str]] = []
    for path in turntable.archives(folder):
        with zipfile.ZipFile(path) as archive:
            for entry in turntable.catalogue(archive):
                noun = furniture_noun(entry.get("name", ""))
                if noun is None or not turntable.usable(archive, entry):
                    continue
                title = f"{path.stem}{entry['model']}"
                rng = np.random.default_rng(zlib.crc32(title.encode()))
                try:
                    pictures = list(renderer.turn(archive, turntable.load_model(archive, entry), rng))
                except (ValueError, KeyError, IndexError) as error:
                    log.debug("model %s cannot be read: %s", title, error)
                    continue
                pictures = trim_together(pictures, _TURNTABLE_LONGEST)
                if pictures is None:
                    continue
                writer.add_sprite(noun, pictures, "furniture", natural=is_natural(noun), title=title)
                credits.append(
                    {"model": entry["name"], "creator": entry.get("creator", ""), "catalogue": path.stem}
                )
    folder.joinpath("credits.json").write_text(json.dumps(credits, indent=1))
    return len(writer.sprites) - before


def add_gcompris(writer: PackWriter, folder: Path) -> int:
    """Photographs of gcompris: cut out, as scenes with one thing in them, and scenery. Returns how many
    pictures."""
    before = len(writer.sprites) + len(writer.backgrounds) + len(writer.scenes)
    for number, (noun, image) in enumerate(gcompris.photographs(folder)):
        picture = trim(bleed_edges(image), _LONGEST)
        if picture is not None:
            writer.add_sprite(noun, [picture], "gcompris", title=f"{noun} {number}", upright=False)
    for name, noun, image, mask in gcompris.scenes(folder):
        writer.add_scene(image, mask, noun, f"gcompris/{name}", "gcompris")
        alpha = cv2.GaussianBlur((mask * 255).astype(np.uint8), (0, 0), 0.7)
        picture = trim(bleed_edges(np.dstack([image, alpha])), _LONGEST)
        if picture is not None:
            writer.add_sprite(noun, [picture], "gcompris", natural=True, title=name)
    for name, image in gcompris.scenery(folder):
        writer.add_background(_shrink(image), f"gcompris/{name}", "gcompris")
    return len(writer.sprites) + len(writer.backgrounds) + len(writer.scenes) - before


def add_emoji(writer: PackWriter, folder: Path) -> int:
    """Icons of things whose noun is known here. Returns how many."""
    names = next(iter(sorted(unpacked(folder.parent.parent, "emoji-names").rglob("emoji.json"))), None)
    if names is None:
        log.warning("emoji are left out: their names (emoji-names) were not fetched")
        return 0
    known = (
        {word for members in KINDS.values() for word in members}
        | {group[0] for group in SYNONYMS}
        | set(KINDS)
    )
    pictures = {path.stem: path for path in folder.rglob("*.webp")}
    before = len(writer.sprites)
    for entry in json.loads(names.read_text()):
        noun = entry["short_name"].replace("-", " ").replace("_", " ")
        path = pictures.get(entry["unified"].lower())
        if noun not in known or noun in _BAD_EMOJI or path is None:
            continue
        image = read_rgba(path)
        image = None if image is None else trim(bleed_edges(image), 128)
        if image is not None:
            writer.add_sprite(noun, [image], "emoji", natural=True, title=entry["short_name"])
    return len(writer.sprites) - before


def build_pack(
    cache_dir: Path | str | None = None,
    path: Path | str | None = None,
    sources: Iterable[str] | None = None,
    progress: Callable[[str], None] = log.info,
    rooms: int = ROOMS,
) -> Path:
    """Pack the pictures of all sources that were fetched into one file and return its path.

    sources: keys to use (default: all). A source that was not fetched is left out with a warning. rooms: how
    many to render of the furniture, if that is among the sources; about one a second on a CPU core.
    """
    cache = Path(cache_dir) if cache_dir else default_cache()
    adders: dict[str, Callable[[PackWriter, Path], int]] = {
        "tuxpaint": add_stamps,
        "furniture": add_furniture,
        "gcompris": add_gcompris,
        "emoji": add_emoji,
    }
    for key in _WALLPAPERS:
        adders[key] = lambda writer, folder, key=key: add_wallpapers(writer, folder, key)
    writer = PackWriter()
    used = tuple(sources if sources is not None else adders)
    for key in used:
        if key not in adders:
            raise KeyError(f"source {key!r} cannot be packed, expected some of {sorted(adders)}")
        folder = unpacked(cache, key)
        if not folder.is_dir():
            log.warning("%s was not fetched and is left out", key)
            continue
        progress(f"{key}: {adders[key](writer, folder)} pictures")
    furniture = unpacked(cache, "furniture")
    if rooms and "furniture" in used and furniture.is_dir():  # last: they have the wallpapers on their walls
        progress(f"rooms: {add_rooms(writer, furniture, rooms, progress)} of {rooms}")
    target = Path(path) if path else pack_path(cache)
    writer.save(target)
    return target
