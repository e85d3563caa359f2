"""What leaves first, what waits for nobody, and what the node says of itself when it starts and stops."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import standin_build
from fake_runtime import FakeColourRuntime, scene

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

import rclpy
from depth_rig import Rig, depth_image, info
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_help import NodeProcess, Peer
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from stops import PROGRAMS, stop_often

from uniref_model.runtime.files import WEIGHTS
from uniref_ros import tracker_node
from uniref_ros.executor import NodeExecutor
from uniref_ros.tracker_node import TrackerNode

HERE = Path(__file__).parent
RED = scene(("red", (40, 32, 48, 40)))
DONE = TransitionCallbackReturn.SUCCESS
needs_weights = pytest.mark.skipif(
    not (WEIGHTS / "uniref_nano" / "model.json").is_file(), reason="the shipped weights are not here"
)


@pytest.fixture
def rig(ros) -> Iterator[Rig]:
    peer = Rig()
    yield peer
    peer.destroy_node()


def test_the_transform_is_there_when_the_objects_come(tmp_path, rig):
    """As a listener in another process gets them, with someone looking at overlays."""
    variables = standin_build.environment()
    if isinstance(variables, str):
        pytest.skip(variables)
    topics = ("tf2_msgs/TFMessage", "/tf", "uniref_ros/TrackedObjectArray", "tracker/objects")
    with NodeProcess(tmp_path / "node.log", "publish_tf:=true", env={**variables, "DOUBLE_DRAW": "0.05"}):
        rig.meet_rig()
        rig.hear_pictures()
        rig.placed(depth_image("16UC1"), info())
        recorder = [str(HERE / "record.py"), *topics]
        with NodeProcess(tmp_path / "heard.log", program=recorder, env=variables) as heard:
            rig.until(lambda: rig.see(depth_image("16UC1"), info()) and heard.text().count("/tf") > 1, "tf")
            for _ in range(12):
                rig.see(depth_image("16UC1"), info())
            rig.spin(0.5)
            lines = [json.loads(line) for line in heard.text().splitlines() if line.endswith("]")]
    known: set[tuple[int, int]] = set()
    found = missed = 0
    for topic, message in lines:
        if topic == "/tf":
            stamps = [transform["header"]["stamp"] for transform in message["transforms"]]
            known |= {(stamp["sec"], stamp["nanosec"]) for stamp in stamps}
        elif any(item["has_position"] for item in message["objects"]) and known:
            stamp = message["header"]["stamp"]
            there = (stamp["sec"], stamp["nanosec"]) in known
            found, missed = found + there, missed + (not there)
    assert found >= 10 and missed == 0, f"{missed} of {found + missed} look-ups failed"


def test_who_looks_at_overlays_keeps_no_mask_waiting(tmp_path, peer):
    with NodeProcess(tmp_path / "node.log", env={"DOUBLE_DRAW": "0.7"}):
        peer.meet()
        peer.hear_pictures()
        peer.show_until(RED, lambda _: peer.overlays, "a first overlay")
        peer.overlays.clear()
        began = time.monotonic()
        results = [peer.show(RED) for _ in range(8)]
        assert time.monotonic() - began < 8 * 0.7 / 2, "masks do not wait for drawings"
        last = results[-1].header.stamp
        peer.until(lambda: any(o.header.stamp == last for o in peer.overlays), "the newest overlay")
        assert len(peer.overlays) < len(results), "those that a newer one replaced are not drawn"
        assert [r.header.stamp for r in results] == [m.header.stamp for m in peer.labels[-8:]]


def test_overlays_are_no_more_than_asked_for_and_always_the_newest(tmp_path, peer):
    with NodeProcess(tmp_path / "node.log", "overlay_rate:=4.0"):
        peer.meet()
        peer.hear_pictures()
        peer.show_until(RED, lambda _: peer.overlays, "a first overlay")
        peer.overlays.clear()
        began, results = time.monotonic(), []
        while time.monotonic() - began < 2.0:
            results.append(peer.show(RED))
        seconds = time.monotonic() - began
        last = results[-1].header.stamp
        peer.until(lambda: any(o.header.stamp == last for o in peer.overlays), "the newest overlay")
        assert len(results) > 12 and 2 <= len(peer.overlays) <= 4 * seconds + 2


@pytest.fixture
def tracker(ros, monkeypatch) -> Iterator[TrackerNode]:
    """A node in this process, on the double, that waits to be configured."""
    monkeypatch.setattr(tracker_node, "load_runtime", lambda *_, **__: FakeColourRuntime(interactive=True))
    node = TrackerNode(parameter_overrides=[Parameter("autostart", value=False)])
    yield node
    node.destroy_node()


@pytest.mark.parametrize("humble", [False, True], ids=["callbacks before and after", "Humble has none"])
def test_a_parameter_changed_while_the_node_is_configured_is_not_lost(ros, monkeypatch, humble):
    if humble:  # a stand-in: its rclpy has no such callbacks
        monkeypatch.delattr(Node, "add_pre_set_parameters_callback")
        monkeypatch.delattr(Node, "add_post_set_parameters_callback")
    monkeypatch.setattr(tracker_node, "load_runtime", lambda *_, **__: FakeColourRuntime(interactive=True))
    node = TrackerNode(parameter_overrides=[Parameter("autostart", value=False)])
    made = tracker_node.Camera

    def camera_made_slowly(*args):
        camera = made(*args)
        (answer,) = node.set_parameters([Parameter("lost_after", value=77)])
        assert answer.successful
        (answer,) = node.set_parameters([Parameter("model", value="another")])
        assert not answer.successful and "configured" in answer.reason
        return camera

    try:
        monkeypatch.setattr(tracker_node, "Camera", camera_made_slowly)
        assert node.trigger_configure() == DONE
        (camera,) = node._cameras.values()
        assert camera.tracker.config.lost_after == 77
        node.set_parameters([Parameter("lost_after", value=78)])
        assert camera.tracker.config.lost_after == 78
        refused = node.set_parameters_atomically(
            [Parameter("lost_after", value=79), Parameter("max_objects", value=999)]
        )
        assert not refused.successful and camera.tracker.config.lost_after == 78
        assert node.get_parameter("lost_after").value == 78
    finally:
        node.destroy_node()


def test_a_signal_that_takes_the_context_away_under_the_executor_is_the_end_and_no_error():
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    executor = NodeExecutor(lambda error: None, context=context)

    def wait(*_):
        context.try_shutdown()
        raise RuntimeError("failed to initialize wait set: the given context is not valid")

    executor.wait_for_ready_callbacks = wait
    executor.spin_until_over()
    assert not context.ok()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_stop_under_a_flood_ends_0(tmp_path, ros, name):
    for status, seconds, text in stop_often(name, 3, tmp_path):
        assert status == 0, text
        assert "Traceback" not in text and seconds < 2.0


def test_a_wrong_image_topic_is_said_in_the_terminal_with_those_there_are(tmp_path, peer):
    options = {"remaps": ["image:=/cam/colour"], "namespace": "arm"}
    with NodeProcess(tmp_path / "node.log", "stale_after:=0.5", "diagnostics_period:=0.1", **options) as node:
        text = "no image on /cam/colour yet: nobody publishes it; image topics that are published: /image"
        peer.until(lambda: text in node.text(), "the warning")
        peer.spin(1.0)
        assert node.text().count("no image on") <= 2, "said once, and once more when topics are discovered"


@pytest.mark.parametrize(
    ("transport", "topic", "kind", "said"),
    [
        (
            "raw",
            "/cam/image/compressed",
            CompressedImage,
            "expected sensor_msgs/msg/Image, found sensor_msgs/msg/CompressedImage "
            "(image_transport: compressed takes it, with image remapped to /cam/image)",
        ),
        ("compressed", "/cam/compressed", Image, "(image_transport: raw takes it)"),
        ("raw", "/cam", String, "expected sensor_msgs/msg/Image, found std_msgs/msg/String"),
    ],
)
def test_a_topic_of_another_type_is_said_and_not_taken_for_a_lossy_one(
    tmp_path, peer, transport, topic, kind, said
):
    publisher = peer.create_publisher(kind, topic, 5)
    remaps = [f"image{'/compressed' * (transport == 'compressed')}:={topic}"]
    parameters = f"image_transport:={transport}", "stale_after:=0.3", "diagnostics_period:=0.1"
    with NodeProcess(tmp_path / "node.log", *parameters, remaps=remaps) as node:
        peer.until(lambda: said in node.text(), "the warning")
        assert "Fast DDS" not in node.text()
    peer.destroy_publisher(publisher)


BAD_STARTS = {
    "a camera's name": ("cameras:=['my cam']", "cameras is ['my cam'], expected names of at most"),
    "threads": ("threads:=5000", "threads is 5000, expected 0 to 256"),
    "a word that YAML reads as a number": ("model:=5", "model is 5, expected a word"),
    "a rate that is none": ("max_rate:=1e-11", "max_rate is 1e-11, expected 0 or at least 0.001"),
    "no parameter": ("bad", "cannot start"),
    "a depth": ("qos_overrides./image.subscription.depth:=-1", "depth is -1, expected 1 to"),
    "a reliability": ("qos_overrides./image.subscription.reliability:=relible", "'relible', expected one of"),
}


@pytest.mark.parametrize("name", BAD_STARTS)
def test_a_bad_parameter_is_one_clear_line(tmp_path, ros, name):
    parameter, text = BAD_STARTS[name]
    with NodeProcess(tmp_path / "node.log", parameter) as process:
        assert process.child.wait(30) == 1
        assert text in process.text() and "Traceback" not in process.text()


def test_misspelt_and_empty_parameters_do_not_stop_the_node_but_are_said(tmp_path, peer):
    options = ("lost_afte:=3", "prompts:=[]", "cameras:=[]", "image_rectified:=yes", "max_rate:=100")
    options += ("qos_overrides./imgae.subscription.depth:=3",)
    with NodeProcess(tmp_path / "node.log", *options) as node:
        peer.meet()
        assert peer.show(RED).objects == []
        assert "no parameter 'lost_afte'" in node.text() and "did you mean lost_after?" in node.text()
        assert "'qos_overrides./imgae.subscription.depth' plays no part" in node.text()


def test_every_transition_leaves_a_line(tracker, monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(type(tracker.get_logger()), "info", lambda self, text, **_: lines.append(text))
    assert tracker.trigger_configure() == DONE and tracker.trigger_activate() == DONE
    assert any("active, listening to /image" in line for line in lines)
    assert tracker.trigger_deactivate() == DONE and "inactive" in lines[-1]
    assert tracker.trigger_cleanup() == DONE and "unconfigured" in lines[-1]


@needs_weights
def test_the_start_is_told_in_short_lines_and_once(tmp_path, peer, request):
    program = [str(request.config.rootpath / "scripts" / "tracker_node")]
    with NodeProcess(tmp_path / "node.log", program=program) as process:
        peer.until(lambda: "active, listening" in process.text(), "the start")
        assert all(len(line) < 260 for line in process.text().splitlines()), process.text()
        assert process.text().count("chosen automatically") <= 1
        assert "automatically" in peer.status("tracker")["chosen"], "the whole reason is in diagnostics"


def test_a_click_after_the_node_was_activated_anew_waits_for_an_image(tracker, ros):
    """Nothing that was shown before is clicked at."""
    assert tracker.trigger_configure() == DONE and tracker.trigger_activate() == DONE
    peer = Peer()
    spinner = NodeExecutor(lambda error: None)
    spinner.add_node(tracker)
    try:
        peer.hear_pictures()
        (camera,) = tracker._cameras.values()
        peer.prompts.publish(String(data="red"))

        def shown() -> bool:
            peer.images.publish(peer.image(RED))
            spinner.spin_once(0.05)
            peer.spin(0.02)
            return camera.shown is not None

        peer.until(shown, "an overlay")
        assert tracker.trigger_deactivate() == DONE
        assert camera.shown is None and camera.last is None
    finally:
        spinner.remove_node(tracker)
        peer.destroy_node()
