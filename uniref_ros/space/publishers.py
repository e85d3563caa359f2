"""Objects in space as messages: points, markers, transforms. All in the camera's optical frame."""

from __future__ import annotations

import array
import sys
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from uniref_model.errors import UniRefError
from uniref_model.limits import clipped
from uniref_model.tracking import TrackedFrame, TrackedObject
from uniref_model.tracking.overlay import slot_colour
from uniref_ros.qos import overridable, quality
from uniref_ros.space.depth_input import ObjectsInSpace
from uniref_ros.space.surface import Surface, contours, find_surface

_FIELDS = [("x", "=f4"), ("y", "=f4"), ("z", "=f4"), ("rgb", "=u4"), ("label", "=u4")]
POINT = np.dtype(_FIELDS)
"""One point of the cloud, as for PCL's PointXYZRGBL; rgb is 0x00RRGGBB and declared as a float, as usual."""

_EDGES = [(a, b) for a in range(8) for b in range(a) if (a ^ b) in (1, 2, 4)]
"""Pairs of a box's corners, numbered by bits x, y, z, that an edge joins."""
_LINE = 0.004  # m, width of lines
_LETTERS = 0.04  # m, height of a capital
_NAMESPACES = ("box", "contour", "text")


def cloud_message(
    frame: TrackedFrame,
    in_space: ObjectsInSpace,
    rgb: np.ndarray,
    header: Any,
    *,
    stride: int,
    organised: bool,
) -> PointCloud2:
    """The objects' surface points, label = slot. rgb: uint8 [h,w,3], the image. stride: of the depth image,
    every so many-th row and column. organised: the depth image's rows and columns, NaN where no object is,
    else a list of the points."""
    height, width = (-(-side // stride) for side in in_space.view.depth.shape)
    grid = np.zeros((height, width), POINT) if organised else None
    if grid is not None:
        for name in "xyz":
            grid[name] = np.nan
    parts = []
    for item in frame.objects:
        surface = in_space.surfaces.get(item.id)
        if surface is None or item.box is None:
            continue
        if surface.step > 1:  # thinned for the figures; the cloud has its own way
            surface = find_surface(in_space.view, item.mask, item.box, sys.maxsize) or surface
        rows, columns, points = _points(in_space, surface, rgb, item.slot, stride)
        if grid is None:
            parts.append(points)
        else:
            grid[rows // stride, columns // stride] = points
    if grid is None:
        grid = np.concatenate(parts)[None] if parts else np.zeros((1, 0), POINT)
    return _cloud(grid, header, dense=not organised)


def _points(
    in_space: ObjectsInSpace, surface: Surface, rgb: np.ndarray, slot: int, stride: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of the depth image, and the points there."""
    view = in_space.view
    taken = surface.inside & (surface.rows % stride == 0)[:, None] & (surface.columns % stride == 0)
    i, j = np.nonzero(taken)
    rows, columns = surface.rows[i], surface.columns[j]
    points = np.empty(len(rows), POINT)
    points["z"] = surface.depth[i, j]
    points["x"], points["y"] = (view.rays[rows, columns] * points["z"][:, None]).T
    colours = rgb[view.image_rows(rows), view.image_columns(columns)].astype(np.uint32)
    points["rgb"] = colours[:, 0] << 16 | colours[:, 1] << 8 | colours[:, 2]
    points["label"] = slot
    return rows, columns, points


def _cloud(grid: np.ndarray, header: Any, *, dense: bool) -> PointCloud2:
    kinds = {"label": PointField.UINT32}
    message = PointCloud2(
        header=header,
        height=grid.shape[0],
        width=grid.shape[1],
        fields=[
            PointField(name=name, offset=4 * index, datatype=kinds.get(name, PointField.FLOAT32), count=1)
            for index, (name, _) in enumerate(_FIELDS)
        ],
        is_bigendian=sys.byteorder == "big",
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * grid.shape[1],
        is_dense=dense,
    )
    message.data = array.array("B", np.ascontiguousarray(grid).tobytes())
    return message


def markers_of(
    item: TrackedObject, surface: Surface, in_space: ObjectsInSpace, header: Any, lifetime: float
) -> list[Marker]:
    """Box, contour and text of one object; the marker's id is its slot. lifetime: s."""

    def marker(kind: int, namespace: str, scale: float) -> Marker:
        made = Marker(header=header, ns=namespace, id=item.slot, type=kind, action=Marker.ADD)
        made.pose.orientation.w = 1.0
        made.scale.x = scale
        made.color = ColorRGBA(
            **dict(zip("rgba", (*(c / 255 for c in slot_colour(item.slot)), 1.0), strict=True))
        )
        made.lifetime = Duration(sec=int(lifetime), nanosec=int(lifetime % 1 * 1e9))
        return made

    box = marker(Marker.LINE_LIST, "box", _LINE / 2)
    corners = [
        [(surface.high if corner >> axis & 1 else surface.low)[axis] for axis in range(3)]
        for corner in range(8)
    ]
    box.points = _message_points(corners[end] for edge in _EDGES for end in edge)
    outline = marker(Marker.LINE_LIST, "contour", _LINE)
    for line in contours(in_space.view, surface):
        pairs = np.stack([line, np.roll(line, -1, axis=0)], axis=1)
        outline.points.extend(_message_points(pairs.reshape(-1, 3)))
    text = marker(Marker.TEXT_VIEW_FACING, "text", 0.0)
    text.scale.z = _LETTERS
    text.pose.position = Point(
        x=float(surface.centroid[0]), y=float(surface.low[1]) - _LETTERS, z=float(surface.centroid[2])
    )
    name, metres = clipped(item.label or item.prompt or item.id), np.linalg.norm(surface.centroid)
    text.text = f"{name} {item.score:.2f}\n{metres:.2f} m"
    return [box, outline, text] if outline.points else [box, text]


def _message_points(values: Iterable[Any]) -> list[Point]:
    return [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in values]


def transform_of(item: TrackedObject, surface: Surface, header: Any, prefix: str) -> TransformStamped:
    """From the camera's frame to a frame at the object's centroid, parallel to it: `<prefix>object_<id>`. In
    the id, all but ASCII letters, digits and _.-~ is percent-encoded as in
    a URL ("a b" is object_a%20b), so that two ids never share a frame."""
    name = urllib.parse.quote(item.id, safe="")
    message = TransformStamped(header=header, child_frame_id=f"{prefix}object_{name}")
    place = message.transform.translation
    place.x, place.y, place.z = (float(value) for value in surface.centroid)
    message.transform.rotation.w = 1.0
    return message


class SpatialPublishers:
    """`~/points`, `~/markers` and, when asked for, /tf of one camera."""

    def __init__(self, node: Node, camera: str, reliability: str = "reliable") -> None:
        """Raises UniRefError when publish_tf is set and tf2_msgs is not installed."""
        own = f"{camera}/" if camera else ""
        prefix = f"~/{own}"
        self._node = node
        self._shown: dict[tuple[str, int], str] = {}  # markers that stand: (namespace, id) -> object id
        profile, options = quality(reliability, 1), overridable()
        self._frames = node.get_parameter("tf_prefix").value + own
        self._tf = self._tf_publisher() if node.get_parameter("publish_tf").value else None
        self._points = node.create_publisher(
            PointCloud2, f"{prefix}points", profile, qos_overriding_options=options
        )
        self._markers = node.create_publisher(
            MarkerArray, f"{prefix}markers", quality(reliability, 5), qos_overriding_options=overridable()
        )

    def _tf_publisher(self) -> Any:
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError as error:
            raise UniRefError("publish_tf is true, and the package tf2_msgs is not installed") from error
        self._tf_kind = TFMessage
        return self._node.create_publisher(TFMessage, "/tf", QoSProfile(depth=100))

    def publish_transforms(self, frame: TrackedFrame, in_space: ObjectsInSpace | None, header: Any) -> None:
        """Publish the objects' frames, when asked for. in_space: None when there is no depth for this
        frame."""
        if self._tf is None or in_space is None or not in_space.surfaces:
            return
        if not header.frame_id:  # every listener would refuse it, and log that for every image
            self._node.get_logger().warning("no transforms: the images have no frame_id", once=True)
            return
        self._tf.publish(
            self._tf_kind(
                transforms=[
                    transform_of(item, in_space.surfaces[item.id], header, self._frames)
                    for item in frame.objects
                    if item.id in in_space.surfaces
                ]
            )
        )

    @property
    def points_heard(self) -> bool:
        """Whether someone listens to the points, which have the image's colours."""
        return self._points.get_subscription_count() > 0

    def publish(
        self,
        frame: TrackedFrame,
        in_space: ObjectsInSpace | None,
        rgb: Callable[[], np.ndarray],
        header: Any,
    ) -> None:
        """Publish points and markers to those who listen. in_space: as in `publish_transforms`. rgb: gives
        the image, uint8 [h,w,3]."""
        if in_space is not None and self.points_heard:
            value = self._node.get_parameter
            self._points.publish(
                cloud_message(
                    frame,
                    in_space,
                    rgb(),
                    header,
                    stride=value("points_stride").value,
                    organised=value("points_organised").value,
                )
            )
        if self._markers.get_subscription_count():
            self._publish_markers(frame, in_space, header)

    def _publish_markers(self, frame: TrackedFrame, in_space: ObjectsInSpace | None, header: Any) -> None:
        lifetime = self._node.get_parameter("marker_lifetime").value
        markers = [
            marker
            for item in frame.objects
            if in_space is not None and (surface := in_space.surfaces.get(item.id)) is not None
            for marker in markers_of(item, surface, in_space, header, lifetime)
        ]
        # Without depth for this very image, markers of what is still in view stay for their lifetime.
        visible = {item.id for item in frame.objects if item.box is not None} if in_space is None else set()
        fresh = {(marker.ns, marker.id) for marker in markers}
        gone = {key for key, owner in self._shown.items() if key not in fresh and owner not in visible}
        markers += [Marker(header=header, ns=ns, id=slot, action=Marker.DELETE) for ns, slot in sorted(gone)]
        owners = {item.slot: item.id for item in frame.objects}
        self._shown = {key: owner for key, owner in self._shown.items() if key not in gone}
        self._shown |= {key: owners[key[1]] for key in fresh}
        if markers:
            self._markers.publish(MarkerArray(markers=markers))

    def destroy(self) -> None:
        """Take the topics away."""
        for publisher in filter(None, (self._points, self._markers, self._tf)):
            self._node.destroy_publisher(publisher)
