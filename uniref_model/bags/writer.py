"""What was seen, as a bag: the node's `objects` and `label_image`, under the source's headers."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SourceError
from ..image_messages import image_fields
from ..limits import quoted
from ..outputs import cannot_write, show, temporary_folder
from ..tracking import TrackedFrame, TrackedObject
from ..tracking.message_fields import box_fields, object_fields
from ..video import SourceFrame
from .library import new_message, rosbag2, types
from .source import NODE, SECOND

OBJECTS, OBJECT, IMAGE = (
    "uniref_ros/msg/TrackedObjectArray",
    "uniref_ros/msg/TrackedObject",
    "sensor_msgs/msg/Image",
)


class BagWriter:
    """Writes a rosbag2 bag (MCAP, Zstandard), its message definitions in it; the folder takes its name when
    it is whole.

    A message's header is the source image's; it counts as received when that was, so that both bags play
    together. Latencies say nothing offline: they are 0, and the age is -1.
    """

    def __init__(self, path: Path, node: str = NODE) -> None:
        """Raises SourceError: something is at `path` already, or rosbags is not installed."""
        library = rosbag2()
        if os.path.lexists(path):
            raise SourceError(f"{show(path)} is there already: a bag is not written over, choose another")
        self._path, self._node = path, node
        self._connections: dict[str, Any] = {}
        self._part = temporary_folder(path)
        with self._told():
            # the file inside is named like the folder
            self._writer = library.Writer(
                self._part / path.name, version=9, storage_plugin=library.StoragePlugin.MCAP
            )
            self._writer.set_compression(library.CompressionMode.STORAGE, library.CompressionFormat.ZSTD)
            self._writer.open()

    def write(self, source: SourceFrame, frame: TrackedFrame) -> None:
        """Append one frame's two messages. Raises SourceError."""
        stamp = source.stamp or 0
        received = stamp if source.recorded is None else source.recorded
        header = _header(stamp, source.frame_id)
        prefix = f"{self._node}/{source.camera}/" if source.camera else f"{self._node}/"
        labels = image_fields(frame.label_image.astype(np.uint16, copy=False), "mono16")
        with self._told():
            self._append(f"{prefix}objects", OBJECTS, received, _objects(source, frame, header))
            self._append(f"{prefix}label_image", IMAGE, received, new_message(IMAGE, header=header, **labels))

    def close(self) -> None:
        """Finish the bag. Raises SourceError when it could not be written; then nothing is left."""
        try:
            with self._told():
                self._writer.close()
                if self._connections:
                    (self._part / self._path.name).rename(self._path)
        finally:
            shutil.rmtree(self._part, ignore_errors=True)

    def _append(self, topic: str, kind: str, received: int, message: Any) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=types())
        self._writer.write(self._connections[topic], received, types().serialize_cdr(message, kind))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._path, error) from error
        except SourceError:
            raise
        except Exception as error:  # of rosbags
            raise SourceError(f"cannot write {show(self._path)}: {quoted(error, 200)}") from error


def _header(stamp: int, frame_id: str) -> Any:
    seconds, nanoseconds = divmod(stamp, SECOND)
    time = new_message("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return new_message("std_msgs/msg/Header", stamp=time, frame_id=frame_id)


def _objects(source: SourceFrame, frame: TrackedFrame, header: Any) -> Any:
    height, width = frame.size
    return new_message(
        OBJECTS,
        header=header,
        camera=source.camera,
        width=width,
        height=height,
        objects=[_object(item, header) for item in frame.objects],
        frame_index=frame.index,
        age_ms=-1.0,
    )


def _object(item: TrackedObject, header: Any) -> Any:
    mask = image_fields(item.mask, "mono8") if item.box is not None else {}
    return new_message(
        OBJECT,
        **object_fields(item),
        box=new_message("sensor_msgs/msg/RegionOfInterest", **box_fields(item)),
        mask=new_message(IMAGE, header=header, **mask),
    )
