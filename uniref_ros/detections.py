"""`~/detections` and `~/label_info`, when vision_msgs is installed."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from uniref_model.tracking import TrackedFrame, TrackedObject
from uniref_ros.qos import latched, overridable, quality
from uniref_ros.space.depth_input import ObjectsInSpace
from uniref_ros.space.surface import Surface


class VisionPublishers:
    """Publishes nothing where vision_msgs is not installed."""

    def __init__(self, node: Node, camera: str, reliability: str = "reliable") -> None:
        self._node = node
        self._names: dict[int, str] | None = None
        self._info: Any = None
        self._detections: Any = None
        try:
            import vision_msgs.msg as messages
        except ImportError:
            return
        self._kinds = messages
        prefix = f"~/{camera}/" if camera else "~/"
        self._info = node.create_publisher(messages.LabelInfo, f"{prefix}label_info", latched())
        self._detections = node.create_publisher(
            messages.Detection2DArray,
            f"{prefix}detections",
            quality(reliability, 5),
            qos_overriding_options=overridable(),
        )

    def publish(
        self, frame: TrackedFrame, in_space: ObjectsInSpace | None, header: Any, threshold: float
    ) -> None:
        """Publish detections to those who listen, and the label info when it has changed: it is latched, for
        who comes later. threshold: score above which words count as seen."""
        if self._info is None:
            return
        names = {item.slot: item.label or item.prompt or item.id for item in frame.objects}
        if names != self._names:
            self._names = names
            self._info.publish(self._label_info(names, header, threshold))
        if self._detections.get_subscription_count():
            self._detections.publish(self._detection_array(frame, in_space, header))

    def _label_info(self, names: dict[int, str], header: Any, threshold: float) -> Any:
        return self._kinds.LabelInfo(
            header=header,
            class_map=[
                self._kinds.VisionClass(class_id=slot, class_name=name) for slot, name in names.items()
            ],
            threshold=threshold,
        )

    def _detection_array(self, frame: TrackedFrame, in_space: ObjectsInSpace | None, header: Any) -> Any:
        surfaces = in_space.surfaces if in_space is not None else {}
        return self._kinds.Detection2DArray(
            header=header,
            detections=[
                self._detection(item, item.box, surfaces.get(item.id), header)
                for item in frame.objects
                if item.box is not None
            ],
        )

    def _detection(
        self, item: TrackedObject, box: tuple[int, int, int, int], surface: Surface | None, header: Any
    ) -> Any:
        message = self._kinds.Detection2D(header=header, id=item.id)
        x, y, width, height = box
        message.bbox.center.position.x, message.bbox.center.position.y = x + width / 2, y + height / 2
        message.bbox.size_x, message.bbox.size_y = float(width), float(height)
        result = self._kinds.ObjectHypothesisWithPose()
        result.hypothesis.class_id = item.label or item.prompt or item.id
        result.hypothesis.score = float(item.score)
        if surface is not None:
            place = result.pose.pose.position
            place.x, place.y, place.z = (float(value) for value in surface.centroid)
        message.results = [result]
        return message

    def destroy(self) -> None:
        """Take the topics away."""
        for publisher in filter(None, (self._info, self._detections)):
            self._node.destroy_publisher(publisher)
