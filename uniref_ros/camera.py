"""One camera's way through the node: image in, tracker, messages out."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image

from uniref_model.tracking import TrackedFrame, Tracker
from uniref_ros.conversion import compressed_to_rgb, to_rgb
from uniref_ros.publishers import Latency, Publishers, objects_message
from uniref_ros.statistics import Rate, Rolling
from uniref_ros.worker import Mailbox

STAGES = ("wait", "convert", "track", "total")
_JUMP = Duration(seconds=10)
"""A stamp this much later than the one before, or any earlier one, is a jump of the clock."""


@dataclass(frozen=True)
class Arrival:
    """An image message and when it was received (time.monotonic())."""

    message: Any
    received: float


@dataclass(frozen=True)
class CameraOptions:
    """What of the node's parameters a camera keeps. transport, reliability: as the parameters. held: images
    kept."""

    transport: str = "raw"
    reliability: str = "best_effort"
    held: int = 8


class Camera:
    """A worker's station: its subscription, mailbox, tracker, publishers and figures."""

    def __init__(
        self, node: Node, name: str, tracker: Tracker, options: CameraOptions, bell: threading.Condition
    ) -> None:
        self.name = name
        self.tracker = tracker
        self.mailbox: Mailbox[Arrival] = Mailbox(bell)
        self.enabled = True
        self.received = Rate()
        self.processed = Rate()
        self.times = {stage: Rolling() for stage in STAGES}
        self.ages = Rolling()
        self.failed = 0
        self.clock_jumps = 0
        self.last: tuple[TrackedFrame, Any] | None = None
        """The last processed image's result and header: what people see."""
        self._node = node
        self._options = options
        self._held: deque[Any] = deque(maxlen=options.held)
        self._last_stamp: Time | None = None
        self._started = 0.0
        self._publishers = Publishers(node, name)
        self._subscription: Any = None

    @property
    def label(self) -> str:
        """The camera's name for people: its topic."""
        return self.topic

    @property
    def topic(self) -> str:
        """The image topic, relative to the node's namespace."""
        base = f"{self.name}/image" if self.name else "image"
        return base if self._options.transport == "raw" else f"{base}/compressed"

    @property
    def dropped(self) -> int:
        """Images that a newer one replaced before they were processed."""
        return self.mailbox.replaced

    def subscribe(self) -> None:
        """Begin to receive images."""
        reliability = ReliabilityPolicy[self._options.reliability.upper()]
        qos = QoSProfile(depth=1, history=HistoryPolicy.KEEP_LAST, reliability=reliability)
        kind = Image if self._options.transport == "raw" else CompressedImage
        self.mailbox.replaced = 0
        self._subscription = self._node.create_subscription(kind, self.topic, self._on_image, qos)

    def unsubscribe(self) -> None:
        """Receive no more; an image that waits is thrown away, so that it is not shown late."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        self.mailbox.take()
        self._last_stamp = None

    def destroy(self) -> None:
        """Take all topics away."""
        self.unsubscribe()
        self._publishers.destroy()

    def image_at(self, stamp: Any) -> np.ndarray | None:
        """The held image with this stamp (builtin_interfaces/Time), RGB uint8 [h,w,3]; None when there is
        none.

        Raises ImageError when that image cannot be decoded.
        """
        for message in tuple(self._held):
            if message.header.stamp == stamp:
                return self._decode(message)
        return None

    def _on_image(self, message: Any) -> None:
        if not self.enabled:
            return
        now = time.monotonic()
        self.received.tick(now)
        self._held.append(message)
        self.mailbox.put(Arrival(message, now))

    def ready_in(self, now: float) -> float:
        """See `Station`: the parameter max_rate sets the least time between two images."""
        rate = self._node.get_parameter("max_rate").value
        return self._started + 1.0 / rate - now if rate > 0 else 0.0

    def process(self, arrival: Arrival) -> None:
        """See `Station`. Raises ImageError for an image that cannot be used."""
        self._started = time.monotonic()
        header = arrival.message.header
        try:
            self._watch_clock(header.stamp)
            rgb = self._decode(arrival.message)
            converted = time.monotonic()
            frame = self.tracker.step(rgb)
        except Exception:
            self.failed += 1
            raise
        stepped = time.monotonic()
        self.last = (frame, header)
        self._note(frame)
        self._publish(frame, header, arrival.received, converted, stepped)
        self._publishers.publish_pictures(
            frame, rgb, header, self._node.get_parameter("overlay_quality").value
        )
        self.processed.tick()

    def _publish(
        self, frame: TrackedFrame, header: Any, received: float, converted: float, stepped: float
    ) -> None:
        age = self._age_ms(header.stamp)
        latency = Latency(
            age_ms=age,
            total_ms=(time.monotonic() - received) * 1e3,
            wait_ms=(self._started - received) * 1e3,
            convert_ms=(converted - self._started) * 1e3,
            track_ms=(stepped - converted) * 1e3,
        )
        message = objects_message(frame, header, camera=self.name, dropped=self.dropped, latency=latency)
        self._publishers.publish_objects(message)
        for stage in STAGES:
            self.times[stage].add(getattr(latency, f"{stage}_ms"))
        if age >= 0:
            self.ages.add(age)

    def _decode(self, message: Any) -> np.ndarray:
        return to_rgb(message) if self._options.transport == "raw" else compressed_to_rgb(message)

    def _age_ms(self, stamp: Any) -> float:
        """From the stamp to now by the node's clock; -1 when the stamp is zero or ahead of it."""
        then = Time.from_msg(stamp, clock_type=self._node.get_clock().clock_type)
        age = (self._node.get_clock().now() - then).nanoseconds / 1e6
        return age if then.nanoseconds > 0 and age >= 0 else -1.0

    def _watch_clock(self, stamp: Any) -> None:
        now, before = Time.from_msg(stamp), self._last_stamp
        self._last_stamp = now
        if before is not None and (now < before or now - before > _JUMP):
            self.clock_jumps += 1
            seconds = (now - before).nanoseconds / 1e9
            self._node.get_logger().warning(f"{self.topic}: the image stamps jumped by {seconds:+.1f} s")

    def _note(self, frame: TrackedFrame) -> None:
        for note in frame.notes:
            text = (
                f"{self.topic}: object {note.object_id}: {note.message}" if note.object_id else note.message
            )
            if note.level == "error":
                self._node.get_logger().error(text)
            else:
                self._node.get_logger().warning(text)
