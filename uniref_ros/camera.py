"""One camera's way through the node: image in, tracker, messages out."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image

from uniref_model.errors import ImageError, UniRefError
from uniref_model.requests.stamps import HeldImages, check_header
from uniref_model.tracking import TrackedFrame, Tracker
from uniref_model.tracking.frame_pass import TIMINGS as TRACK_TIMINGS
from uniref_model.tracking.types import Found
from uniref_ros.conversion import TornImageError, reduced_to_rgb, to_rgb
from uniref_ros.decoders import overheard
from uniref_ros.detections import VisionPublishers
from uniref_ros.publishers import Latency, Overlays, Picture, Publishers, objects_message
from uniref_ros.qos import (
    CURE,
    explain_silence,
    listen,
    mismatch,
    quality,
    resolved,
    similar_topics,
    types_sent,
)
from uniref_ros.rolling import Rate, Rolling
from uniref_ros.space.depth_input import DepthInput, ObjectsInSpace
from uniref_ros.space.publishers import SpatialPublishers
from uniref_ros.worker import Mailbox, due_in

ENOUGH = 1.5
"""How many times the model's size a compressed image is decoded to at least, in both directions, where nobody
needs more of it: what is left is still averaged."""

TIMINGS = ("wait", "convert", "track", "total")

ReportError = Callable[[str, str], None]
"""Called with a kind and a text: counts the error, logs it, shows it in diagnostics."""


@dataclass(frozen=True)
class Conditions:
    """What mailboxes notify. images: of the thread that works on images. pictures: of the one that publishes
    overlays."""

    images: threading.Condition
    pictures: threading.Condition


@dataclass(frozen=True)
class Arrival:
    """An image message and when it was received (time.monotonic())."""

    message: Any
    received: float


@dataclass(frozen=True, eq=False)
class ProcessedImage:
    """A processed image: the tracker's answer, the image's header, and what gives its pixels."""

    frame: TrackedFrame
    header: Any
    read: Callable[[], np.ndarray]

    @cached_property
    def rgb(self) -> np.ndarray:
        """uint8 RGB [h,w,3], all of them. Raises ImageError where they have to be decoded yet and cannot
        be."""
        return self.read()


@dataclass(frozen=True)
class CameraOptions:
    """What of the node's parameters a camera keeps. transport, reliability, output_reliability: as the
    parameters. held: images kept."""

    transport: str = "raw"
    reliability: str = "best_effort"
    output_reliability: str = "reliable"
    held: int = 8


class Camera:
    """What the worker serves for one camera: its subscription, mailbox, tracker, publishers and figures."""

    def __init__(
        self,
        node: Node,
        name: str,
        tracker: Tracker,
        options: CameraOptions,
        conditions: Conditions,
        report_error: ReportError,
        settings: Callable[[], Mapping[str, Any]],
        observe: Callable[[Camera, ProcessedImage], None] = lambda camera, shown: None,
    ) -> None:
        """settings: gives the node's parameters in force. observe: called for every processed image, when the
        objects have been published."""
        self.name = name
        self.tracker = tracker
        self.mailbox: Mailbox[Arrival] = Mailbox(conditions.images)
        self.enabled = True
        self.received = Rate()
        self.processed = Rate()
        self.times = {step: Rolling() for step in (*TIMINGS, *TRACK_TIMINGS)}
        self.ages = Rolling()
        self.failed = 0
        self.torn = 0
        """Of the failed ones, those that came without all their bytes."""
        self.lost = 0
        """Images that the transport says it lost."""
        self.ahead = 0
        """Images in a row whose stamp is later than the node's clock."""
        self.last: ProcessedImage | None = None
        """The last processed image."""
        self.shown: ProcessedImage | None = None
        """The last image that went out as an overlay: what people see and click at."""
        self.failure = ""
        """What the last image failed by, "" when it did not."""
        self.broken = False
        """Whether it failed by something that nobody foresaw, which more images may not mend."""
        self._node = node
        self._options = options
        self._report_error = report_error
        self._settings = settings
        self._observe = observe
        self.finds: Counter[str] = Counter()
        """Objects found, by what (`Found`)."""
        self._found: dict[str, Found] = {}
        self._waiting_since: float | None = None  # when the first image came since the last result left
        self._listening_since = 0.0
        self._held = HeldImages(options.held)
        self._incompatible = 0
        self._silence_told: tuple[bool, bool] | None = None
        self._started = 0.0
        self.depth = DepthInput(node, name, report_error, self._source)
        self._spatial = SpatialPublishers(node, name, options.output_reliability)
        self._vision = VisionPublishers(node, name, options.output_reliability)
        self._publishers = Publishers(node, name, options.output_reliability)
        self.overlays = Overlays(
            self._publishers,
            self.topic,
            conditions.pictures,
            self._on_shown,
            rate=lambda: settings()["overlay_rate"],
        )
        """What the thread that publishes overlays serves."""
        self._subscription: Any = None

    @property
    def topic(self) -> str:
        """The image topic, relative to the node's namespace; also the camera's name for people."""
        return self._base + self._suffix

    @property
    def resolved_topic(self) -> str:
        """The full name of the topic that is subscribed to, after remapping."""
        return resolved(self._node, self._base, self._suffix)

    @property
    def _base(self) -> str:
        return f"{self.name}/image" if self.name else "image"

    @property
    def _suffix(self) -> str:
        return "" if self._options.transport == "raw" else "/compressed"

    def _source(self) -> str:
        """The image topic that is subscribed to, as if it were raw."""
        return self.resolved_topic.removesuffix(self._suffix)

    @property
    def dropped(self) -> int:
        """Images that a newer one replaced before they were processed."""
        return self.mailbox.replaced

    @property
    def clock_jumps(self) -> int:
        """Times the image stamps went back, or far ahead."""
        return self._held.jumps

    def subscribe(self) -> None:
        """Begin to receive images."""
        self.depth.subscribe()
        self.mailbox.replaced = 0
        self.received, self.processed = Rate(), Rate()
        self._incompatible, self._silence_told = 0, None
        self._listening_since, self._waiting_since = time.monotonic(), None
        self.failure, self.broken = "", False
        kind = Image if self._options.transport == "raw" else CompressedImage
        self._subscription = listen(
            self._node,
            kind,
            self.resolved_topic,
            self._on_image,
            quality(self._options.reliability, depth=1),
            on_lost=self._on_lost,
            on_incompatible=self._on_incompatible,
        )

    def unsubscribe(self) -> None:
        """Receive no more, and forget the images: one that waits or is in hand is not to be shown late."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        self.depth.unsubscribe()
        self.mailbox.take()
        self.overlays.mailbox.take()
        self._held.clear()
        self._waiting_since = None
        self.forget_images()

    def forget_images(self) -> None:
        """Forget the processed ones: a click is not to be taken for one of before."""
        self.last = self.shown = None

    def pause(self, enabled: bool) -> None:
        """Process images, or none; one that waits is not processed any more."""
        self.enabled = enabled
        if not enabled:
            self.mailbox.take()
            self._waiting_since = None

    def destroy(self) -> None:
        """Take all topics away, and forget the objects."""
        self.unsubscribe()
        for publishers in (self._publishers, self._spatial, self._vision):
            publishers.destroy()
        self.tracker.clear()

    def holds(self, stamp: Any) -> bool:
        """Whether the image with this stamp (builtin_interfaces/Time) is held."""
        return self._held.find(stamp) is not None

    def image_at(self, stamp: Any) -> np.ndarray | str:
        """The held image with this stamp, RGB uint8 [h,w,3]; or why there is none. Raises ImageError when it
        cannot be decoded."""
        message = self._held.find(stamp)
        return self._held.why_absent(stamp) if message is None else self._decode(message)

    def silence(self, stale_after: float) -> str:
        """Why nothing comes, when nothing came for `stale_after` seconds; else "". Logged when it begins."""
        seconds = self.received.since_last()
        quiet = time.monotonic() - self._listening_since if seconds is None else seconds
        if self._subscription is None or not self.enabled or quiet <= stale_after:
            self._silence_told = None
            return ""
        topic = self.resolved_topic
        publishers = self._node.count_publishers(topic)
        others = () if publishers else similar_topics(self._node, topic)
        text = explain_silence(
            topic,
            transport=self._options.transport,
            seconds=seconds,
            publishers=publishers,
            incompatible=self._incompatible,
            types=types_sent(self._node, topic),
            others=others,
        )
        told = bool(publishers), bool(others)
        if told != self._silence_told:  # at first not every topic may have been discovered
            self._silence_told = told
            self._node.get_logger().warning(text)
        return text

    def without_result(self, limit: float) -> float | None:
        """Seconds for which images have come and no result left, when more than `limit`; else None.

        An image that waits for its turn by the parameter max_rate is not waited for.
        """
        since, last = self._waiting_since, self.received.since_last()
        rate = self._settings()["max_rate"]
        limit += 1.0 / rate if rate > 0 else 0.0
        if since is None or last is None or last > limit:  # images that do not come are another matter
            return None
        seconds = time.monotonic() - since
        return seconds if seconds > limit else None

    def _on_image(self, message: Any) -> None:
        if not self.enabled:
            return
        now = time.monotonic()
        self.received.tick(now)
        if self._waiting_since is None:
            self._waiting_since = now
        jump = self._held.add(message)
        if jump:
            self._report_error("clock", f"{self.topic}: the image stamps jumped by {jump:+.1f} s")
        self.mailbox.put(Arrival(message, now))

    def _on_incompatible(self, event: Any) -> None:
        self._incompatible = event.total_count
        self._report_error("quality of service", mismatch(self.resolved_topic, event))

    def _on_lost(self, event: Any) -> None:
        self.lost = event.total_count

    def _on_shown(self, shown: ProcessedImage) -> None:
        if self._subscription is not None:
            self.shown = shown

    def ready_in(self, now: float) -> float:
        """See `Consumer`: the parameter max_rate sets the least time between two images."""
        rate = self._settings()["max_rate"]
        return due_in(self._started, rate, now)

    def process(self, arrival: Arrival) -> None:
        """See `Consumer`. Raises ImageError for an image that cannot be used."""
        self._started = time.monotonic()
        header = arrival.message.header
        try:
            check_header(header)
            self.depth.expect(header.stamp)
            pixels, size = self._read(arrival.message)
            converted = time.monotonic()
            frame = self.tracker.step(pixels, size=size)
        except BaseException as error:
            self.failed += 1
            self.failure, self.broken = f"{type(error).__name__}: {error}", not isinstance(error, UniRefError)
            if isinstance(error, TornImageError):
                self.torn += 1
                raise ImageError(f"{error}; {CURE}") from error
            raise
        stepped = time.monotonic()
        if self._subscription is None:
            return  # deactivated meanwhile: what is late is not shown
        whole = pixels.shape[:2] == size
        read = (lambda: pixels) if whole else partial(self._decode, arrival.message)
        self.last = shown = ProcessedImage(frame, header, read)
        self._note(frame)
        in_space = self.depth.locate(frame, header)
        self._spatial.publish_transforms(frame, in_space, header)  # first: who gets the objects looks them up
        self._publish(frame, header, in_space, arrival.received, converted, stepped)
        self._observe(self, shown)
        self._publishers.publish_labels(frame, header)
        self._spatial.publish(frame, in_space, lambda: shown.rgb, header)
        self._vision.publish(frame, in_space, header, self.tracker.config.threshold("language"))
        if self._publishers.overlay_heard:
            status = f"{self.processed.hertz():.1f} FPS  {1e3 * (stepped - self._started):.0f} ms"
            self.overlays.mailbox.put(Picture(shown, self._settings()["overlay_quality"], status))

    def _publish(
        self,
        frame: TrackedFrame,
        header: Any,
        in_space: ObjectsInSpace | None,
        received: float,
        converted: float,
        stepped: float,
    ) -> None:
        age = self._age_ms(header.stamp)
        latency = Latency(
            age_ms=age,
            total_ms=(time.monotonic() - received) * 1e3,
            wait_ms=(self._started - received) * 1e3,
            convert_ms=(converted - self._started) * 1e3,
            track_ms=(stepped - converted) * 1e3,
        )
        message = objects_message(
            frame,
            header,
            camera=self.name,
            dropped=self.dropped,
            latency=latency,
            surfaces=in_space.surfaces if in_space is not None else {},
        )
        self._publishers.publish_objects(message)
        self.processed.tick()
        self._waiting_since, self.failure, self.broken = None, "", False
        for step in TIMINGS:
            self.times[step].add(getattr(latency, f"{step}_ms"))
        for step in TRACK_TIMINGS:
            self.times[step].add(frame.timings.get(step, 0.0))
        if age >= 0:
            self.ages.add(age)

    def _read(self, message: Any) -> tuple[np.ndarray, tuple[int, int]]:
        """What the tracker is to see of an image, uint8 RGB, and the image's (height, width). A JPEG is
        decoded to no more pixels than somebody needs: publishing some is quicker where they are there."""
        watched = self._publishers.overlay_heard or self._spatial.points_heard
        if self._options.transport == "raw" or watched:
            rgb = self._decode(message)
            return rgb, (rgb.shape[0], rgb.shape[1])
        height, width = (math.ceil(ENOUGH * side) for side in self.tracker.model_size)
        return self._decompressed(message, (height, width))

    def _decode(self, message: Any) -> np.ndarray:
        if self._options.transport == "raw":
            return to_rgb(message, self._settings()["max_pixels"])
        return self._decompressed(message, None)[0]

    def _decompressed(
        self, message: Any, least: tuple[int, int] | None
    ) -> tuple[np.ndarray, tuple[int, int]]:
        """As `reduced_to_rgb`. What its decoder complains of is counted; the picture is used all the same."""
        with overheard(lambda line: self._report_error("decoder", f"{self.topic}: {line}")):
            return reduced_to_rgb(message, least, self._settings()["max_pixels"])

    def _age_ms(self, stamp: Any) -> float:
        """From the stamp to now by the node's clock; -1 when the stamp is zero or ahead of it."""
        then = Time.from_msg(stamp, clock_type=self._node.get_clock().clock_type)
        if then.nanoseconds == 0:
            return -1.0
        age = (self._node.get_clock().now() - then).nanoseconds / 1e6
        self.ahead = 0 if age >= 0 else self.ahead + 1
        return age if age >= 0 else -1.0

    def _note(self, frame: TrackedFrame) -> None:
        for item in frame.objects:
            if item.found.by and self._found.get(item.id) is not item.found:
                self.finds[item.found.by] += 1
        self._found = {item.id: item.found for item in frame.objects}
        for note in frame.notes:
            about = f"object {note.object_id}: " if note.object_id else ""
            text = f"{self.topic}: {about}{note.message}"
            if note.level == "error":
                self._report_error("reference", text)
            else:
                self._node.get_logger().warning(text)
