"""One camera's depth: subscriptions to `depth` and `camera_info`, and the objects' surfaces in its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from uniref_model.errors import UniRefError
from uniref_model.limits import quoted
from uniref_model.tracking import TrackedFrame
from uniref_ros.conversion import depth_samples, metres
from uniref_ros.decoders import overheard
from uniref_ros.qos import IMAGE_TYPES, listen, mismatch, quality, resolved, types_sent
from uniref_ros.rolling import Rate
from uniref_ros.space import compressed_depth
from uniref_ros.space.camera_info import DepthRing, check_info, intrinsics_of
from uniref_ros.space.surface import DepthView, GeometryError, Surface, find_surface


@dataclass(frozen=True)
class _Form:
    """How depth arrives. sent_as: the type's name. check: raises for what is none or has more pixels than
    allowed, at once and cheaply, and says its encoding; samples: u16 mm or f32 m."""

    kind: type
    sent_as: str
    suffix: str
    check: Callable[[Any, int], str]
    samples: Callable[[Any, int], Any]


def _check_raw(message: Image, limit: int) -> str:
    depth_samples(message, limit)
    return message.encoding


_FORMS = {
    "raw": _Form(Image, IMAGE_TYPES["raw"], "", _check_raw, depth_samples),
    "compressedDepth": _Form(
        CompressedImage,
        IMAGE_TYPES["compressed"],
        "/compressedDepth",
        compressed_depth.encoding_of,
        compressed_depth.depth_samples,
    ),
}
"""By the parameter depth_transport."""


@dataclass(frozen=True, eq=False)
class ObjectsInSpace:
    """The objects of one image in space. surfaces: by object id, of those with a position."""

    view: DepthView
    surfaces: Mapping[str, Surface] = field(default_factory=dict)


class DepthInput:
    """Receives depth and camera info, and tells where the objects of an image are."""

    def __init__(
        self,
        node: Node,
        camera: str,
        report_error: Callable[[str, str], None],
        image_topic: Callable[[], str],
    ) -> None:
        """image_topic: tells the full name of the image topic that is subscribed to, without what a transport
        adds to it."""
        prefix = f"{camera}/" if camera else ""
        self._form = _FORMS["raw"]
        self._base, self.info_topic = f"{prefix}depth", f"{prefix}camera_info"
        self.received = Rate()
        self.failed = 0
        """Depth images and camera infos that could not be used."""
        self._node = node
        self._image_topic = image_topic
        self._report_error = report_error
        self._ring = DepthRing()
        self._info: CameraInfo | None = None
        self._heard = False
        self._told = ""
        self._state = "not used"
        self._last: tuple[Any, Any, str] | None = None  # the depth image of before, its metres and encoding
        self._rays: tuple[Any, Any] | None = None  # what they were made from, and the rays
        self._subscriptions: list[Any] = []

    @property
    def topic(self) -> str:
        """Of depth."""
        return self._base + self._form.suffix

    @property
    def _resolved_topic(self) -> str:
        return resolved(self._node, self._base, self._form.suffix)

    def subscribe(self) -> None:
        """Begin to receive, unless the parameter use_depth says not to."""
        self.received, self._heard, self._told, self._state = Rate(), False, "", "not used"
        if not self._node.get_parameter("use_depth").value:
            return
        self._form = _FORMS[self._node.get_parameter("depth_transport").value]
        for kind, topic, callback in (
            (self._form.kind, self._resolved_topic, self._on_depth),
            (CameraInfo, self.info_topic, self._on_info),
        ):
            self._subscriptions.append(
                listen(
                    self._node,
                    kind,
                    topic,
                    callback,
                    quality("best_effort", depth=1),
                    on_incompatible=partial(self._on_incompatible, topic),
                )
            )

    def unsubscribe(self) -> None:
        """Receive no more, and forget what came."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        self._ring.clear()
        self._info = self._last = self._rays = None

    def expect(self, stamp: Any) -> None:
        """An image with this stamp is being processed: keep the depth that is nearest to it."""
        self._ring.expect(stamp)

    def locate(self, frame: TrackedFrame, header: Any) -> ObjectsInSpace | None:
        """The surfaces of a frame's objects; None when there is no depth for it, and `facts` says why."""
        if not self._heard:
            return None
        try:
            view = self._view(frame.size, header)
        except UniRefError as error:
            self._state = text = str(error)
            if text != self._told:  # once, not for every image
                self._told = text
                self.failed += 1
                self._report_error(self.topic, f"no positions: {text}")
            return None
        if view is None:
            return None
        surfaces = {
            item.id: surface
            for item in frame.objects
            if item.box is not None and (surface := find_surface(view, item.mask, item.box)) is not None
        }
        return ObjectsInSpace(view, surfaces)

    @property
    def warning(self) -> str:
        """What keeps positions away although depth comes, or something else in its place; "" when nothing
        does."""
        if reason := self._mistaken():
            return f"no positions: {reason}"
        return f"no positions: {self._state}" if self._heard and not self._state.startswith("used") else ""

    def _mistaken(self) -> str:
        """What is published in the place of depth, "" for nothing."""
        if self._heard or not self._subscriptions:
            return ""
        types = types_sent(self._node, self._resolved_topic)
        if not types or self._form.sent_as in types:
            return ""
        return f"{self._resolved_topic} is {', '.join(types)}, expected {self._form.sent_as}"

    def facts(self) -> dict[str, object]:
        """For diagnostics."""
        return {
            "depth": self._mistaken() or self._state,
            "depth received (1/s)": f"{self.received.hertz():.2f}",
            "depth and camera info failed": self.failed,
        }

    def _view(self, size: tuple[int, int], header: Any) -> DepthView | None:
        found = self._ring.nearest()
        if found is None:
            self._state = f"nothing usable on {self._resolved_topic} yet"
            return None
        message, later = found
        tolerance = self._node.get_parameter("depth_tolerance").value
        if abs(later) > tolerance:
            when = "later" if later > 0 else "earlier"
            self._state = (
                f"the nearest depth image is {abs(later):.3f} s {when} than the image "
                f"(depth_tolerance {tolerance:g} s)"
            )
            return None
        if self._info is None:
            self._state = f"nothing on {self._node.resolve_topic_name(self.info_topic)} yet"
            return None
        if self._last is None or self._last[0] is not message:
            limit = self._most_pixels()
            with overheard(lambda line: self._report_error("decoder", f"{self.topic}: {line}")):
                samples = self._form.samples(message, limit)
            self._last = message, metres(samples), self._form.check(message, limit)
        _, depth, encoding = self._last
        view = DepthView(depth, self._rays_of(self._info, size, depth.shape), size)
        self._state = f"used: {depth.shape[1]}x{depth.shape[0]} {encoding}, {1e3 * later:+.0f} ms"
        if message.header.frame_id != header.frame_id:
            frames = f"{quoted(message.header.frame_id)} is not the image's {quoted(header.frame_id)}"
            self._state += f"; its frame {frames}: is it aligned?"
        self._told = ""
        return view

    def _rays_of(self, info: CameraInfo, size: tuple[int, int], depth: tuple[int, int]) -> Any:
        rectified = self._rectified()
        roi = info.roi
        key = (
            (info.width, info.height, info.binning_x, info.binning_y, roi.x_offset, roi.y_offset),
            (roi.width, roi.height, tuple(info.k), tuple(info.p), tuple(info.d), info.distortion_model),
            (rectified, size, depth),
        )
        if self._rays is None or self._rays[0] != key:
            # By way of the image's size: were the camera info for another picture, it would be seen here.
            camera = intrinsics_of(info, rectified=rectified).scaled(size)
            try:
                rays = camera.scaled(depth).rays()
            except GeometryError as error:
                raise GeometryError(
                    f"the depth image has {depth[1]}x{depth[0]} pixels, the image {size[1]}x{size[0]}: "
                    "expected the same aspect, aligned to the image"
                ) from error
            self._rays = key, rays
        return self._rays[1]

    def _rectified(self) -> bool:
        said = self._node.get_parameter("image_rectified").value
        if said != "auto":
            return said == "yes"
        return "rect" in self._image_topic().rsplit("/", 1)[-1]

    def _most_pixels(self) -> int:
        return self._node.get_parameter("max_pixels").value

    def _on_depth(self, message: Image | CompressedImage) -> None:
        self.received.tick()
        self._heard = True
        try:
            self._form.check(message, self._most_pixels())
        except UniRefError as error:
            self._refuse(self.topic, error)
        else:
            self._ring.put(message)

    def _on_info(self, message: CameraInfo) -> None:
        try:
            check_info(message)
        except UniRefError as error:
            self._refuse(self.info_topic, error)
        else:
            self._info = message

    def _on_incompatible(self, topic: str, event: Any) -> None:
        self._report_error("quality of service", mismatch(self._node.resolve_topic_name(topic), event))

    def _refuse(self, topic: str, error: UniRefError) -> None:
        self.failed += 1
        self._report_error(topic, str(error))
