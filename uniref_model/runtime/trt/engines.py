"""Engines on disk: found by everything that makes one engine differ from another, whole or not there at all.

An engine file has a JSON beside it with the facts of its key and its sha256. The engine is written under a
temporary name and renamed, the JSON last; so a crash leaves either both or nothing that would be used. One
process builds at a time, and the others wait for its engine.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..files import sha256_of

_log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds between lines that say a build is still running: it takes from seconds to many minutes."""

Progress = Callable[[str], None]
"""Told in words what is going on while engines are built and checked, from any thread."""


def default_engine_cache() -> Path:
    """$UNIREF_ENGINES, or uniref_ros/engines in the user's cache folder."""
    configured = os.environ.get("UNIREF_ENGINES")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(configured) if configured else cache / "uniref_ros" / "engines"


@dataclass(frozen=True)
class EngineKey:
    """name: for people, begins the file's name. facts: everything the engine depends on, JSON values."""

    name: str
    facts: Mapping[str, object]

    @property
    def stem(self) -> str:
        text = json.dumps(self.facts, sort_keys=True)
        return f"{self.name}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class EngineCache:
    """Engines in one folder. progress: hears what the log says."""

    def __init__(self, folder: Path, progress: Progress | None = None) -> None:
        self.folder = folder
        self._progress = progress

    def get(self, key: EngineKey, build: Callable[[], bytes]) -> tuple[bytes, bool]:
        """The engine, and whether it was built now. Errors of `build` pass through; nothing is written
        then. Where the folder cannot be used the engine is built and not kept."""
        with self._locked(key) as writable:
            engine, reason = self._read(key)
            if engine is not None:
                self.say(f"engine {key.name}: from {self.folder}")
                return engine, False
            self.say(f"engine {key.name}: building ({reason}); please wait")
            start = time.monotonic()
            with self._patience(f"engine {key.name}: still building"):
                engine = build()
            seconds = time.monotonic() - start
            if writable:
                self._keep(key, engine, seconds)
            self.say(f"engine {key.name}: built in {seconds:.0f} s, {len(engine) / 1e6:.1f} MB")
            return engine, True

    def has(self, key: EngineKey) -> bool:
        """Whether there seems to be an engine (`get` looks closer)."""
        return all(path.is_file() for path in self._paths(key))

    def discard(self, key: EngineKey) -> None:
        """Remove an engine that turned out to be unusable."""
        for path in self._paths(key):
            path.unlink(missing_ok=True)

    def say(self, text: str) -> None:
        """Into the log and to `progress`."""
        _log.info("%s", text)
        if self._progress is not None:
            self._progress(text)

    def _paths(self, key: EngineKey) -> tuple[Path, Path]:
        return self.folder / f"{key.stem}.engine", self.folder / f"{key.stem}.json"

    def _read(self, key: EngineKey) -> tuple[bytes | None, str]:
        """The engine, or None and why it has to be built."""
        path, note = self._paths(key)
        try:
            facts = json.loads(note.read_text(encoding="utf-8"))
            if facts["facts"] != dict(key.facts):
                return None, "the one on disk is of other facts"
            if facts["sha256"] != sha256_of(path):
                return None, "the one on disk is damaged"
            return path.read_bytes(), ""
        except FileNotFoundError:
            return None, "there is none for this model, GPU and library"
        except (OSError, ValueError, KeyError, TypeError) as error:
            return None, f"the one on disk cannot be read: {error}"

    def _keep(self, key: EngineKey, engine: bytes, seconds: float) -> None:
        path, note = self._paths(key)
        text = json.dumps(
            {
                "facts": dict(key.facts),
                "sha256": hashlib.sha256(engine).hexdigest(),
                "build_seconds": round(seconds, 1),
            },
            indent=2,
        )
        try:
            note.unlink(missing_ok=True)  # an old note must not vouch for a new engine
            _replace(path, engine)
            _replace(note, text.encode())
        except OSError as error:  # a full disk costs the next start a build, not this one its engine
            _log.warning("engine %s is not kept, the next start builds it again: %s", key.name, error)

    @contextmanager
    def _locked(self, key: EngineKey) -> Iterator[bool]:
        """Alone with this key; whether the folder can be written to."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / f"{key.stem}.lock").open("w")
        except OSError as error:
            _log.warning("engines are not kept, %s cannot be used: %s", self.folder, error)
            yield False
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with self._patience(f"engine {key.name}: another process is building it"):
                    fcntl.flock(file, fcntl.LOCK_EX)  # released when its file closes, also by a crash
            yield True

    @contextmanager
    def _patience(self, what: str) -> Iterator[None]:
        """Say now and then that the body runs."""
        done = threading.Event()
        start = time.monotonic()

        def speak() -> None:
            while not done.wait(PATIENCE):
                self.say(f"{what}, {time.monotonic() - start:.0f} s so far; please wait")

        thread = threading.Thread(target=speak, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that it is never seen in part."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
