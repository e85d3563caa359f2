"""Bags as recorders write them: by rosbags, and, with LZ4 chunks, by Foxglove's own writer."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from uniref_model.bags.library import new_message, rosbag2, types
from uniref_model.image_messages import image_fields

START = 1_700_000_000_000_000_000
PERIOD = 33_333_333
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
FORMS = ("mcap", "mcap zstd", "mcap lz4", "sqlite3", "sqlite3 message zstd", "sqlite3 file zstd")

Written = tuple[str, str, int, Any]
"""A message: topic, type, when it was received (ns), and itself."""


def header(stamp: int, frame_id: str = "camera_optical") -> Any:
    """std_msgs/Header of a stamp in ns."""
    time = new_message("builtin_interfaces/msg/Time", sec=stamp // 10**9, nanosec=stamp % 10**9)
    return new_message("std_msgs/msg/Header", stamp=time, frame_id=frame_id)


def image(rgb: np.ndarray, stamp: int) -> Any:
    """sensor_msgs/Image, bgr8."""
    return new_message(IMAGE, header=header(stamp), **image_fields(rgb[..., ::-1], "bgr8"))


def png(rgb: np.ndarray, stamp: int) -> Any:
    """sensor_msgs/CompressedImage without loss."""
    data = cv2.imencode(".png", rgb[..., ::-1])[1].reshape(-1)
    return new_message(COMPRESSED, header=header(stamp), format="bgr8; png compressed bgr8", data=data)


def images(
    frames: Sequence[np.ndarray], topic: str = "/image", *, compressed: bool = False, delay: int = 5_000_000
) -> list[Written]:
    """Frames RGB uint8 [h,w,3] at 30 a second, each received `delay` ns after its stamp."""
    kind, make = (COMPRESSED, png) if compressed else (IMAGE, image)
    stamps = [START + index * PERIOD for index in range(len(frames))]
    return [(topic, kind, stamp + delay, make(rgb, stamp)) for rgb, stamp in zip(frames, stamps, strict=True)]


def write_bag(path: Path, messages: Iterable[Written], form: str = "mcap") -> Path:
    """A bag's folder; form: one of FORMS."""
    ordered = sorted(messages, key=lambda item: item[2])
    if form == "mcap lz4":
        return _write_lz4(path, ordered)
    library = rosbag2()
    storage, *compression = form.split(" ", 1)
    plugin = library.StoragePlugin[storage.upper()]
    writer = library.Writer(path, version=9, storage_plugin=plugin)
    if compression:
        mode = {"zstd": "STORAGE", "message zstd": "MESSAGE", "file zstd": "FILE"}[compression[0]]
        writer.set_compression(library.CompressionMode[mode], library.CompressionFormat.ZSTD)
    connections: dict[str, Any] = {}
    with writer:
        for topic, kind, received, message in ordered:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=types())
            data = message if isinstance(message, bytes) else types().serialize_cdr(message, kind)
            writer.write(connections[topic], received, data)
    return path


def _write_lz4(path: Path, messages: Sequence[Written]) -> Path:
    import pytest

    writing = pytest.importorskip("mcap.writer", reason="Foxglove's mcap is not installed here")
    path.mkdir(parents=True)
    with (path / f"{path.name}_0.mcap").open("wb") as file:
        writer = writing.Writer(file, compression=writing.CompressionType.LZ4)
        writer.start(profile="ros2")
        channels: dict[str, int] = {}
        for topic, kind, received, message in messages:
            if topic not in channels:
                definition, _ = types().generate_msgdef(kind, ros_version=2)
                schema = writer.register_schema(kind, "ros2msg", definition.encode())
                channels[topic] = writer.register_channel(topic, "cdr", schema)
            data = bytes(types().serialize_cdr(message, kind))
            writer.add_message(channels[topic], received, data, received)
        writer.finish()
    return path


def zstd() -> Any:
    """Python's module for Zstandard, or its backport."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
