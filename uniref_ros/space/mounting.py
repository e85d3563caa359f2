"""Where a camera is on its robot: points of its results in the robot's own frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from rclpy.node import Node
from rclpy.time import Time

from uniref_model.limits import quoted
from uniref_ros.space.target import Point3


class MountingError(Exception):
    """It is not known where the camera is; the text names the frames."""


class Mounting(Protocol):
    """Brings a point (m) in the frame of a header into the robot's frame, on the floor: x ahead, y left."""

    def on_floor(self, point: Point3, header: Any) -> tuple[float, float]:
        """Raises MountingError."""


@dataclass(frozen=True)
class FixedMounting:
    """A camera that is screwed on. frame_id: of its optical frame. x, y: m, in the robot's frame. yaw: rad,
    to the left; pitch: rad, downwards."""

    frame_id: str
    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0

    def on_floor(self, point: Point3, header: Any) -> tuple[float, float]:
        """See Mounting."""
        if header.frame_id != self.frame_id:
            raise MountingError(
                f"the result is in the frame {quoted(header.frame_id)}, expected {quoted(self.frame_id)}"
            )
        right, down, forward = point  # as optical frames are
        ahead, left = forward * math.cos(self.pitch) - down * math.sin(self.pitch), -right
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return self.x + c * ahead - s * left, self.y + s * ahead + c * left


class TfMounting:
    """A camera whose frame tf2 knows, where it was at the image's time."""

    def __init__(self, node: Node, base_frame: str) -> None:
        """Raises MountingError where tf2_ros is not installed."""
        try:
            import tf2_ros
        except ImportError:
            raise MountingError("tf2_ros is not installed") from None
        self._unknown = tf2_ros.TransformException
        self._base = base_frame
        self._buffer = tf2_ros.Buffer(node=node)
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def on_floor(self, point: Point3, header: Any) -> tuple[float, float]:
        """See Mounting. Does not wait: a transform that is late may be there when asked again."""
        try:
            found = self._buffer.lookup_transform(
                self._base, header.frame_id, Time.from_msg(header.stamp)
            ).transform
        except self._unknown as error:
            frames = f"from {quoted(header.frame_id)} to {quoted(self._base)}"
            raise MountingError(f"there is no transform {frames}: {error}") from None
        x, y, _ = rotated(point, found.rotation)
        return x + found.translation.x, y + found.translation.y


def rotated(point: Point3, q: Any) -> Point3:
    """A point turned by a unit quaternion (geometry_msgs/Quaternion)."""
    x, y, z = point
    a, b, c = 2 * (q.y * z - q.z * y), 2 * (q.z * x - q.x * z), 2 * (q.x * y - q.y * x)
    return (
        x + q.w * a + q.y * c - q.z * b,
        y + q.w * b + q.z * a - q.x * c,
        z + q.w * c + q.x * b - q.y * a,
    )
