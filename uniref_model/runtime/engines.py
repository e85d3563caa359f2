"""Engines on disk: found by everything that makes one engine differ from another, whole or not there at all.

An engine file has a JSON beside it with the facts of its key and its sha256. The engine is written under a
temporary name and renamed, the JSON last; so a crash leaves either both or nothing that would be used. One
process builds at a time, and the others wait for its engine. Beyond `MAX_CACHE_BYTES` those go that were used
longest ago.

An engine is code, and the folder may be shared. So only what this user wrote is read: regular files of the
user (or root) that nobody else can write to, opened without following links and without waiting for pipes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import RuntimeUnavailable

_log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds between lines that say a build is still running: it takes from seconds to many minutes."""

PART_AGE = 24 * 3600.0
"""Seconds after which a temporary file belongs to no build that still runs."""

MAX_ENGINE_BYTES = 8 << 30
MAX_CACHE_BYTES = 16 << 30
MAX_NOTE_BYTES = 1 << 20

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


class UntrustedFile(OSError):
    """A file that another user made or could change, or that is none."""


class EngineCache:
    """Engines in one folder. progress: hears what the log says."""

    def __init__(self, folder: Path, progress: Progress | None = None) -> None:
        self.folder = folder
        self._progress = progress

    def get(self, key: EngineKey, build: Callable[[], bytes]) -> tuple[bytes, bool]:
        """The engine, and whether it was built now. Errors of `build` pass through; nothing is written
        then. Where the folder cannot be written to the engine is built and not kept. Raises
        RuntimeUnavailable where `build` gives nothing."""
        with self._locked(key) as writable:
            engine, reason = self._read(key)
            if engine is not None:
                self._note_use(key)
                self.say(f"engine {key.name}: from {self.folder}")
                return engine, False
            self.say(f"engine {key.name}: building ({reason}); please wait")
            start = time.monotonic()
            with self._patience(f"engine {key.name}: still building"):
                engine = build()
            if not engine:
                raise RuntimeUnavailable(f"the build of engine {key.name} gave an engine of 0 bytes")
            seconds = time.monotonic() - start
            if writable:
                self._keep(key, engine, seconds)
            self.say(f"engine {key.name}: built in {seconds:.0f} s, {len(engine) / 1e6:.1f} MB")
            return engine, True

    def has(self, key: EngineKey) -> bool:
        """Whether there seems to be an engine (`get` looks closer)."""
        try:
            for path in self._paths(key):
                os.close(_open_own(path))
        except OSError:
            return False
        return True

    def discard(self, key: EngineKey) -> None:
        """Remove an engine that turned out to be unusable."""
        for path in self._paths(key):
            with contextlib.suppress(OSError):  # what cannot be removed is not used either
                path.unlink()

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
            facts = json.loads(_read_own(note, MAX_NOTE_BYTES))
            if facts["facts"] != dict(key.facts):
                return None, "the one on disk is of other facts"
            engine = _read_own(path, MAX_ENGINE_BYTES)
            if not engine or facts["sha256"] != hashlib.sha256(engine).hexdigest():
                return None, "the one on disk is damaged"
            return engine, ""
        except FileNotFoundError:
            return None, "there is none for this model, device and library"
        except UntrustedFile as error:
            _log.warning("engine %s: %s", key.name, error)
            return None, str(error)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
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
            self._shed(path)
        except OSError as error:  # a full disk costs the next start a build, not this one its engine
            _log.warning("engine %s is not kept, the next start builds it again: %s", key.name, error)

    def _note_use(self, key: EngineKey) -> None:
        with contextlib.suppress(OSError):  # of a folder that is only read, nothing is shed either
            os.utime(self._paths(key)[0])

    def _shed(self, newest: Path) -> None:
        """Remove the engines used longest ago, as many as are too much; `newest` stays."""
        engines = [(path.lstat(), path) for path in self.folder.glob("*.engine") if path != newest]
        room = MAX_CACHE_BYTES - newest.lstat().st_size
        for about, path in sorted(engines, key=lambda item: item[0].st_mtime, reverse=True):
            room -= about.st_size
            if room < 0 and about.st_uid == os.geteuid():
                _log.info("engine %s is removed: all together are more than %d bytes", path, MAX_CACHE_BYTES)
                path.with_suffix(".json").unlink(missing_ok=True)
                path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, key: EngineKey) -> Iterator[bool]:
        """Alone with this key; whether the folder can be written to."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = _open_own(self.folder / f"{key.stem}.lock", os.O_RDWR | os.O_CREAT, content=False)
        except OSError as error:
            _log.warning("engines are not kept, %s cannot be used: %s", self.folder, error)
            yield False
            return
        with os.fdopen(file, "r+b"):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with self._patience(f"engine {key.name}: another process is building it"):
                    fcntl.flock(file, fcntl.LOCK_EX)  # released when its file closes, also by a crash
            self._sweep(key)
            yield True

    def _sweep(self, key: EngineKey) -> None:
        """Remove what builders of this key left when they were killed; its lock is held. Those of other keys
        may be at work: theirs go when they are old."""
        try:
            for path in self.folder.glob("*.part"):
                about = path.lstat()
                mine = path.name.startswith(key.stem) or time.time() - about.st_mtime > PART_AGE
                if mine and about.st_uid == os.geteuid():
                    path.unlink()
        except OSError as error:
            _log.warning("cannot sweep %s: %s", self.folder, error)

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


def _open_own(path: Path, flags: int = os.O_RDONLY, *, content: bool = True) -> int:
    """Open a regular file of this user (or root), which nobody else can change if its content matters.
    Nothing is followed, waited for or cut. Raises OSError."""
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        about = os.fstat(handle)
        mode = stat.filemode(about.st_mode)
        if not stat.S_ISREG(about.st_mode):
            raise UntrustedFile(f"{path} is no regular file ({mode})")
        if about.st_uid not in (os.geteuid(), 0):
            raise UntrustedFile(f"{path} belongs to another user ({about.st_uid}), so it is not used")
        if content and about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UntrustedFile(f"{path} can be written to by others ({mode}), so it is not used")
    except BaseException:
        os.close(handle)
        raise
    return handle


def _read_own(path: Path, limit: int) -> bytes:
    """A file's bytes, of which it may hold `limit`."""
    with os.fdopen(_open_own(path), "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise UntrustedFile(f"{path} holds {size} bytes, more than the {limit} that are read")
        return stream.read(limit)


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
