"""A rosbag2 bag: a folder, or one of its files, MCAP or SQLite; what is in it, and its messages by time."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SourceError
from ..limits import MAX_FILE_BYTES, quoted
from ..outputs import show
from ..pictures import natural
from .library import rosbag2, types

BAG_SUFFIXES = (".mcap", ".db3")

_ZSTANDARD = b"\x28\xb5\x2f\xfd"

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


def is_bag(path: Path) -> bool:
    """Whether a path is a bag's file, or a folder with its metadata.yaml or its files."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or bool(_files(path))
    return path.suffix.lower() in BAG_SUFFIXES


def _files(folder: Path) -> list[Path]:
    found = (item for item in folder.iterdir() if item.suffix.lower() in BAG_SUFFIXES and item.is_file())
    return sorted((item for item in found if not item.name.startswith(".")), key=natural)


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
        """The message. Raises SourceError for bytes that are none."""
        if self.data[:4] == _ZSTANDARD:
            raise SourceError(
                f"the messages on {self.topic.name} are compressed one by one: open the bag's folder, whose "
                "metadata.yaml says so, not one of its files"
            )
        try:
            return types().deserialize_cdr(self.data, self.topic.kind)
        except Exception as error:  # what it raises depends on the bytes
            raise SourceError(
                f"{len(self.data)} bytes on {self.topic.name} that are no {self.topic.kind}: {quoted(error)}"
            ) from error


class Bag:
    """Opened for reading. A folder without metadata.yaml, as a recorder that was killed leaves it, is read
    file by file. Every method raises SourceError, which names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir() and not path.is_file():  # a pipe would keep us for ever
            raise SourceError(f"the bag {show(path)} is no ordinary file or folder")
        whole = path.is_file() or (path / "metadata.yaml").is_file()
        parts = [path] if whole else _files(path)
        if not parts:
            raise SourceError(f"the bag {show(path)} has neither metadata.yaml nor files")
        self._stack = contextlib.ExitStack()
        try:
            self._readers = [self._open(part) for part in parts]
        except BaseException:
            self._stack.close()
            raise
        self._readers.sort(key=lambda reader: reader.start_time)
        self.paths: Sequence[Path] = _files(path) if path.is_dir() else [path]
        self.topics = self._find_topics()
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
            reader = self._stack.enter_context(rosbag2().Reader(path))
            for storage in getattr(reader.storage, "storages", [reader.storage]):
                for chunk in getattr(storage, "chunks", ()):
                    if chunk.uncompressed_size > MAX_FILE_BYTES:
                        raise SourceError(
                            f"the bag {show(path)} states a chunk of {chunk.uncompressed_size} bytes, more "
                            f"than the limit of {MAX_FILE_BYTES}"
                        )
            return reader

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
        except Exception as error:  # of rosbags, SQLite, LZ4, Zstandard: it depends on what is damaged
            raise SourceError(
                f"the bag {show(path or self.path)} cannot be read: {quoted(error, 200)}"
            ) from error
