"""MCAP files that state what is not so."""

from __future__ import annotations

import struct
from pathlib import Path

from bag_maker import START, zstd

MAGIC = b"\x89MCAP0\r\n"


def record(kind: int, content: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(content)) + content


def text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode()


def chunk(packed: bytes, compression: str, stated: int) -> bytes:
    """An MCAP chunk whose content is said to have `stated` bytes."""
    head = struct.pack("<QQQI", START, START, stated, 0) + text(compression)
    return record(0x06, head + struct.pack("<Q", len(packed)) + packed)


def mcap(path: Path, chunks: list[tuple[bytes, str, int]], *, indexed: bool) -> Path:
    """An MCAP file of chunks (content, compression, stated size), with an index of them or without one; as
    the index has it, each holds a message on /image."""
    start = MAGIC + record(0x01, text("ros2") + text(""))
    body, index = start, b""
    channel = struct.pack("<HH", 1, 1) + text("/image") + text("cdr") + struct.pack("<I", 0)
    schema = struct.pack("<H", 1) + text("sensor_msgs/msg/Image") + text("ros2msg") + text("")
    for packed, compression, stated in chunks:
        written = chunk(packed, compression, stated)
        message_index = record(0x07, struct.pack("<HI", 1, 16) + bytes(16))
        index += record(
            0x08,
            struct.pack("<QQQQ", START, START, len(body), len(written))
            + struct.pack("<IHQ", 10, 1, len(body) + len(written))
            + struct.pack("<Q", len(message_index))
            + text(compression)
            + struct.pack("<QQ", len(packed), stated),
        )
        body += written + message_index
    summary = len(body) if indexed else 0
    if indexed:
        body += record(0x03, schema) + record(0x04, channel) + index
    path.write_bytes(body + record(0x02, struct.pack("<QQI", summary, 0, 0)) + MAGIC)
    return path


def packed(data: bytes, compression: str) -> bytes:
    """Compressed as an MCAP chunk's content is."""
    import pytest

    if compression == "zstd":
        return zstd().compress(data)
    return pytest.importorskip("lz4.frame", reason="lz4 is not installed here").compress(data)
