"""What rosbags reads and unpacks for us, bounded: a bag may state and hold anything."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path, PosixPath
from typing import Any

from ..limits import MAX_CHUNK_BYTES, MAX_HELD_BYTES, LimitError

_BLOCK = 1 << 20
_OF_FREE = 0.9  # of the room on a disk, what a bag may be unpacked into

ZSTANDARD = b"\x28\xb5\x2f\xfd"
"""How a Zstandard frame begins; no message does, serialised."""


def unpack_zstd(data: bytes, most: int, too_much: str) -> bytes:
    """What Zstandard frames hold, one after another. Raises LimitError, which says `too_much`, for more than
    `most` bytes, EOFError for frames that are cut short, ZstdError for damaged ones."""
    unpacked, view = b"", memoryview(data)
    while view:
        size = _zstd().get_frame_size(view)
        frame = _zstd().ZstdDecompressor()
        unpacked += frame.decompress(view[:size], max_length=most + 1 - len(unpacked))
        if len(unpacked) > most:
            raise LimitError(too_much)
        _check_end(frame)
        view = view[size:]
    return unpacked


def unpack_lz4(data: bytes, most: int, too_much: str) -> bytes:
    """As `unpack_zstd`, of one LZ4 frame. Raises RuntimeError for a damaged one."""
    from lz4.frame import LZ4FrameDecompressor

    frame = LZ4FrameDecompressor()
    unpacked = frame.decompress(data, max_length=most + 1)
    if len(unpacked) > most:
        raise LimitError(too_much)
    _check_end(frame)
    return unpacked


def _check_end(frame: Any) -> None:
    if not frame.eof:
        raise EOFError("compressed data is cut short")


def unpack_file(source: Path, target: Path, most: int) -> int:
    """Unpack a file that Zstandard compressed, onto the disk; how many bytes it was. Raises LimitError for
    more than `most` bytes, before anything is written where the file states them, and for more than the disk
    has room for; OSError, ZstdError."""
    limit = f"the limit of {most} bytes"
    room = int(_OF_FREE * shutil.disk_usage(target.parent).free)
    if room < most:
        most = room
        limit = f"the {room} bytes there is room for in {target.parent} (TMPDIR names another place)"
    with source.open("rb") as file:
        stated = _zstd().get_frame_info(file.read(18)).decompressed_size
    if stated is not None and stated > most:
        raise LimitError(f"{source.name} states {stated} bytes unpacked, more than {limit}")
    written = 0
    with _zstd().open(source, "rb") as packed, target.open("wb") as file:
        while block := packed.read(_BLOCK):
            written += len(block)
            if written > most:
                raise LimitError(f"{source.name} unpacks to more than {limit}")
            file.write(block)
    return written


def check_chunks(chunks: Iterable[Any]) -> None:
    """Refuse rosbags' list of an MCAP file's chunks, before one is read, where one is too large, or so many
    overlap in time that all at once would not fit into memory, as they are merged. Raises LimitError."""
    changes: list[tuple[int, int]] = []
    for chunk in chunks:
        _check_size(max(chunk.compressed_size, chunk.uncompressed_size))
        changes.append((chunk.message_start_time, chunk.uncompressed_size))
        changes.append((chunk.message_end_time + 1, -chunk.uncompressed_size))
    held = 0
    for _, change in sorted(changes):
        held += change
        if held > MAX_HELD_BYTES:
            raise LimitError(
                f"its chunks of one time have {held} bytes or more, more than the limit of {MAX_HELD_BYTES}"
            )


def _check_size(size: int) -> None:
    if size > MAX_CHUNK_BYTES:
        raise LimitError(f"it states a chunk of {size} bytes, more than the limit of {MAX_CHUNK_BYTES}")


def bound_chunks(storage: Any) -> None:
    """Have rosbags' module `storage_mcap` unpack chunks by the functions here. It looks them up in one table,
    whoever reads, and those that it has itself unpack whatever comes."""
    storage.DECOMPRESSORS.update(zstd=_of_chunks(unpack_zstd), lz4=_of_chunks(unpack_lz4))


def _of_chunks(unpack: Callable[[bytes, int, str], bytes]) -> Callable[[bytes, int], bytes]:
    def unpack_chunk(data: bytes, size: int) -> bytes:
        _check_size(size)
        return unpack(data, size, f"a chunk unpacks to more than the {size} bytes that it states")

    return unpack_chunk


class BoundedPath(PosixPath):
    """A path for rosbags, which opens MCAP files by it: no more is read at once than MAX_CHUNK_BYTES, however
    long a record is said to be."""

    def open(self, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        """As `Path.open`."""
        if mode != "rb":
            return super().open(mode, *arguments, **options)
        return _BoundedFile(io.FileIO(self, "rb"))


class _BoundedFile(io.BufferedReader):
    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_CHUNK_BYTES:
            raise LimitError(f"it states a record of {size} bytes, more than the limit of {MAX_CHUNK_BYTES}")
        return super().read(size)


def _zstd() -> Any:
    """Python's module, or its backport, which rosbags brings."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
