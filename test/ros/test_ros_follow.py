"""Follow-me: the example drives after fresh, sound results and stands at everything else. The results are
made here, since the real tracker gives none that are unsound; test_ros_follow_room.py is with it."""

from __future__ import annotations

import json
import math
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from geometry_msgs.msg import Point, Twist, TwistStamped, Vector3
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.time import Time
from ros_help import NodeProcess, Peer
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Header, String

from uniref_ros.msg import TrackedObject, TrackedObjectArray
from uniref_ros.space.mounting import FixedMounting, MountingError, rotated

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "follow_object.py"
FRAME = "camera_optical"
SETTINGS = ("object:=mug", f"camera_frame:={FRAME}", "max_age:=0.3", "watchdog:=1.0")
LABELS = {"label": "mug", "id": "7"}


def thing(x=0.0, z=4.0, **fields) -> TrackedObject:
    """An object that is seen, to the right and ahead of the camera, m."""
    sound = {
        "state": TrackedObject.TRACKED,
        "score": 0.9,
        "has_position": True,
        "depth_points": 500,
        "extent": Vector3(x=0.3, y=0.4, z=0.2),
        "centroid": Point(x=float(x), y=0.1, z=float(z)),
    }
    return TrackedObject(**{**sound, **LABELS, **fields})


def place(x: float, y: float, z: float) -> dict[str, Point]:
    return {"centroid": Point(x=x, y=y, z=z)}


class Base(Peer):
    """A peer that is the robot's base: hears cmd_vel; and stands for the tracker where a test needs results
    that the real one never gives."""

    def __init__(self, *, stamped: bool = False, namespace: str = "") -> None:
        super().__init__(namespace=namespace)
        self.commands_heard: list[Twist] = []
        self.stamped_heard: list[TwistStamped] = []
        self.state = ""
        self.objects = self.create_publisher(TrackedObjectArray, "tracker/objects", 1)
        if stamped:
            self.create_subscription(TwistStamped, "cmd_vel", self.stamped_heard.append, 50)
        else:
            self.create_subscription(Twist, "cmd_vel", self.commands_heard.append, 50)
        self.create_subscription(String, "follow_object/state", self._on_state, 10)

    def _on_state(self, message: String) -> None:
        self.state = message.data

    def meet_follower(self) -> None:
        self.until(
            lambda: self.objects.get_subscription_count() and self.count_publishers("cmd_vel"), "the example"
        )

    def now(self) -> int:
        return self.get_clock().now().nanoseconds

    def send(self, *items: TrackedObject, stamp: int | None = None, frame: str = FRAME) -> None:
        """A result. stamp: ns, now if not given."""
        when = Time(nanoseconds=self.now() if stamp is None else stamp).to_msg()
        self.objects.publish(
            TrackedObjectArray(header=Header(stamp=when, frame_id=frame), objects=list(items))
        )

    def stream(self, seconds: float, *items: TrackedObject, **options) -> list[Twist]:
        """Results of these objects for a while, 30 a second; the commands heard meanwhile."""
        first, deadline = len(self.commands_heard), time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.send(*items, **options)
            self.spin(0.03)
        return self.commands_heard[first:]

    @property
    def last(self) -> Twist:
        return self.commands_heard[-1] if self.commands_heard else Twist()

    def get_going(self) -> None:
        def drives() -> bool:
            self.stream(0.1, thing())
            return self.last.linear.x > 0.02

        self.until(drives, f"it to drive; {self.state}")

    def put(self, **values) -> str:
        """Set parameters of the example; the reason of a refusal, or ""."""
        changes = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        answer = self.call(
            SetParameters, "follow_object/set_parameters", SetParameters.Request(parameters=changes)
        )
        return next((result.reason for result in answer.results if not result.successful), "")


def still(commands: list[Twist]) -> bool:
    return all(command.linear.x == 0 and command.angular.z == 0 for command in commands)


@pytest.fixture(scope="module")
def follower(tmp_path_factory, ros) -> Iterator[Base]:
    """The example in a process, asked to follow the mug; in a namespace, out of the way of other tests."""
    base = Base(namespace="hand")
    log = tmp_path_factory.mktemp("follow") / "follow.log"
    with NodeProcess(log, *SETTINGS, program=[str(EXAMPLE)], namespace="hand"):
        base.meet_follower()
        yield base
    base.destroy_node()


SECOND = 10**9
BAD = {
    "older than max_age": ([thing()], {"age": 2 * SECOND}, "max_age|watchdog"),
    "ahead of the clock": ([thing()], {"age": -5 * SECOND}, "max_ahead"),
    "the same result again and again": ([thing()], {"same": True}, "max_age|watchdog"),
    "no stamp": ([thing()], {"stamp": 0}, "stamp is 0"),
    "NaN in its position": ([thing(**place(math.nan, 0.1, 4.0))], {}, "finite"),
    "infinite position": ([thing(**place(0.0, 0.1, math.inf))], {}, "finite"),
    "no position": ([thing(has_position=False)], {}, "without a position"),
    "hardly any depth": ([thing(depth_points=3)], {}, "min_depth_points"),
    "low score": ([thing(score=0.1)], {}, "min_score"),
    "NaN for a score": ([thing(score=math.nan)], {}, "min_score"),
    "NaN in its size": ([thing(extent=Vector3(x=math.nan, y=0.4, z=0.2))], {}, "finite"),
    "another frame": ([thing()], {"frame": "arm_camera"}, "'arm_camera'"),
    "no frame": ([thing()], {"frame": ""}, "''"),
    "as large as a wall": ([thing(extent=Vector3(x=5.0, y=2.0, z=0.2))], {}, ""),
    "only remembered": ([thing(frames_since_seen=2, has_position=False)], {}, ""),
    "another object": ([thing(label="cup", id="8")], {}, "no object"),
    "two of that name": ([thing(), thing(id="8")], {}, "2 objects"),
    "nothing": ([], {}, "no object"),
}


@pytest.mark.parametrize("kind", BAD)
def test_it_stands_within_max_age_of_the_last_sound_result(follower, kind):
    items, options, said = BAD[kind]
    follower.put(search_speed=0.0, max_age=0.3)
    follower.get_going()
    follower.put(max_age=0.2)
    options = dict(options)
    same = follower.now() if options.pop("same", False) else None
    age = options.pop("age", 0)

    def bad(seconds: float) -> list[Twist]:
        first, deadline = len(follower.commands_heard), time.monotonic() + seconds
        while time.monotonic() < deadline:
            stamp = options.get("stamp", same or follower.now() - age)
            follower.send(*items, **{**options, "stamp": stamp})
            follower.spin(0.03)
        return follower.commands_heard[first:]

    bad(0.3)
    follower.until(lambda: still([follower.last]), "it to stand")
    commands = bad(0.2)
    assert commands and still(commands)
    assert re.search(said, follower.state), follower.state
    assert not follower.state.startswith("following")
    follower.put(max_age=0.3)


def test_it_stands_when_the_tracker_falls_silent(follower):
    follower.get_going()
    before = follower.now()
    follower.until(lambda: still([follower.last]), "it to stand")
    assert follower.now() - before < 2 * SECOND
    follower.spin(1.2)
    assert still([follower.last]) and "watchdog" in follower.state


def test_one_result_or_two_do_not_set_it_moving(follower):
    follower.stream(0.5)
    first = len(follower.commands_heard)
    for _ in range(2):
        follower.send(thing())
        follower.spin(0.05)
    follower.spin(0.2)
    assert still(follower.commands_heard[first:])
    follower.get_going()


def test_it_keeps_its_distance_turns_to_the_object_and_obeys_its_limits(follower):
    far = follower.stream(1.5, thing(z=9.0))
    assert follower.last.linear.x == pytest.approx(0.5) and abs(follower.last.angular.z) < 0.05
    steps = [b.linear.x - a.linear.x for a, b in pairwise(far)]
    assert max(steps) <= 0.5 * 0.2 + 1e-6  # acceleration over the longest step that it takes
    follower.stream(0.7, thing(z=1.5))
    assert still([follower.last])
    follower.stream(0.4, thing(z=0.8))
    assert still([follower.last])  # too near, and max_reverse is 0
    follower.stream(0.8, thing(x=-1.0, z=1.0))
    assert follower.last.angular.z == pytest.approx(0.8)  # to the left is positive
    follower.stream(1.4, thing(x=1.0, z=1.0))
    assert follower.last.angular.z == pytest.approx(-0.8)


@pytest.mark.parametrize("side", [1, -1])
def test_lost_it_stands_then_turns_to_where_it_was_seen_for_a_bounded_time(follower, side):
    follower.put(search_speed=0.5, search_after=0.4, search_time=1.0)
    follower.stream(0.6, thing(x=-0.5 * side, z=3.0))
    gone = thing(state=TrackedObject.LOST, frames_since_seen=9, has_position=False)
    first = len(follower.commands_heard)
    follower.stream(0.3, gone)
    assert still([follower.last]) and follower.state.startswith("lost")

    def turns() -> bool:
        follower.stream(0.1, gone)
        return follower.last.angular.z * side > 0.3

    follower.until(turns, "it to turn")
    assert all(command.linear.x == 0 for command in follower.commands_heard[first + 10 :])
    follower.stream(1.2, gone)
    assert still([follower.last]) and "search_time" in follower.state
    follower.get_going()


def test_a_search_ends_with_the_results(follower):
    follower.put(search_speed=0.5, search_after=0.0, search_time=60.0)
    follower.stream(0.5, thing(x=-0.5, z=3.0))
    gone = thing(state=TrackedObject.LOST, frames_since_seen=9, has_position=False)
    follower.stream(0.6, gone)
    assert follower.last.angular.z > 0.1
    follower.spin(0.8)
    assert still([follower.last])


def test_what_is_followed_changes_with_a_parameter_and_disabled_it_is_silent(follower):
    follower.get_going()
    assert follower.put(object="7") == ""  # its id
    follower.get_going()
    assert follower.put(object="red") == ""
    follower.stream(0.3, thing())
    assert still(follower.stream(0.3, thing())) and "'red'" in follower.state
    assert follower.put(object="mug", enabled=False) == ""
    follower.stream(0.3, thing())
    assert follower.stream(0.3, thing()) == [] and still([follower.last])
    assert follower.put(enabled=True) == ""
    follower.get_going()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"max_speed": -1.0}, "max_speed .*-1.0"),
        ({"max_speed": math.nan}, "max_speed .*nan"),
        ({"distance_tolerance": 1.6}, "distance_tolerance is 1.6, expected at most distance, which is 1.5"),
        ({"object": 7}, "type"),
        ({"rate": 30.0}, "rate"),
    ],
)
def test_a_wrong_value_is_refused_while_it_runs(follower, values, said):
    assert re.search(said, follower.put(**values))


def test_a_wrong_value_at_start_ends_it_with_one_line():
    wrong = {
        "max_age:=0.0": "max_age is 0.0, expected 0.02 to 10.0",
        "search_speed:=2.0": "search_speed is 2, expected at most max_turn, which is 0.8",
        "distance:=near": "distance is 'near', expected a number",
    }
    command = [sys.executable, str(EXAMPLE), "--ros-args", "-p", f"camera_frame:={FRAME}", "-p"]
    children = [
        subprocess.Popen([*command, given], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for given in wrong
    ]
    for child, said in zip(children, wrong.values(), strict=True):
        text, _ = child.communicate(timeout=60)
        assert child.returncode == 1 and f"cannot start: {said}" in text and "Traceback" not in text


def test_stamped_commands_and_a_zero_as_the_last_word(tmp_path, ros):
    base = Base(stamped=True)
    settings = (*SETTINGS, "enable_stamped_cmd_vel:=true", "base_frame:=base_footprint")
    with NodeProcess(tmp_path / "follow.log", *settings, program=[str(EXAMPLE)]) as process:
        base.meet_follower()

        def drives() -> bool:
            base.stream(0.1, thing())
            return bool(base.stamped_heard) and base.stamped_heard[-1].twist.linear.x > 0.05

        base.until(drives, "it to drive")
        command = base.stamped_heard[-1]
        assert command.header.frame_id == "base_footprint"
        assert abs(Time.from_msg(command.header.stamp).nanoseconds - base.now()) < SECOND
        process.child.send_signal(signal.SIGTERM)
        base.until(lambda: not process.running, "its end")
        base.spin(0.2)
        assert base.stamped_heard[-1].twist == Twist()
        assert process.stop() == 0 and "Traceback" not in process.text()
    base.destroy_node()


def test_with_simulated_time_a_clock_that_stops_or_goes_back_moves_nothing(tmp_path, ros):
    base = Base()
    clock = base.create_publisher(Clock, "/clock", 1)
    settings = (*SETTINGS, "use_sim_time:=true")

    def play(seconds: float, begin: float, *, clock_runs: bool = True) -> None:
        ticks = round(seconds / 0.05)
        for tick in range(1, ticks + 1):
            stamp = round((begin + 0.05 * tick) * SECOND)
            if clock_runs:
                clock.publish(Clock(clock=Time(nanoseconds=stamp).to_msg()))
                base.spin(0.02)
            base.send(thing(), stamp=stamp)
            base.spin(0.03)

    with NodeProcess(tmp_path / "follow.log", *settings, program=[str(EXAMPLE)]) as process:
        base.meet_follower()
        base.until(clock.get_subscription_count, "its clock")
        play(1.0, 100.0)
        assert base.last.linear.x > 0.1, base.state
        base.spin(1.2)  # neither clock nor results
        assert still([base.last]) and "watchdog" in base.state
        play(0.3, 200.0, clock_runs=False)
        assert still([base.last]) and "max_ahead" in base.state
        play(0.8, 200.0)
        assert base.last.linear.x > 0.1
        clock.publish(Clock(clock=Time(nanoseconds=50 * SECOND).to_msg()))
        base.until(lambda: still([base.last]), "it to stand")
        play(0.8, 50.0)
        assert base.last.linear.x > 0.1
        assert process.stop(signal.SIGINT) == 0
        base.spin(0.2)
        assert still([base.last])
    base.destroy_node()


# ---- where the camera is


def optical(x: float, y: float, z: float) -> tuple[float, float, float]:
    return rotated((x, y, z), SimpleNamespace(x=-0.5, y=0.5, z=-0.5, w=0.5))  # as every optical frame


def test_a_fixed_mounting_is_the_transform_that_its_numbers_say():
    header = SimpleNamespace(frame_id=FRAME)
    assert optical(0.2, 0.3, 1.0) == pytest.approx((1.0, -0.2, -0.3))
    for yaw, pitch in ((0.0, 0.0), (0.7, 0.0), (0.0, 0.4), (-2.0, 0.3)):
        mounting = FixedMounting(FRAME, 0.1, -0.2, yaw, pitch)
        tilted = rotated(
            optical(0.2, 0.3, 1.0),
            SimpleNamespace(x=0.0, y=math.sin(pitch / 2), z=0.0, w=math.cos(pitch / 2)),
        )
        x, y, _ = rotated(tilted, SimpleNamespace(x=0.0, y=0.0, z=math.sin(yaw / 2), w=math.cos(yaw / 2)))
        assert mounting.on_floor((0.2, 0.3, 1.0), header) == pytest.approx((x + 0.1, y - 0.2))
    with pytest.raises(MountingError, match="'other', expected 'camera_optical'"):
        FixedMounting(FRAME).on_floor((0.0, 0.0, 1.0), SimpleNamespace(frame_id="other"))


def without_tf2() -> bool:
    return (
        subprocess.run([sys.executable, "-c", "import tf2_ros"], capture_output=True, check=False).returncode
        != 0
    )


def test_without_tf2_ros_it_says_what_to_give_instead(tmp_path):
    if not without_tf2():
        pytest.skip("tf2_ros is installed")
    with NodeProcess(tmp_path / "follow.log", program=[str(EXAMPLE)]) as process:
        process.child.wait(60)
        assert process.child.returncode == 1
        assert "camera_frame is empty" in process.text() and "Traceback" not in process.text()


def test_by_tf2_it_drives_where_a_transform_leads_and_stands_where_none_does(tmp_path, ros):
    if not without_tf2():
        pytest.skip("tf2_ros is installed, and the stand-in is for where it is not")
    base = Base()
    path = os.pathsep.join([str(Path(__file__).parent / "standins" / "tf2"), os.environ["PYTHONPATH"]])
    transform = {
        "to": "base_link",
        "from": FRAME,
        "translation": [0.2, 0.0, 0.5],
        "rotation": [-0.5, 0.5, -0.5, 0.5],
    }
    env = {"PYTHONPATH": path, "STANDIN_TRANSFORM": json.dumps(transform)}
    with NodeProcess(
        tmp_path / "follow.log", "object:=mug", "max_age:=0.3", program=[str(EXAMPLE)], env=env
    ) as process:
        base.meet_follower()
        base.stream(1.5, thing(x=-1.0, z=4.0))
        assert base.last.linear.x > 0.1 and base.last.angular.z > 0.1, base.state
        base.stream(0.6, thing(), frame="arm_camera")
        assert still(base.stream(0.5, thing(), frame="arm_camera"))
        assert "no transform from 'arm_camera' to 'base_link'" in base.state
        assert process.stop() == 0
    base.destroy_node()


def test_its_parameters_stand_in_the_reference():
    options = runpy.run_path(str(EXAMPLE))["OPTIONS"]
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert options and all(f"| {option.name} | `{option.default!r}` |" in page for option in options)
