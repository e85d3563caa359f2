#!/usr/bin/env python3
"""Publishes where to reach for the object of one prompt: geometry_msgs/PointStamped on `grasp_point`.

    python3 examples/pick_centroid.py --ros-args -p prompt:="the yellow box"

See docs/grasping.md. A point goes out only when the last few results agree on where the object is.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import rclpy
from geometry_msgs.msg import PointStamped
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.time import Time

from uniref_ros.msg import TrackedObject, TrackedObjectArray


class PickCentroid(Node):
    """Watches ~/objects of the tracker for one prompt."""

    def __init__(self) -> None:
        super().__init__("pick_centroid")
        self.declare_parameter("prompt", "the yellow box")
        self.declare_parameter("min_score", 0.5)
        self.declare_parameter("min_depth_points", 100)
        self.declare_parameter("max_age", 0.5)  # s, from the image's stamp; 0: any
        self.declare_parameter("agree", 5)  # results in a row
        self.declare_parameter("within", 0.02)  # m, of their median
        self._recent: deque[np.ndarray] = deque(maxlen=self._value("agree"))
        self._publisher = self.create_publisher(PointStamped, "grasp_point", 10)
        self.create_subscription(TrackedObjectArray, "tracker/objects", self._on_objects, 5)

    def _value(self, name: str):
        return self.get_parameter(name).value

    def _on_objects(self, message: TrackedObjectArray) -> None:
        item = self._choose(message)
        if item is None or self._is_old(message.header.stamp):
            self._recent.clear()  # a point from before it was lost says nothing about now
            return
        self._recent.append(np.array([item.centroid.x, item.centroid.y, item.centroid.z]))
        middle = np.median(self._recent, axis=0)
        steady = all(np.linalg.norm(point - middle) <= self._value("within") for point in self._recent)
        if len(self._recent) == self._recent.maxlen and steady:
            point = PointStamped(header=message.header)
            point.point.x, point.point.y, point.point.z = (float(value) for value in middle)
            self._publisher.publish(point)

    def _choose(self, message: TrackedObjectArray) -> TrackedObject | None:
        """The surest object with our prompt that is in this very image and has a position."""
        fit = [
            item
            for item in message.objects
            if item.prompt == self._value("prompt")
            and item.state == TrackedObject.TRACKED
            and item.frames_since_seen == 0
            and item.has_position
            and item.score >= self._value("min_score")
            and item.depth_points >= self._value("min_depth_points")
        ]
        return max(fit, key=lambda item: item.score, default=None)

    def _is_old(self, stamp) -> bool:
        age = (self.get_clock().now() - Time.from_msg(stamp)).nanoseconds / 1e9
        return 0 < self._value("max_age") < age


def main() -> None:
    """Watch until a signal."""
    rclpy.init()
    try:
        rclpy.spin(PickCentroid())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
