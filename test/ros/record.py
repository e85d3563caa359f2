"""A process that prints every message of some topics as a line of JSON: record.py TYPE TOPIC [TYPE TOPIC …].

A type ends in "*" when its topic is latched. For messages that the test's own process cannot load.
"""

from __future__ import annotations

import array
import contextlib
import importlib
import json
import sys
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import DurabilityPolicy, QoSProfile


def plain(value: Any) -> Any:
    """A message as JSON's types."""
    if hasattr(value, "get_fields_and_field_types"):
        return {name: plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    if isinstance(value, (list, tuple, np.ndarray, array.array)):
        return [plain(item) for item in value]
    return value


def main() -> None:
    """Record until it is ended."""
    arguments = rclpy.utilities.remove_ros_args(sys.argv)[1:]
    rclpy.init()
    node = rclpy.create_node("recorder")
    for kind, topic in zip(arguments[::2], arguments[1::2], strict=True):
        package, name = kind.rstrip("*").split("/")
        durability = DurabilityPolicy.TRANSIENT_LOCAL if kind.endswith("*") else DurabilityPolicy.VOLATILE
        node.create_subscription(
            getattr(importlib.import_module(f"{package}.msg"), name),
            topic,
            lambda message, topic=topic: print(json.dumps([topic, plain(message)]), flush=True),
            QoSProfile(depth=20, durability=durability),
        )
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


if __name__ == "__main__":
    main()
