"""Where the shipped YAML files and message definitions are: one search, with one order, for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path


def config_files(kind: str) -> dict[str, Path]:
    """The files of config/<kind>, by name without ending. Of two with one name the first found counts.

    Looked for beside the package (a source tree), inside it (pip), and in share/ (ament puts the package into
    <prefix>/lib/python3.x/site-packages and the files to <prefix>/share).
    """
    return _find("config", f"{kind}/*.yaml")


def message_files() -> dict[str, Path]:
    """The definitions of our ROS messages (msg/*.msg), by name; looked for as `config_files`."""
    return _find("msg", "*.msg")


def _find(folder: str, pattern: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for place in _places(folder):
        for path in sorted(place.glob(pattern)):
            found.setdefault(path.stem, path)
    return found


def _places(folder: str) -> Iterator[Path]:
    package = Path(str(resources.files("uniref_model")))
    yield package.parent / folder
    yield package / folder
    for parent in package.resolve().parents[1:5]:
        yield parent / "share" / "uniref_ros" / folder
