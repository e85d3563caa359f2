"""Download the source packages with their own clients (apt-get, pip, npm) and unpack them into a cache
folder.

Nothing is installed and no root is needed. A package that cannot be had is skipped with a warning that names
it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from ..archives import extract
from .sources import SOURCES, licences, source

log = logging.getLogger(__name__)

_FAILURES = (OSError, ValueError, subprocess.SubprocessError, tarfile.TarError, zipfile.BadZipFile)
"""Of clients and of what they brought."""


def default_cache() -> Path:
    """$UNIREF_DATA, or uniref_ros/data in the user's cache folder."""
    configured = os.environ.get("UNIREF_DATA")
    return Path(configured) if configured else Path.home() / ".cache" / "uniref_ros" / "data"


def unpacked(cache_dir: Path, key: str) -> Path:
    """Where a source's files lie after `fetch`; the folder exists only when it is complete."""
    return Path(cache_dir) / "unpacked" / key


def fetch(
    sources: Iterable[str] | None = None,
    cache_dir: Path | str | None = None,
    progress: Callable[[str], None] = log.info,
) -> dict[str, Path]:
    """Download and unpack sources (all by default; keys of sources.py). Returns folder by key for those that
    are there.

    Complete ones are not fetched again. `progress` is called with one line at a time. Raises KeyError for an
    unknown key.
    """
    cache = Path(cache_dir) if cache_dir else default_cache()
    wanted = [source(key) for key in sources] if sources is not None else list(SOURCES)
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "licences.json").write_text(json.dumps(licences(), indent=1))
    found: dict[str, Path] = {}
    for number, entry in enumerate(wanted, 1):
        target = unpacked(cache, entry.key)
        if not target.is_dir():
            progress(f"[{number}/{len(wanted)}] {entry.package} ({entry.megabytes} MB, {entry.licence})")
            try:
                _fetch_one(entry.client, entry.package, cache / "downloads" / entry.key, target)
            except _FAILURES as error:
                log.warning("skipped %s: %s", entry.package, _reason(error))
                continue
        found[entry.key] = target
    return found


def fetch_package(
    client: str, package: str, cache_dir: Path | str, progress: Callable[[str], None] = log.info
) -> Path | None:
    """Any one package's unpacked files, kept in the cache; None, with a warning, where it cannot be had.

    client: apt, pip or npm.
    """
    cache = Path(cache_dir)
    target = unpacked(cache, f"{client}-{package}".replace("/", "-").replace("@", ""))
    if not target.is_dir():
        progress(f"fetching {package} ({client})")
        try:
            _fetch_one(client, package, cache / "downloads" / target.name, target)
        except _FAILURES as error:
            log.warning("%s cannot be had: %s", package, _reason(error))
            return None
    return target


def _reason(error: Exception) -> str:
    output = getattr(error, "stderr", None)
    return f"{error}: {output.strip().splitlines()[-1]}" if output and output.strip() else str(error)


def _fetch_one(client: str, package: str, downloads: Path, target: Path) -> None:
    """Download, unpack beside the target, then rename: an interrupted run leaves no half folder."""
    downloads.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    commands = {  # --: a package's name may come from a file, and is no option
        "apt": ["apt-get", "download", "--", package],
        "pip": ["python3", "-m", "pip", "download", "--no-deps", "--quiet", "--dest", ".", "--", package],
        "npm": ["npm", "pack", "--silent", "--", package],
    }
    suffix = {"apt": "*.deb", "pip": "*", "npm": "*.tgz"}[client]
    if not list(downloads.glob(suffix)):
        subprocess.run(commands[client], cwd=downloads, check=True, capture_output=True, text=True)
    files = sorted(downloads.glob(suffix))
    if not files:
        raise FileNotFoundError(f"{commands[client][0]} left no file for {package}")
    _unpack(files[-1], partial)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(target)


def _unpack(archive: Path, target: Path) -> None:
    if archive.suffix == ".deb":
        subprocess.run(
            ["dpkg-deb", "-x", str(archive), str(target)], check=True, capture_output=True, text=True
        )
    else:
        extract(archive, target)
