"""Hears every result, with the time at which it came."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from std_msgs.msg import String

from uniref_ros.msg import TrackCommand, TrackedObjectArray


@dataclass(frozen=True)
class Heard:
    """A result, and time.time() when it came."""

    message: TrackedObjectArray
    at: float

    @property
    def stamp(self) -> float:
        """Of the source image, s."""
        return self.message.header.stamp.sec + 1e-9 * self.message.header.stamp.nanosec

    @property
    def latency_ms(self) -> float:
        """From the image's stamp to here."""
        return 1e3 * (self.at - self.stamp)


class Listener(Node):
    """Also says prompts and commands. `on_result` is called with every result as it comes."""

    def __init__(self, cameras: tuple[str, ...] = ("",)) -> None:
        super().__init__("benchmark")
        self.on_result: Callable[[Heard], None] = lambda heard: None
        self.diagnostics: dict[str, dict[str, str]] = {}
        for name in cameras:
            topic = f"tracker/{name}/objects" if name else "tracker/objects"
            self.create_subscription(TrackedObjectArray, topic, self._on_result, 200)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._prompts = self.create_publisher(String, "tracker/prompt", 20)
        self._commands = self.create_publisher(TrackCommand, "tracker/command", 20)

    @property
    def connected(self) -> bool:
        """Whether the tracker hears us."""
        return self._prompts.get_subscription_count() > 0 and self._commands.get_subscription_count() > 0

    def say(self, prompt: str) -> None:
        """Publish a prompt."""
        self._prompts.publish(String(data=prompt))

    def order(self, command: TrackCommand) -> None:
        """Publish a command."""
        self._commands.publish(command)

    def spin(self, seconds: float, until: Callable[[], Any] = lambda: False) -> bool:
        """Listen for so long, or until the condition holds; whether it did."""
        deadline = time.monotonic() + seconds
        while not (done := bool(until())) and time.monotonic() < deadline:
            rclpy.spin_once(self, timeout_sec=min(0.02, seconds))
        return done

    def _on_result(self, message: TrackedObjectArray) -> None:
        self.on_result(Heard(message, time.time()))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.diagnostics[status.name] = {pair.key: pair.value for pair in status.values}


def wrong_headers(message: TrackedObjectArray) -> list[str]:
    """What is wrong with a result's headers: it must carry the source image's (see camera.frame_id), and so
    must every mask."""
    from .camera import frame_id

    header, faults = message.header, []
    expected = frame_id(message.camera, header.stamp)
    if header.frame_id != expected:
        faults.append(f"frame_id is {header.frame_id!r}, expected {expected!r}")
    for item in message.objects:
        if item.mask.data and item.mask.header != header:
            faults.append(f"the mask of object {item.id} has another header")
    return faults
