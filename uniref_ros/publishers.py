"""What one camera's pipeline publishes. Everything but `objects` is made only while someone listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, RegionOfInterest

from uniref_model.tracking import TrackedFrame, TrackedObject
from uniref_model.tracking.message_fields import box_fields, object_fields
from uniref_model.tracking.overlay import draw_overlay
from uniref_ros.conversion import fill_image, fill_jpeg
from uniref_ros.msg import TrackedObject as TrackedObjectMsg
from uniref_ros.msg import TrackedObjectArray
from uniref_ros.qos import overridable, quality
from uniref_ros.space.surface import Surface
from uniref_ros.worker import Mailbox, due_in

_RESULTS, _IMAGES = 5, 1
"""Depths: a picture that waits is replaced by a newer one."""

_NOWHERE: Mapping[str, Surface] = MappingProxyType({})


@dataclass(frozen=True)
class Latency:
    """Milliseconds, as in TrackedObjectArray; age is -1 when unknown."""

    age_ms: float
    total_ms: float
    wait_ms: float
    convert_ms: float
    track_ms: float


@dataclass(frozen=True, eq=False)
class Picture:
    """An overlay to be made. shown: the processed image (`camera.ProcessedImage`). jpeg: quality, 1 to 100.
    status: written in the corner."""

    shown: Any
    jpeg: int
    status: str = ""


def object_message(item: TrackedObject, header: Any, surface: Surface | None = None) -> TrackedObjectMsg:
    """One TrackedObject message from the tracker's value; its mask carries the image's header. surface: None
    when it has no position."""
    message = TrackedObjectMsg(**object_fields(item), box=RegionOfInterest(**box_fields(item)))
    message.mask.header = header
    if item.box is not None:
        fill_image(message.mask, item.mask, "mono8", header)
    if surface is not None:
        message.has_position, message.depth_points = True, surface.count
        for target, values in ((message.centroid, surface.centroid), (message.extent, surface.extent)):
            target.x, target.y, target.z = (float(value) for value in values)
    return message


def objects_message(
    frame: TrackedFrame,
    header: Any,
    *,
    camera: str,
    dropped: int,
    latency: Latency,
    surfaces: Mapping[str, Surface] = _NOWHERE,
) -> TrackedObjectArray:
    """The TrackedObjectArray message of one frame. surfaces: by object id, of those with a position."""
    height, width = frame.size
    return TrackedObjectArray(
        header=header,
        camera=camera,
        width=width,
        height=height,
        objects=[object_message(item, header, surfaces.get(item.id)) for item in frame.objects],
        frame_index=frame.index,
        frames_dropped=dropped,
        age_ms=latency.age_ms,
        total_ms=latency.total_ms,
        wait_ms=latency.wait_ms,
        convert_ms=latency.convert_ms,
        track_ms=latency.track_ms,
    )


class Publishers:
    """The output topics of one camera: `~/objects` and its siblings, or `~/<camera>/objects` for a named
    camera."""

    def __init__(self, node: Node, camera: str, reliability: str = "reliable") -> None:
        """reliability: "reliable", which serves both kinds of subscriber, or "best_effort"."""
        self._prefix = f"~/{camera}/" if camera else "~/"
        self._reliability = reliability
        self._node = node
        self._objects = self._publisher(TrackedObjectArray, "objects", _RESULTS)
        self._label_image = self._publisher(Image, "label_image", _IMAGES)
        self._overlay = self._publisher(Image, "overlay", _IMAGES)
        self._overlay_jpeg = self._publisher(CompressedImage, "overlay/compressed", _IMAGES)

    def _publisher(self, kind: type, name: str, depth: int) -> Any:
        profile = quality(self._reliability, depth)
        return self._node.create_publisher(
            kind, self._prefix + name, profile, qos_overriding_options=overridable()
        )

    def publish_objects(self, message: TrackedObjectArray) -> None:
        """Publish the objects, listeners or not: that the node is alive should be visible."""
        self._objects.publish(message)

    def publish_labels(self, frame: TrackedFrame, header: Any) -> None:
        """Publish the label image to those who listen."""
        if _heard(self._label_image):
            labels = frame.label_image.astype(np.uint16, copy=False)
            self._label_image.publish(fill_image(Image(), labels, "mono16", header))

    @property
    def overlay_heard(self) -> bool:
        """Whether someone listens to an overlay."""
        return _heard(self._overlay) or _heard(self._overlay_jpeg)

    def publish_overlays(self, picture: Picture) -> bool:
        """Publish overlays to those who listen; returns whether one went out."""
        plain, compressed = _heard(self._overlay), _heard(self._overlay_jpeg)
        if plain or compressed:
            header = picture.shown.header
            pixels = draw_overlay(picture.shown.rgb, picture.shown.frame, status=picture.status)
            if plain:
                self._overlay.publish(fill_image(Image(), pixels, "rgb8", header))
            if compressed:
                self._overlay_jpeg.publish(fill_jpeg(CompressedImage(), pixels, picture.jpeg, header))
        return plain or compressed

    def destroy(self) -> None:
        """Take the topics away."""
        for publisher in (self._objects, self._label_image, self._overlay, self._overlay_jpeg):
            self._node.destroy_publisher(publisher)


def _heard(publisher: Any) -> bool:
    return publisher.get_subscription_count() > 0


class Overlays:
    """The overlays of one camera, published by a thread of their own, so that whoever
    looks at them keeps no mask waiting. A newer one replaces one that waits."""

    def __init__(
        self,
        publishers: Publishers,
        topic: str,
        condition: threading.Condition,
        on_shown: Callable[[Any], None],
        rate: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """topic: the camera's, for messages. on_shown: told of what went out (`Picture.shown`). rate: gives
        the most pictures a second; 0: every one."""
        self.topic = f"overlay of {topic}"
        self.mailbox: Mailbox[Picture] = Mailbox(condition)
        self._publishers = publishers
        self._on_shown = on_shown
        self._rate = rate
        self._started = 0.0

    def ready_in(self, now: float) -> float:
        """See `Consumer`: meanwhile the picture that waits is replaced by newer ones."""
        rate = self._rate()
        return due_in(self._started, rate, now)

    def process(self, picture: Picture) -> None:
        """See `Consumer`."""
        self._started = time.monotonic()
        if self._publishers.publish_overlays(picture):
            self._on_shown(picture.shown)
