"""The library rosbags, which a robot or a laptop may not have, and the types of the messages."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ..configs import message_files
from ..errors import SourceError
from ..limits import MAX_CHUNK_BYTES
from .bounds import BoundedPath, bound_chunks

OURS = ("TrackCommand", "TrackedObject", "TrackedObjectArray")
"""Our messages that bags hold."""


def rosbag2() -> Any:
    """The module rosbags.rosbag2. Raises SourceError."""
    try:
        from rosbags import rosbag2 as module
    except ImportError as error:
        raise SourceError(f"bags need the package rosbags ({error}): pip install rosbags") from error
    return module


def open_file(path: Path) -> Any:
    """rosbags' reader, opened, of one of a bag's files, MCAP or SQLite, which reads and unpacks no more than
    MAX_CHUNK_BYTES at once. Raises SourceError, LimitError, and what rosbags and its libraries raise."""
    library = rosbag2()
    import apsw
    from rosbags.rosbag2 import storage_mcap

    bound_chunks(storage_mcap)
    reader = library.Reader(BoundedPath(path))
    reader.open()
    if path.suffix == ".db3":
        reader.storage.dbconn.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_CHUNK_BYTES)
    return reader


@cache
def types() -> Any:
    """The store of message types: ROS 2's own and `OURS`. Raises SourceError."""
    rosbag2()
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.LATEST)
    found = message_files()
    for name in OURS:
        if name not in found:
            raise SourceError(f"msg/{name}.msg is not where this package was installed")
        text = found[name].read_text(encoding="utf-8")
        store.register(get_types_from_msg(text, f"uniref_ros/msg/{name}"))
    return store


def new_message(kind: str, **fields: Any) -> Any:
    """A message of a type such as "std_msgs/msg/String"; what is not given is empty or 0, as rclpy has it."""
    definition = types().get_msgdef(kind)
    values = {name: _zero(description) for name, description in definition.fields}
    return definition.cls(**(values | fields))


def _zero(description: Any) -> Any:
    import numpy as np
    from rosbags.interfaces import Nodetype

    node, detail = description
    if node is Nodetype.NAME:
        return new_message(detail)
    if node is Nodetype.BASE:
        return {"string": "", "bool": False}.get(detail[0], 0.0 if detail[0].startswith("float") else 0)
    inner, length = detail
    if inner[0] is Nodetype.BASE and inner[1][0] not in ("string", "bool"):
        return np.zeros(length if node is Nodetype.ARRAY else 0, inner[1][0])
    return [_zero(inner) for _ in range(length if node is Nodetype.ARRAY else 0)]
