"""3-D over real topics: depth of many kinds in, positions, points and markers out, against rendered truth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from fake_runtime import COLOURS

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

import rclpy
from depth_rig import EMPTY, EXTENT, PERIOD, PICTURE, TRUTH, Rig, compressed, depth_image, info
from ros_help import NodeProcess
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from uniref_ros.conversion import fill_image
from uniref_ros.msg import TrackedObject
from uniref_ros.space import publishers as spatial_messages


@pytest.fixture
def rig(tmp_path, ros) -> Iterator[Rig]:
    """A rig whose node looks for the red box."""
    peer = Rig()
    with NodeProcess(tmp_path / "node.log", "diagnostics_period:=0.2", "max_delay:=0.0"):
        peer.meet_rig()
        yield peer
    peer.destroy_node()


def right(item: TrackedObject, tolerance=0.01) -> bool:
    place = np.array([item.centroid.x, item.centroid.y, item.centroid.z])
    extent = np.array([item.extent.x, item.extent.y])
    return np.abs(place - TRUTH).max() < tolerance and np.abs(extent - EXTENT[:2]).max() < 0.03


@pytest.mark.parametrize(
    "kind", ["16UC1", "32FC1", "16UC1 big-endian", "32FC1 big-endian", "16UC1 half", "32FC1 double"]
)
def test_the_centroid_is_right_to_a_centimetre_for_every_kind_of_depth(rig, kind):
    item = rig.placed(depth_image(kind), info())
    assert right(item), (item.centroid, item.extent, TRUTH, EXTENT)
    assert item.depth_points > 300


def test_camera_info_for_another_size_is_scaled(rig):
    assert right(rig.placed(depth_image("16UC1"), info((480, 640))))
    whole = info((480, 640), binning_x=2, binning_y=2)
    assert right(rig.placed(depth_image("16UC1"), whole))


@pytest.mark.parametrize("kind", ["16UC1", "32FC1"])
def test_compressed_depth_gives_the_same_positions(tmp_path, ros, kind):
    peer = Rig(compressed_depth=True)
    parameters = ("diagnostics_period:=0.2", "depth_transport:=compressedDepth")
    try:
        with NodeProcess(tmp_path / "node.log", *parameters):
            peer.meet_rig()
            assert right(peer.placed(compressed(depth_image(kind)), info()))
            assert kind in peer.status("image")["depth"]
            bad = compressed(depth_image(kind))
            bad.data = bad.data[:60]  # looks right on arrival, and cannot be decoded
            result = peer.see(bad, info())
            assert result.objects[0].state == TrackedObject.TRACKED and not result.objects[0].has_position
            peer.until(
                lambda: "could not" in (s := peer.status("image")["depth"]) or "holds" in s, "the reason"
            )
            assert right(peer.placed(compressed(depth_image(kind)), info()))
    finally:
        peer.destroy_node()


def test_a_camera_info_published_once_and_kept_is_heard_with_an_override(tmp_path, ros):
    peer = Rig(latched_info=True)
    peer.infos.publish(info(header=peer.header()))
    here = "qos_overrides./camera_info.subscription"
    try:
        with NodeProcess(
            tmp_path / "node.log",
            "diagnostics_period:=0.2",
            f"{here}.durability:=transient_local",
            f"{here}.reliability:=reliable",
        ):
            peer.meet_rig()
            assert right(peer.placed(depth_image("16UC1"), None))
    finally:
        peer.destroy_node()


def test_depth_of_another_time_is_not_used_and_a_slower_one_is_while_it_fits(rig):
    rig.placed(depth_image("16UC1"), info())
    alone = rig.see(None, None).objects[0]  # the depth is PERIOD old, more than depth_tolerance
    assert alone.state == TrackedObject.TRACKED and not alone.has_position and alone.depth_points == 0
    assert "earlier than the image" in rig.status("image")["depth"]
    assert right(rig.placed(depth_image("16UC1"), info(), later=0.03))
    rig.put("depth_tolerance", 2.5 * PERIOD)
    assert right(rig.placed(depth_image("16UC1"), info()))
    found = [rig.see(None, None).objects[0].has_position for _ in range(4)]
    assert found == [True, True, False, False]


def test_without_a_calibrated_camera_there_is_no_position_and_diagnostics_say_why(rig):
    assert not rig.see(depth_image("16UC1"), None).objects[0].has_position
    status = rig.status("image")
    assert "camera_info" in status["depth"] and "no positions" in status["message"]
    for bad, reason in (
        (info(k=[0.0] * 9), "calibrated"),
        (info((480, 848)), "aspect"),
        (info(d=[0.1] * 3), "not known"),
        (info(k=[500.0, 0.0, 160.0, 0.0, 1e-300, 120.0, 0.0, 0.0, 1.0]), "calibrated"),
    ):
        rig.spin(0.2)
        for _ in range(3):
            assert not rig.see(depth_image("16UC1"), bad).objects[0].has_position
        assert reason in rig.status("image")["depth"]
    assert right(rig.placed(depth_image("16UC1"), info()))
    assert rig.status("image")["depth"].startswith("used: 320x240 16UC1")


def test_bad_depth_is_counted_and_disturbs_nothing(rig):
    rig.placed(depth_image("16UC1"), info())
    colour = fill_image(Image(), PICTURE, "rgb8", Header())
    cut = depth_image("16UC1")
    cut.data = cut.data[:1000]
    empty = Image(encoding="16UC1")
    for message in (colour, cut, empty):
        item = rig.see(message, info()).objects[0]
        assert item.state == TrackedObject.TRACKED and not item.has_position
    rig.until(lambda: rig.status("image")["depth and camera info failed"] == "3", "the count")
    errors = rig.status("tracker")
    assert errors["errors: depth"] == "3" and "0x0" in errors["last error"]
    assert right(rig.placed(depth_image("16UC1"), info()))
    assert right(rig.see(depth_image("16UC1"), info(d=[0.0] * 100_000)).objects[0]), "by the one before"
    rig.until(lambda: rig.status("tracker").get("errors: camera_info") == "1", "the count")
    assert "100000 distortion coefficients" in rig.status("tracker")["last error"]


def cloud_of(message: PointCloud2) -> np.ndarray:
    names = {field.name: field for field in message.fields}
    assert list(names) == ["x", "y", "z", "rgb", "label"] and message.point_step == 20
    return np.frombuffer(message.data, spatial_messages.POINT).reshape(message.height, message.width)


def test_points_are_those_of_the_object_in_its_colour_under_the_images_header(rig):
    clouds: list[PointCloud2] = []
    subscription = rig.create_subscription(PointCloud2, "tracker/points", clouds.append, 10)
    rig.until(lambda: rig.count_publishers("tracker/points"), "the topic")

    def fresh_cloud() -> tuple[np.ndarray, PointCloud2, TrackedObject]:
        for _ in range(20):
            clouds.clear()
            item = rig.placed(depth_image("16UC1"), info())
            rig.spin(0.3)
            if clouds and clouds[-1].header == rig.results[-1].header:
                return cloud_of(clouds[-1]), clouds[-1], item
        raise AssertionError("no cloud")

    points, message, item = fresh_cloud()
    assert message.height == 1 and message.is_dense and points.size == item.depth_points
    assert points["x"].mean() == pytest.approx(item.centroid.x, abs=1e-4)
    assert set(np.unique(points["label"])) == {item.slot}
    red = sum(c << s for c, s in zip(COLOURS["red"], (16, 8, 0), strict=True))
    assert (points["rgb"] == red).mean() > 0.9
    rig.put("points_organised", True)
    rig.put("points_stride", 2)
    points, message, item = fresh_cloud()
    assert (message.height, message.width, message.is_dense) == (120, 160, False)
    known = np.isfinite(points["z"])
    assert known.sum() == pytest.approx(item.depth_points / 4, rel=0.1)
    assert np.array_equal(known, points["label"] == item.slot)
    rig.destroy_subscription(subscription)


def test_markers_stand_where_the_object_is_and_go_with_it(rig):
    heard: list[MarkerArray] = []
    rig.create_subscription(MarkerArray, "tracker/markers", heard.append, 10)

    def latest(picture=PICTURE) -> list[Marker]:
        for _ in range(20):
            heard.clear()
            header = rig.see(depth_image("16UC1"), info(), picture=picture).header
            rig.spin(0.3)
            if heard and heard[-1].markers and heard[-1].markers[0].header == header:
                return list(heard[-1].markers)
        raise AssertionError("no markers")

    markers = {marker.ns: marker for marker in latest()}
    assert set(markers) == {"box", "contour", "text"}
    assert all(m.action == Marker.ADD and m.lifetime.sec == 1 for m in markers.values())
    corners = np.array([(p.x, p.y, p.z) for p in markers["box"].points])
    assert len(corners) == 24 and np.abs(np.ptp(corners, axis=0)[:2] - EXTENT[:2]).max() < 0.03
    line = np.array([(p.x, p.y, p.z) for p in markers["contour"].points])
    assert len(line) >= 8 and np.abs(np.median(line[:, 2]) - TRUTH[2]) < 0.01
    assert markers["text"].text.startswith(f"red 0.90\n{np.linalg.norm(TRUTH):.2f}")
    assert markers["text"].pose.position.y < corners[:, 1].min()
    gone = latest(EMPTY)
    assert {m.ns for m in gone} == {"box", "contour", "text"} and all(m.action == Marker.DELETE for m in gone)


def test_nothing_is_made_while_nobody_listens(ros, monkeypatch):
    node = rclpy.create_node("quiet")
    for name, value in (("publish_tf", False), ("points_stride", 1), ("points_organised", False)):
        node.declare_parameter(name, value)
    node.declare_parameter("marker_lifetime", 1.0)
    node.declare_parameter("tf_prefix", "")
    made = []
    monkeypatch.setattr(
        spatial_messages, "cloud_message", lambda *a, **k: made.append("cloud") or PointCloud2()
    )
    monkeypatch.setattr(
        spatial_messages.SpatialPublishers, "_publish_markers", lambda *a: made.append("markers")
    )
    publishers = spatial_messages.SpatialPublishers(node, "")
    publishers.publish(None, object(), lambda: None, Header())
    assert made == []
    ears = [
        node.create_subscription(PointCloud2, "quiet/points", lambda _: None, 1),
        node.create_subscription(MarkerArray, "quiet/markers", lambda _: None, 1),
    ]
    for _ in range(50):
        rclpy.spin_once(node, timeout_sec=0.05)
        if node.count_subscribers("quiet/points") and node.count_subscribers("quiet/markers"):
            break
    in_space = type("ObjectsInSpace", (), {"surfaces": {}})()
    publishers.publish(None, in_space, lambda: None, Header())
    assert made == ["cloud", "markers"] and ears
    publishers.destroy()
    node.destroy_node()


def test_without_use_depth_the_node_does_not_listen_to_it(tmp_path, ros):
    peer = Rig()
    with NodeProcess(tmp_path / "node.log", "use_depth:=false"):
        peer.meet()
        assert peer.depths.get_subscription_count() == 0
    peer.destroy_node()


def test_what_is_published_in_the_place_of_depth_is_named(tmp_path, peer):
    points = peer.create_publisher(PointCloud2, "/camera/points", 1)
    remaps = ["depth:=/camera/points"]
    with NodeProcess(tmp_path / "node.log", "diagnostics_period:=0.2", remaps=remaps):
        peer.meet()
        text = "/camera/points is sensor_msgs/msg/PointCloud2, expected sensor_msgs/msg/Image"
        peer.until(lambda: peer.status("image")["depth"] == text, "the reason")
    peer.destroy_publisher(points)
