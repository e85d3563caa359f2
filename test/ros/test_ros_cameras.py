"""Cameras as they are: encodings that change, streams that stop, clocks that jump, images that come torn or
not at all, quality of service, remaps and namespaces."""

from __future__ import annotations

import numpy as np
import pytest
from fake_runtime import overlap, rectangle, scene

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_help import NodeProcess, Peer, full_mask
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String

from uniref_ros.conversion import fill_image
from uniref_ros.msg import TrackedObjectArray

LEFT, SIZE = (40, 32, 48, 40), (128, 224)
RED = scene(("red", LEFT))
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def padded(message: Image, pad: int) -> Image:
    """The same image, each row followed by bytes that are not of it."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    rows = np.hstack([rows, np.full((len(rows), pad), 171, np.uint8)])
    message.step += pad
    message.data = rows.tobytes()
    return message


def encoded(header, encoding: str) -> Image:
    """RED in this encoding."""
    if encoding == "rgb16":
        return fill_image(Image(), RED.astype(np.uint16) * 257, encoding, header)
    if encoding == "bayer_rggb8":
        mosaic = RED[..., 1].copy()
        mosaic[::2, ::2], mosaic[1::2, 1::2] = RED[::2, ::2, 0], RED[1::2, 1::2, 2]
        return fill_image(Image(), mosaic, encoding, header)
    order = {"rgb8": [0, 1, 2], "bgr8": [2, 1, 0], "bgra8": [2, 1, 0, 0]}[encoding]
    return fill_image(Image(), RED[..., order], encoding, header)


def test_encoding_and_padding_may_change_in_mid_stream(node, peer):
    peer.meet()
    peer.prompts.publish(String(data="red"))
    peer.tracked(RED)
    for encoding, pad in (
        ("bgr8", 0),
        ("rgb8", 13),
        ("bgra8", 5),
        ("rgb16", 0),
        ("bayer_rggb8", 6),
        ("rgb8", 0),
    ):
        message = padded(encoded(peer.image(RED).header, encoding), pad)
        peer.images.publish(message)
        result = peer.result_of(message)
        assert [item.id for item in result.objects] == ["1"], encoding
        assert result.objects[0].frames_since_seen == 0, encoding
        assert overlap(full_mask(result.objects[0], SIZE), rectangle(LEFT)) > 0.8, encoding


def test_a_camera_that_stops_and_returns_is_taken_up_again(tmp_path, peer):
    with NodeProcess(tmp_path / "node.log", "diagnostics_period:=0.1", "stale_after:=0.3") as process:
        peer.meet()
        peer.prompts.publish(String(data="red"))
        peer.tracked(RED)
        peer.until(lambda: "though it has 1 publisher" in peer.status(": image")["message"], "the silence")
        assert "no image on /image for" in process.text(), "it is logged too"
        peer.stop_camera()
        peer.until(
            lambda: "nobody publishes it" in peer.status(": image")["message"], "the end of the camera"
        )
        peer.start_camera()
        peer.until(peer.images.get_subscription_count, "the subscription")
        assert [item.id for item in peer.tracked(RED)] == ["1"]


def test_torn_images_and_silence_name_the_cure(tmp_path, peer):
    with NodeProcess(tmp_path / "node.log", "diagnostics_period:=0.1", "stale_after:=0.3") as process:
        peer.meet(warm_up=False)
        peer.until(lambda: "fastdds_shm.xml" in peer.status(": image")["message"], "the cure")
        assert "no image on /image yet, though it has 1 publisher" in process.text()
        peer.meet()
        image = peer.image(RED)
        image.data = image.data[: len(image.data) // 2]
        peer.images.publish(image)
        peer.until(lambda: peer.status(": image")["torn"] == "1", "the torn image")
        last = peer.status("tracker")["last error"]
        assert f"{RED.nbytes // 2} bytes" in last and str(RED.nbytes) in last and "fastdds_shm.xml" in last
        assert peer.status(": image")["failed"] == "1"


def test_a_publisher_of_lesser_quality_than_asked_for_is_named(tmp_path, ros):
    peer = Peer(image_qos=BEST_EFFORT)
    try:
        with NodeProcess(tmp_path / "node.log", "diagnostics_period:=0.1", "image_reliability:=reliable"):
            peer.until(lambda: peer.count_subscribers("image"), "the subscription")
            peer.until(
                lambda: "quality of service is less" in peer.status(": image")["message"], "the mismatch"
            )
    finally:
        peer.destroy_node()


def reliabilities(peer: Peer, topic: str) -> set[ReliabilityPolicy]:
    return {info.qos_profile.reliability for info in peer.get_publishers_info_by_topic(topic)}


def test_quality_of_service_can_be_overridden_by_topic(tmp_path, peer):
    overrides = [
        "qos_overrides./tracker/overlay.publisher.reliability:=best_effort",
        "qos_overrides./image.subscription.reliability:=reliable",
    ]
    with NodeProcess(tmp_path / "node.log", *overrides):
        peer.meet()
        assert reliabilities(peer, "/tracker/overlay") == {ReliabilityPolicy.BEST_EFFORT}
        assert reliabilities(peer, "/tracker/objects") == {ReliabilityPolicy.RELIABLE}
        (ours,) = [i for i in peer.get_subscriptions_info_by_topic("/image") if i.node_name == "tracker"]
        assert ours.qos_profile.reliability == ReliabilityPolicy.RELIABLE


def test_namespace_remaps_and_output_quality(tmp_path, ros):
    """One node in a namespace, listening to another camera's topic under another name."""
    peer = Peer(namespace="arm")
    images = Node.create_publisher(peer, Image, "/head/colour", QoSProfile(depth=5))
    found: list[TrackedObjectArray] = []
    peer.create_subscription(TrackedObjectArray, "/arm/eye/found", found.append, BEST_EFFORT)
    try:
        with NodeProcess(
            tmp_path / "node.log",
            "output_reliability:=best_effort",
            "prompts:=[' ', 'red', '']",
            namespace="arm",
            remaps=["__node:=eye", "image:=/head/colour", "~/objects:=eye/found"],
        ) as process:
            peer.until(images.get_subscription_count, "the remapped subscription")
            peer.until(lambda: peer.count_publishers("/arm/eye/found"), "the remapped output")

            def seen() -> bool:
                images.publish(peer.image(RED))
                peer.spin(0.3)
                return any(item.area for result in found for item in result.objects)

            peer.until(seen, "the object")
            assert "listening to /head/colour" in process.text()
            assert reliabilities(peer, "/arm/eye/found") == {ReliabilityPolicy.BEST_EFFORT}
    finally:
        peer.destroy_node()


def test_simulated_time_and_its_jumps(tmp_path, peer):
    def at(seconds: int, clock_seconds: float) -> TrackedObjectArray:
        """An image stamped so, while the simulated clock shows this."""
        whole = int(clock_seconds)
        clocks.publish(Clock(clock=Time(sec=whole, nanosec=int((clock_seconds - whole) * 1e9))))
        peer.spin(0.2)
        peer._stamp = seconds - 1
        return peer.show(RED)

    clocks = peer.create_publisher(Clock, "/clock", 10)
    with NodeProcess(tmp_path / "node.log", "use_sim_time:=true", "diagnostics_period:=0.1"):
        peer.meet()
        assert peer.results[-1].age_ms == -1, "no clock yet: every stamp is ahead of it"
        peer.until(lambda: peer.status("tracker")["state"] == "active", "timers that need no clock")
        peer.prompts.publish(String(data="red"))
        peer.tracked(RED)
        peer.until(clocks.get_subscription_count, "the node's subscription to the clock")
        assert at(2000, 2000.25).age_ms == pytest.approx(250, abs=1)
        before = int(peer.status(": image")["clock jumps"])
        again = at(1500, 1500.5)  # as when a bag begins again
        assert again.age_ms == pytest.approx(500, abs=1) and again.objects[0].frames_since_seen == 0
        assert at(1502, 1502.125).objects[0].id == "1"
        assert int(peer.status(": image")["clock jumps"]) == before + 1
