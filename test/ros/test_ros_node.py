"""The node as a managed process: life cycle, parameters, signals, memory, and what it does without a
model."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import yaml
from fake_runtime import scene

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from rclpy.parameter import Parameter
from ros_help import NodeProcess, Peer
from std_msgs.msg import String

from uniref_ros import voice_command
from uniref_ros.console import options as console
from uniref_ros.msg import TrackedObject
from uniref_ros.parameters import OPTIONS
from uniref_ros.srv import AddObject

LEFT, SIZE = (40, 32, 48, 40), (128, 224)
RED, EMPTY = scene(("red", LEFT)), scene()


def change(peer: Peer, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return peer.call(ChangeState, "tracker/change_state", request).success


def state(peer: Peer) -> str:
    return peer.call(GetState, "tracker/get_state", GetState.Request()).current_state.label


def put(peer: Peer, name: str, value) -> tuple[bool, str]:
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    result = peer.call(SetParameters, "tracker/set_parameters", request).results[0]
    return result.successful, result.reason


@pytest.fixture(scope="module")
def configured(tmp_path_factory, ros) -> Iterator[Peer]:
    """A peer of a node that is configured and inactive, in a namespace of its own."""
    peer = Peer(namespace="aside")
    log = tmp_path_factory.mktemp("configured") / "node.log"
    with NodeProcess(log, "autostart:=false", namespace="aside"):
        assert change(peer, Transition.TRANSITION_CONFIGURE)
        yield peer
    peer.destroy_node()


def test_a_manager_leads_the_node_through_its_life(tmp_path, peer):
    with NodeProcess(tmp_path / "node.log", "autostart:=false"):
        assert state(peer) == "unconfigured"
        assert peer.count_subscribers("image") == 0, "an unconfigured node listens to nothing"
        assert change(peer, Transition.TRANSITION_CONFIGURE) and state(peer) == "inactive"
        early = peer.call(AddObject, "tracker/add_object", AddObject.Request(text="red"))
        assert early.success, "objects may be added before activation"
        assert change(peer, Transition.TRANSITION_ACTIVATE) and state(peer) == "active"
        peer.meet()
        assert [item.id for item in peer.tracked(RED)] == ["1"]
        assert change(peer, Transition.TRANSITION_DEACTIVATE)
        peer.until(lambda: peer.images.get_subscription_count() == 0, "the end of the subscription")
        assert change(peer, Transition.TRANSITION_ACTIVATE)
        peer.meet()
        assert [item.id for item in peer.tracked(RED)] == ["1"], "objects outlast inactivity"
        assert change(peer, Transition.TRANSITION_DEACTIVATE) and change(peer, Transition.TRANSITION_CLEANUP)
        assert state(peer) == "unconfigured"
        peer.until(lambda: peer.count_publishers("tracker/objects") == 0, "the end of the topics")
        assert change(peer, Transition.TRANSITION_CONFIGURE) and change(peer, Transition.TRANSITION_ACTIVATE)
        peer.meet()
        assert peer.show(RED).objects == []
        again = peer.call(AddObject, "tracker/add_object", AddObject.Request(text="red"))
        assert again.object_id == "2", "ids are not reused, not even after a clean-up"
        assert change(peer, Transition.TRANSITION_ACTIVE_SHUTDOWN) and state(peer) == "finalized"


def test_every_parameter_has_a_description_and_numbers_have_a_range(node, peer):
    peer.meet()
    names = peer.call(ListParameters, "tracker/list_parameters", ListParameters.Request()).result.names
    ours = [name for name in names if name in {option.name for option in OPTIONS}]
    assert len(ours) == len(OPTIONS)
    request = DescribeParameters.Request(names=ours)
    for descriptor in peer.call(DescribeParameters, "tracker/describe_parameters", request).descriptors:
        assert len(descriptor.description) > 20, descriptor.name
        ranges = {2: descriptor.integer_range, 3: descriptor.floating_point_range}.get(descriptor.type)
        assert ranges is None or len(ranges) == 1, f"{descriptor.name} has no range"


def test_parameters_change_what_the_node_does(node, peer):
    peer.meet()
    assert put(peer, "lost_after", 2) == (True, "")
    peer.prompts.publish(String(data="red"))
    peer.tracked(RED)
    states = [peer.show(EMPTY).objects[0].state for _ in range(2)]
    assert states == [TrackedObject.TRACKED, TrackedObject.LOST]
    assert put(peer, "language_threshold", 0.95)[0]
    item = peer.show(RED).objects[0]
    assert item.state == TrackedObject.LOST and item.score == pytest.approx(0.9)
    assert put(peer, "language_threshold", -1.0)[0]
    assert peer.tracked(RED)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("lost_after", 0, "lost_after"),
        ("max_objects", 256, "max_objects"),
        ("overlay_quality", 0, "overlay_quality"),
        ("language_threshold", 1.5, "language_threshold"),
        ("references", "all of them", "first+previous"),
        ("lost_after", "soon", "type"),
        ("model", "other", "read when the node is configured"),
        ("autostart", False, "autostart"),
    ],
)
def test_a_bad_value_of_a_parameter_is_refused_with_the_reason(configured, name, value, reason):
    peer = configured
    before = value_of(peer, name)
    done, said = put(peer, name, value)
    assert not done and reason in said
    assert value_of(peer, name) == before


def value_of(peer: Peer, name: str):
    values = peer.call(GetParameters, "tracker/get_parameters", GetParameters.Request(names=[name])).values
    return values[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_cleanly_while_images_come_in(tmp_path, peer, number):
    with NodeProcess(tmp_path / "node.log", env={"DOUBLE_DELAY": "0.1"}) as process:
        peer.meet()
        peer.prompts.publish(String(data="red"))
        peer.tracked(RED)
        for _ in range(5):
            peer.images.publish(peer.image(RED))
            peer.spin(0.03)
        assert process.stop(number) == 0
        assert "Traceback" not in process.text()


def test_memory_stays_flat(node, peer):
    """A leak of one image a frame would be 26 MB here."""
    peer.meet()
    peer.prompts.publish(String(data="red"))
    peer.hear_pictures()
    peer.tracked(RED)
    for _ in range(100):
        peer.show(RED)
    before = node.memory_mb()
    for _ in range(300):
        peer.show(RED)
    assert node.memory_mb() - before < 8


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        ("model:=no_such_model", "no_such_model"),
        ("runtime:=abacus", "abacus"),
        ("lost_after:=0", "lost_after"),
        ("max_rate:=fast", "max_rate"),
    ],
)
def test_a_node_that_cannot_start_ends_with_the_reason(tmp_path, ros, parameter, reason):
    with NodeProcess(tmp_path / "node.log", parameter, program=["-m", "uniref_ros.tracker_node"]) as process:
        assert process.child.wait(60) == 1
        assert reason in process.text() and "Traceback" not in process.text()


def test_without_autostart_a_failed_configuration_leaves_the_node_unconfigured(tmp_path, peer):
    with NodeProcess(
        tmp_path / "node.log",
        "autostart:=false",
        "model:=no_such_model",
        program=["-m", "uniref_ros.tracker_node"],
    ) as process:
        assert not change(peer, Transition.TRANSITION_CONFIGURE)
        assert state(peer) == "unconfigured" and process.running
        assert put(peer, "model", "another")[0], "and the parameter can be put right"


def test_the_parameter_file_holds_every_parameter_with_its_default(request):
    path = request.config.rootpath / "config" / "tracker.yaml"
    files = yaml.safe_load(path.read_text(encoding="utf-8"))
    for node, options in (
        ("tracker", OPTIONS),
        ("voice_command", voice_command.OPTIONS),
        ("console", console.OPTIONS),
    ):
        values = files[f"/**/{node}"]["ros__parameters"]
        assert values == {option.name: option.default for option in options}


def test_the_parameter_file_is_accepted(tmp_path, peer, request):
    path = request.config.rootpath / "config" / "tracker.yaml"
    node = ["test/ros/node_on_double.py", "--ros-args", "--params-file", str(path)]
    with NodeProcess(tmp_path / "node.log", program=[str(request.config.rootpath / node[0]), *node[1:]]):
        peer.meet()
        assert peer.show(RED).objects == []
