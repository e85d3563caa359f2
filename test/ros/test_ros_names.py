"""Which topic a name means after remapping, frames that two objects never share, and Humble's rclpy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

import rclpy
from depth_rig import CX, CY, FX, FY, TRUTH, Rig, depth_image, info
from rclpy.node import Node
from ros_help import NodeProcess
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from uniref_model.tracking.types import TrackedObject, TrackState
from uniref_ros.conversion import fill_image, fill_jpeg
from uniref_ros.qos import resolved
from uniref_ros.space.publishers import transform_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("remaps", "compressed"),
    [
        ([], "/left/image/compressed"),
        (["left/image:=/cam/image_raw"], "/cam/image_raw/compressed"),
        (["left/image/compressed:=/other"], "/other"),
        (["left/image:=/cam/image_raw", "left/image/compressed:=/other"], "/other"),
    ],
)
def test_a_transports_topic_follows_its_base_unless_it_is_remapped_itself(remaps, compressed):
    context = rclpy.Context()
    arguments = [word for remap in remaps for word in ("-r", remap)]
    rclpy.init(args=["--ros-args", *arguments] if arguments else [], context=context)
    try:
        node = Node("names", context=context)
        assert resolved(node, "left/image", "/compressed") == compressed
        assert resolved(node, "left/image") == (
            "/cam/image_raw" if "left/image:" in str(remaps) else "/left/image"
        )
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)


RECTIFIED = {
    "raw": ("raw", "image:=cam/image_rect", "cam/image_rect"),
    "compressed, remapped itself": (
        "compressed",
        "image/compressed:=cam/image_rect/compressed",
        "cam/image_rect/compressed",
    ),
    "compressed, its base remapped": ("compressed", "image:=cam/image_rect", "cam/image_rect/compressed"),
    "compressed, under another name": ("compressed", "image/compressed:=cam/rect_jpeg", "cam/rect_jpeg"),
}


class NamedRig(Rig):
    """A rig whose images go to a topic of this name."""

    def __init__(self, transport: str, topic: str) -> None:
        super().__init__()
        self.destroy_publisher(self.images)
        self._compressed = transport == "compressed"
        self.images = self.create_publisher(CompressedImage if self._compressed else Image, topic, 5)

    def image_of(self, picture: np.ndarray, header: Header):
        if self._compressed:
            return fill_jpeg(CompressedImage(), picture, 95, header)
        return fill_image(Image(), picture, "rgb8", header)


@pytest.mark.parametrize("name", RECTIFIED)
def test_whether_an_image_is_rectified_is_told_by_the_topic_that_is_heard(tmp_path, ros, name):
    """K and the distortion are far from P, so that the position is right only if P is used."""
    transport, remap, topic = RECTIFIED[name]
    rig = NamedRig(transport, topic)
    s = 0.5  # the rig's picture is half as large as the calibration's
    p = [FX * s, 0.0, (CX + 0.5) * s - 0.5, 0.0, 0.0, FY * s, (CY + 0.5) * s - 0.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    k = [1.2 * FX * s, 0.0, CX * s - 9, 0.0, 1.2 * FY * s, CY * s + 9, 0.0, 0.0, 1.0]
    camera = info(k=k, p=p, d=[0.2, 0.1, 0.0, 0.0, 0.0])
    parameters = ("diagnostics_period:=0.2", "max_delay:=0.0", f"image_transport:={transport}")
    try:
        with NodeProcess(tmp_path / "node.log", *parameters, remaps=[remap]):
            rig.meet_rig()
            item = rig.placed(depth_image("16UC1"), camera)
            place = np.array([item.centroid.x, item.centroid.y, item.centroid.z])
            assert np.abs(place - TRUTH).max() < 0.012, (place, TRUTH)
    finally:
        rig.destroy_node()


def test_two_ids_never_share_a_frame():
    class Somewhere:
        centroid = (1.0, 2.0, 3.0)

    names = ["a/b", "a b", "a_b", "a%2Fb", "a%20b", "a__b", "é", "e", "a:b", "cup-1.2"]
    frames = [
        transform_of(
            TrackedObject(id=name, slot=1, label="", prompt="", state=TrackState.TRACKED),
            Somewhere,
            Header(),
            "",
        ).child_frame_id
        for name in names
    ]
    assert len(set(frames)) == len(names) and all(frame.isascii() and "/" not in frame for frame in frames)
    assert frames[-1] == "object_cup-1.2" and frames[2] == "object_a_b"


HUMBLE = """
import sys, types
import rclpy.event_handler as new, rclpy.lifecycle
old = types.ModuleType("rclpy.qos_event")  # a stand-in: only Humble's names of what the node uses
old.SubscriptionEventCallbacks = new.SubscriptionEventCallbacks
old.UnsupportedEventTypeError = new.UnsupportedEventTypeError
sys.modules["rclpy.qos_event"], sys.modules["rclpy.event_handler"] = old, None
import uniref_ros.tracker_node, uniref_ros.qos
assert uniref_ros.qos.SubscriptionEventCallbacks is old.SubscriptionEventCallbacks
"""


def test_humbles_name_of_the_event_callbacks_is_taken():
    """With a stand-in of Humble's module name; no Humble runs here."""
    subprocess.run([sys.executable, "-c", HUMBLE], check=True, cwd=ROOT, timeout=120)


def test_rclpys_event_callbacks_are_named_in_one_place():
    files = [*(ROOT / "uniref_ros").rglob("*.py")]
    users = [
        path.name for path in files if "event_handler" in path.read_text() or "qos_event" in path.read_text()
    ]
    assert users == ["qos.py"]
