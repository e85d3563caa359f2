"""Stand-in for tf2_ros, for tests only, where it is not installed: it knows the one transform that
STANDIN_TRANSFORM gives, and refuses all else as the real one does."""

from __future__ import annotations

import json
import os
from typing import Any

from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from rclpy.node import Node
from rclpy.time import Time


class TransformException(Exception):
    pass


class LookupException(TransformException):
    pass


class Buffer:
    def __init__(self, cache_time: Any = None, node: Node | None = None) -> None:
        self._known = json.loads(os.environ["STANDIN_TRANSFORM"])

    def lookup_transform(self, target_frame: str, source_frame: str, time: Time) -> TransformStamped:
        if not isinstance(time, Time):
            raise TypeError(f"time is a {type(time).__name__}, expected an rclpy Time")
        for frame in (target_frame, source_frame):
            if frame not in (self._known["to"], self._known["from"]):
                raise LookupException(f'"{frame}" passed to lookupTransform does not exist.')
        found = TransformStamped()
        found.transform.translation = Vector3(**dict(zip("xyz", self._known["translation"], strict=True)))
        found.transform.rotation = Quaternion(**dict(zip("xyzw", self._known["rotation"], strict=True)))
        return found


class TransformListener:
    def __init__(self, buffer: Buffer, node: Node) -> None:
        if not isinstance(buffer, Buffer) or not isinstance(node, Node):
            raise TypeError("expected a Buffer and a Node")
