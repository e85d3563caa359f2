"""Senders that nothing arrives from, and nodes that are taken for one another: the node says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Point
from rclpy.context import Context
from rclpy.node import Node
from ros_help import NodeProcess
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String

from uniref_ros.diagnostics import ErrorLog, node_status
from uniref_ros.namesakes import Namesakes
from uniref_ros.qos import quality

LATCHED = "qos_overrides./camera_info.subscription.durability:=transient_local"


def test_senders_whose_quality_of_service_is_too_low_are_counted_and_named(tmp_path, peer):
    with NodeProcess(tmp_path / "node.log", "diagnostics_period:=0.1", LATCHED) as process:
        peer.meet(warm_up=False)
        prompts = peer.create_publisher(String, "tracker/prompt", quality("best_effort", 10))
        info = peer.create_publisher(CameraInfo, "camera_info", quality("best_effort", 10))
        prompts.publish(String(data="red"))
        info.publish(CameraInfo())
        peer.until(
            lambda: int(peer.status("tracker").get("errors: quality of service", 0)) >= 2,
            "both in diagnostics",
        )
        text = process.text()
        assert "1 publisher of /tracker/prompt offers less than is asked for (reliability)" in text
        assert "1 publisher of /camera_info offers less than is asked for (durability)" in text


@pytest.fixture
def stranger(ros) -> Iterator[Node]:
    """A node of another participant: within one, a topic has one type."""
    context = Context()
    rclpy.init(args=[], context=context)
    node = Node("stranger", context=context)
    yield node
    node.destroy_node()
    context.shutdown()


def test_a_sender_of_another_type_is_named(node, peer, stranger):
    peer.meet(warm_up=False)
    publisher = stranger.create_publisher(Point, "tracker/prompt", 10)
    expected = "/tracker/prompt takes std_msgs/msg/String, and is sent geometry_msgs/msg/Point"
    peer.until(lambda: expected in peer.status("tracker")["message"], "a warning")
    assert peer.status("tracker")["level"] == "WARN" and expected in node.text()
    stranger.destroy_publisher(publisher)
    peer.until(lambda: peer.status("tracker")["level"] == "OK", "the end of it")


@pytest.fixture
def two(ros) -> Iterator[list[Node]]:
    """One node, and room for another of its name."""
    nodes = [Node("tracker", namespace="pair")]
    yield nodes
    for node in nodes:
        node.destroy_node()


def test_another_node_of_the_same_name_is_said_when_it_stays(two):
    now = 0.0
    seen = Namesakes(two[0], lambda: now)

    def count(wanted: int) -> None:
        for _ in range(200):
            names = two[0].get_node_names_and_namespaces()
            if sum(tuple(name) == ("tracker", "/pair") for name in names) == wanted:
                return
            rclpy.spin_once(two[0], timeout_sec=0.05)
        raise AssertionError(f"waited for {wanted} nodes, found {names}")

    count(1)
    assert seen.look() == ""
    two.append(Node("tracker", namespace="pair"))
    count(2)
    assert seen.look() == ""  # it may be one that was killed
    now = 31.0
    assert seen.look().startswith("another node is called /pair/tracker too: commands reach each of them")
    two.pop().destroy_node()
    count(1)
    assert seen.look() == ""


def test_what_is_wrong_all_the_time_is_a_warning_between_errors():
    log = ErrorLog()

    def status() -> DiagnosticStatus:
        said = {"state": "active", "enabled": True, "progress": "", "facts": {}, "known": {}}
        return node_status("tracker", **said, errors=log, warning="two of one name")

    assert (status().level, status().message) == (DiagnosticStatus.WARN, "two of one name")
    log.report("prompt", "no words")
    assert [status().message for _ in range(2)] == ["prompt: no words", "two of one name"]
