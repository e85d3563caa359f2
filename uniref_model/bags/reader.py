"""A rosbag2 bag: a folder, or one of its files, MCAP or SQLite; what is in it, and its messages by time.

Of metadata.yaml only the names of the files are believed; the rest is read from the files. So a folder that a
killed recorder left without one is read the same way, and every file alone, however it was compressed.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from ..errors import SourceError, UniRefError
from ..limits import MAX_CHUNK_BYTES, MAX_METADATA_BYTES, MAX_UNPACKED_BYTES, LimitError, quoted
from ..outputs import show
from ..pictures import natural
from ..reading import read_text
from .bounds import ZSTANDARD, check_chunks, unpack_file, unpack_zstd
from .library import open_file, rosbag2, types

_SUFFIXES, _PACKED, _METADATA = (".mcap", ".db3"), ".zstd", "metadata.yaml"

_IN_ADDRESSES = set("?#%")
"""What means something else in the address by which rosbags has SQLite open a file."""

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


def is_bag(path: Path) -> bool:
    """Whether a path is a bag's file, or a folder with its metadata.yaml or its files."""
    if path.is_dir():
        return (path / _METADATA).is_file() or bool(_files(path))
    return _is_file_of_bag(path)


def _is_file_of_bag(path: Path) -> bool:
    unpacked = path.with_suffix("") if path.suffix == _PACKED else path
    return unpacked.suffix.lower() in _SUFFIXES


def _files(folder: Path) -> list[Path]:
    """A recorder that is killed as it compresses leaves a file beside a part of it: the file counts."""
    found = {item for item in folder.iterdir() if _is_file_of_bag(item) and item.is_file()}
    whole = (item for item in found if item.suffix != _PACKED or item.with_suffix("") not in found)
    return sorted((item for item in whole if not item.name.startswith(".")), key=natural)


def _listed(folder: Path) -> list[Path]:
    """The files that a folder's metadata.yaml names. Raises SourceError, OSError, LimitError, and what the
    library for YAML raises."""
    from ruamel.yaml import YAML  # rosbags brings it; PyYAML takes many times as long

    try:
        content = YAML(typ="safe").load(read_text(folder / _METADATA, MAX_METADATA_BYTES, ordinary=True))
        names = content["rosbag2_bagfile_information"]["relative_file_paths"]
        files = [folder / PurePath(name).name for name in names]
    except (KeyError, TypeError, RecursionError) as error:
        raise SourceError(f"the bag {show(folder)}: its {_METADATA} names no files") from error
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise SourceError(
            f"the bag {show(folder)} lacks {len(missing)} of its {len(files)} files: {quoted(missing[0])}"
        )
    return files


def _parts(path: Path) -> list[Path]:
    """The files of which a bag consists."""
    if path.is_file():
        return [path]
    return _listed(path) if (path / _METADATA).is_file() else _files(path)


@dataclass(frozen=True)
class Topic:
    """A topic of a bag. kind: its type, such as "sensor_msgs/msg/Image". count: of messages."""

    name: str
    kind: str
    count: int


@dataclass(frozen=True, eq=False)
class Record:
    """A recorded message: when it was received (ns), and its bytes."""

    topic: Topic
    received: int
    data: bytes

    def message(self) -> Any:
        """The message, unpacked if it was compressed by itself. Raises SourceError for bytes that are none,
        LimitError for one that unpacks to more than MAX_CHUNK_BYTES."""
        data, kind = self.data, self.topic.kind
        try:
            if data[: len(ZSTANDARD)] == ZSTANDARD:
                limit = f"more than the limit of {MAX_CHUNK_BYTES} bytes"
                told = f"a message on {self.topic.name} unpacks to {limit}"
                data = unpack_zstd(data, MAX_CHUNK_BYTES, told)
            return types().deserialize_cdr(data, kind)
        except UniRefError:
            raise
        except Exception as error:  # what it raises depends on the bytes
            raise SourceError(
                f"{len(data)} bytes on {self.topic.name} that are no {kind}: {quoted(error)}"
            ) from error


class Bag:
    """Opened for reading. Every method raises SourceError, which names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir() and not path.is_file():  # a pipe would keep us for ever
            raise SourceError(f"the bag {show(path)} is no ordinary file or folder")
        rosbag2()
        with self._told():
            parts = _parts(path)
            self.paths: Sequence[Path] = [*_files(path), path / _METADATA] if path.is_dir() else [path]
        if not parts:
            raise SourceError(f"the bag {show(path)} has no files")
        self._stack = contextlib.ExitStack()
        self._unpacked = 0  # bytes, on the disk
        try:
            self._readers = [self._open(part) for part in parts]
            self._readers.sort(key=lambda reader: reader.start_time)
            self.topics = self._find_topics()
        except BaseException:
            self._stack.close()
            raise
        filled = [reader for reader in self._readers if reader.message_count]
        self.start = min((reader.start_time for reader in filled), default=0)
        self.end = max((reader.end_time for reader in filled), default=0)
        """ns, of the first message, and after the last."""

    def close(self) -> None:
        """Let go of the files."""
        with self._told():
            self._stack.close()

    def messages(
        self, topics: Collection[str], start: int | None = None, end: int | None = None
    ) -> Iterator[Record]:
        """The messages of some topics in the order in which they were received; from `start` until before
        `end`, ns."""
        for reader in self._readers:
            wanted = [connection for connection in reader.connections if connection.topic in topics]
            if not wanted:
                continue
            with self._told():
                stream = reader.messages(wanted, start, end)
            while True:
                with self._told():
                    found = next(stream, None)
                if found is None:
                    break
                connection, received, data = found
                yield Record(self.topics[connection.topic], received, data)

    def _open(self, path: Path) -> Any:
        with self._told(path):
            file = path
            if path.suffix == _PACKED:
                file = self._unpack(path)
            elif _IN_ADDRESSES & set(str(path)):
                file = self._place(path.suffix)
                file.symlink_to(path.absolute())
            reader = self._stack.enter_context(contextlib.closing(open_file(file)))
            if file is not path:
                file.unlink()  # it stays open; whoever kills us, it does not stay on the disk
            check_chunks(getattr(reader.storage, "chunks", ()))
            return reader

    def _unpack(self, path: Path) -> Path:
        file = self._place(path.with_suffix("").suffix)
        self._unpacked += unpack_file(path, file, MAX_UNPACKED_BYTES - self._unpacked)
        return file

    def _place(self, suffix: str) -> Path:
        folder = tempfile.TemporaryDirectory(prefix="uniref-")
        return Path(self._stack.enter_context(folder), f"bag{suffix}")

    def _find_topics(self) -> dict[str, Topic]:
        topics: dict[str, Topic] = {}
        for reader in self._readers:
            for connection in reader.connections:
                known = topics.get(connection.topic, Topic(connection.topic, connection.msgtype, 0))
                if known.kind != connection.msgtype:
                    raise SourceError(
                        f"the bag {show(self.path)} has two types on {quoted(connection.topic)}: "
                        f"{known.kind} and {quoted(connection.msgtype)}"
                    )
                topics[connection.topic] = Topic(
                    connection.topic, connection.msgtype, known.count + connection.msgcount
                )
        return topics

    @contextlib.contextmanager
    def _told(self, path: Path | None = None) -> Iterator[None]:
        try:
            yield
        except SourceError:
            raise
        except LimitError as error:
            raise SourceError(f"the bag {show(path or self.path)} cannot be read: {error}") from error
        except Exception as error:  # of rosbags, SQLite, LZ4, Zstandard: it depends on what is damaged
            raise SourceError(
                f"the bag {show(path or self.path)} cannot be read: {quoted(error, 200)}"
            ) from error
