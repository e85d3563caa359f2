"""Files that are written: never over what is read, nor over one another, and whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from .errors import SourceError
from .limits import quoted


def make_folder(path: Path) -> None:
    """Make a folder and its parents. Raises SourceError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"cannot make the folder {show(path)}: {error.strerror or error}") from error


def keep_apart(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse to write over what is read, or twice to one place, before anything is opened for writing.

    Paths that differ and mean one file (links, `.` and `..`) are seen. Raises SourceError naming both.
    """
    read = {identity: path for path in inputs for identity in _identities(path)}
    written: dict[object, Path] = {}
    for path in outputs:
        for identity in _identities(path):
            if identity in read:
                raise SourceError(
                    f"{show(path)} would be written over {show(read[identity])}, which is read: "
                    "choose another output"
                )
            if identity in written:
                other = show(written[identity])
                raise SourceError(f"{show(path)} and {other} are one file: choose two outputs")
        written |= dict.fromkeys(_identities(path), path)


def _identities(path: Path) -> list[object]:
    """What tells whether two paths mean one file: where it leads, and which file is there."""
    found: list[object] = [os.path.realpath(path)]
    with contextlib.suppress(OSError):
        status = path.stat()
        if _is_regular(path):  # devices may be written twice
            found.append((status.st_dev, status.st_ino))
        else:
            found.clear()
    return found


@contextlib.contextmanager
def writing(path: Path, mode: str = "w", *, durable: bool = False) -> Iterator[IO[Any]]:
    """Open a file that takes its name only when the block has ended without an error.

    mode: "w" (UTF-8 text) or "wb". What is no ordinary file (a pipe, /dev/stdout) is written as it comes.
    durable: also when the power goes just after it. Raises SourceError for whatever goes wrong with the file.
    """
    if path.exists() and not _is_regular(path):
        with told(path), path.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
        return
    make_folder(path.parent)
    part = temporary(path)
    try:
        with told(path), part.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        finish(part, path)
        if durable:
            sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes | str, *, durable: bool = False) -> None:
    """Write a file; a reader sees all of it or none. durable: see `writing`. Raises SourceError."""
    with writing(path, "w" if isinstance(data, str) else "wb", durable=durable) as file:
        file.write(data)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder outlive a loss of power. Raises SourceError."""
    with told(folder):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def temporary(path: Path) -> Path:
    """A new, empty file beside `path` with the same ending, to be renamed to it. Raises SourceError."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:60]}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        os.chmod(name, 0o666 & ~_umask())
    except OSError as error:
        raise cannot_write(path, error) from error
    return Path(name)


def temporary_folder(path: Path) -> Path:
    """A new, empty folder beside `path`, for what is to be renamed to it. Raises SourceError."""
    make_folder(path.parent)
    with told(path):
        return Path(tempfile.mkdtemp(prefix=f".{path.name[:60]}.", dir=path.parent))


def finish(part: Path, path: Path) -> None:
    """Give a temporary file its name. A link keeps leading where it leads. Raises SourceError."""
    with told(path):
        os.replace(part, os.path.realpath(path))


def move_files(source: Path, folder: Path, last: str) -> None:
    """Move all files of one folder into another, over those of their names; `last` after the others, so that
    what it lists is there by then. Both are on one file system. Raises SourceError."""
    for path in sorted(source.iterdir(), key=lambda path: (path.name == last, path.name)):
        finish(path, folder / path.name)


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn an OSError (no room, no permission) inside the block into a SourceError about `path`."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> SourceError:
    """The error that says why."""
    return SourceError(f"cannot write {show(path)}: {error.strerror or error}")


def show(path: Path | str) -> str:
    """A path fit for a message: as it is, or quoted where it could not be printed."""
    text = str(path)
    return text if text.isprintable() and len(text) <= 400 else quoted(text, 400)


def _is_regular(path: Path) -> bool:
    return path.is_file() or path.is_dir()


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
