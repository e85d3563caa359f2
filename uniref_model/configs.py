"""Where the shipped YAML files are: one search, with one order, for models and benchmarks alike."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path


def config_files(kind: str) -> dict[str, Path]:
    """The files of config/<kind>, by name without ending. Of two with one name the first found counts.

    Looked for beside the package (a source tree), inside it (pip), and in share/ (ament puts the package into
    <prefix>/lib/python3.x/site-packages and the files to <prefix>/share).
    """
    found: dict[str, Path] = {}
    for folder in _folders():
        for path in sorted((folder / kind).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def _folders() -> Iterator[Path]:
    package = Path(str(resources.files("uniref_model")))
    yield package.parent / "config"
    yield package / "config"
    for parent in package.resolve().parents[1:5]:
        yield parent / "share" / "uniref_ros" / "config"
