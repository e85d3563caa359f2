#!/usr/bin/env python3
"""Drives a robot after a tracked object: ~/objects of the tracker in, `cmd_vel` out. See docs/navigation.md.

    ros2 run uniref_ros follow_object.py --ros-args -p object:="the yellow box"

It avoids nothing: put a collision monitor behind it. It drives on what was seen less than `max_age` ago, by
the image's stamp, and stands whenever there is nothing such.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import rclpy
from geometry_msgs.msg import Twist, TwistStamped
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import uninstall_signal_handlers
from std_msgs.msg import String

from uniref_model.requests.stamps import in_words, nanoseconds
from uniref_ros.executor import make_node, start_ros
from uniref_ros.msg import TrackedObject, TrackedObjectArray
from uniref_ros.parameter_rules import Option, ParameterError, declare, fault_of, follow, snapshot, unknown
from uniref_ros.qos import latched, listen, overridable, quality
from uniref_ros.space.mounting import FixedMounting, Mounting, MountingError, TfMounting
from uniref_ros.space.target import (
    Demands,
    MistakenTarget,
    NoTarget,
    TargetError,
    choose,
    is_seen,
    place_of,
)

_at_start = partial(Option, when="start")

OPTIONS = (
    Option("object", "", "The id, else the label or prompt, of what to follow; empty: the only object."),
    Option("enabled", True, "false: one zero command, then none, so that others may drive."),
    Option("distance", 1.5, "Distance to keep from base_frame to the object, m.", (0.2, 20.0)),
    Option("distance_tolerance", 0.1, "By how much it may differ, m.", (0.0, 5.0)),
    Option("bearing_tolerance", 0.05, "How far to the side the object may be, rad.", (0.0, 1.0)),
    Option("max_speed", 0.5, "m/s.", (0.0, 5.0)),
    Option("max_reverse", 0.0, "Backwards, where the camera does not look, m/s; 0: never.", (0.0, 5.0)),
    Option("max_turn", 0.8, "rad/s.", (0.0, 10.0)),
    Option("acceleration", 0.5, "m/s2.", (0.01, 10.0)),
    Option("deceleration", 1.0, "While it follows, m/s2; a stop is at once.", (0.01, 10.0)),
    Option("turn_acceleration", 1.5, "rad/s2.", (0.01, 50.0)),
    Option("speed_gain", 1.0, "m/s for each m too far.", (0.0, 10.0)),
    Option("turn_gain", 1.5, "rad/s for each rad to the side; below 0.5 / latency (s).", (0.0, 10.0)),
    Option("max_age", 0.5, "s from its image's stamp until a result is too old to drive on.", (0.02, 10.0)),
    Option("max_ahead", 0.1, "s that a stamp may be ahead of this node's clock.", (0.0, 10.0)),
    Option("watchdog", 1.0, "s of the machine's clock without a result until it stops.", (0.05, 60.0)),
    Option("min_score", 0.3, "A result with a lower score is not driven on.", (0.0, 1.0)),
    Option("min_depth_points", 50, "Nor a position from fewer depth pixels.", (1, 1_000_000)),
    Option("max_size", 2.0, "What is larger in any direction is not it, m: a wall, say.", (0.05, 100.0)),
    Option("confirm", 3, "Results in a row that must see it before it is followed.", (1, 100)),
    Option("search_after", 1.0, "s to wait where it was lost before turning.", (0.0, 60.0)),
    Option("search_speed", 0.5, "rad/s, to the side where it was seen last; 0: never.", (0.0, 10.0)),
    Option("search_time", 30.0, "s to turn at most; then it stands until it sees the object.", (0.0, 600.0)),
    _at_start("rate", 20.0, "Commands a second.", (5.0, 200.0)),
    _at_start("enable_stamped_cmd_vel", False, "cmd_vel is TwistStamped, else Twist; as in Nav2."),
    _at_start("base_frame", "base_link", "Frame of the robot: x ahead, y to the left."),
    _at_start("camera_frame", "", "The results' frame_id, with its place as below; empty: tf2 knows."),
    _at_start("camera_x", 0.0, "Where the camera is in base_frame, m.", (-10.0, 10.0)),
    _at_start("camera_y", 0.0, "Likewise.", (-10.0, 10.0)),
    _at_start("camera_yaw", 0.0, "Where it looks, rad to the left.", (-3.1416, 3.1416)),
    _at_start("camera_pitch", 0.0, "Likewise, rad downwards.", (-1.5, 1.5)),
)

_LONGEST_STEP = 0.2  # s that a speed may change for at once, however long ago the last command was
_LAST_WORD = Duration(nanoseconds=500_000_000)  # for the last zero to arrive
_AGAIN = 5.0  # s between log lines of one trouble


@dataclass(frozen=True)
class Sighting:
    """Where the object was. x, y: m, in base_frame at that time. stamp: ns, of the image."""

    x: float
    y: float
    stamp: int


@dataclass(frozen=True)
class Motion:
    """What to do. state: following, searching, or why it stands. speed: m/s. turn: rad/s, to the left."""

    state: str
    speed: float = 0.0
    turn: float = 0.0
    why: str = ""


def contradiction(settings: Mapping[str, Any]) -> str:
    """Why these values do not go together, or ""."""
    for small, large in (
        ("distance_tolerance", "distance"),
        ("search_speed", "max_turn"),
        ("max_reverse", "max_speed"),
    ):
        if settings[small] > settings[large]:
            return f"{small} is {settings[small]:g}, expected at most {large}, which is {settings[large]:g}"
    return ""


def approach(x: float, y: float, settings: Mapping[str, Any]) -> tuple[float, float]:
    """The speed (m/s) and turn (rad/s) that bring the object at x, y (m) to its distance, straight ahead.

    It can always still brake, and drives the faster the straighter it looks at the object.
    """
    bearing = math.atan2(y, x)
    too_far = _beyond(math.hypot(x, y) - settings["distance"], settings["distance_tolerance"])
    brakes = math.sqrt(2 * settings["deceleration"] * abs(too_far))
    speed = math.copysign(min(settings["speed_gain"] * abs(too_far), brakes), too_far)
    speed = _clipped(speed * max(math.cos(bearing), 0.0), -settings["max_reverse"], settings["max_speed"])
    turn = settings["turn_gain"] * _beyond(bearing, settings["bearing_tolerance"])
    return speed, _clipped(turn, -settings["max_turn"], settings["max_turn"])


def _beyond(value: float, tolerance: float) -> float:
    return math.copysign(max(abs(value) - tolerance, 0.0), value)


def _clipped(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


class FollowObject(Node):
    """Takes the newest result in, and at a fixed rate of the machine's own clock says how to move. The ages
    of results, accelerations and the search are reckoned in ROS time, which may be simulated."""

    def __init__(self) -> None:
        super().__init__("follow_object")
        declare(self, OPTIONS)
        self._settings = snapshot(self, OPTIONS)
        if reason := contradiction(self._settings):
            raise ParameterError(reason)
        for line in unknown(self, OPTIONS):
            self.get_logger().warning(line)
        follow(self, OPTIONS, self._check, self._apply)
        self._mounting = self._mount()
        self._forget()
        self._now = 0
        self._speed = self._turn = 0.0
        self._told = ""
        kind = TwistStamped if self._settings["enable_stamped_cmd_vel"] else Twist
        self._commands = self.create_publisher(
            kind, "cmd_vel", QoSProfile(depth=1), qos_overriding_options=overridable()
        )
        self._states = self.create_publisher(String, "~/state", latched())
        listen(self, TrackedObjectArray, "tracker/objects", self._on_objects, quality("reliable", depth=1))
        # Not ROS time: when that stands still, this must not.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / self._settings["rate"], self._command, clock=steady)

    def _mount(self) -> Mounting:
        s = self._settings
        if s["camera_frame"]:
            place = (s[f"camera_{what}"] for what in ("frame", "x", "y", "yaw", "pitch"))
            return FixedMounting(*place)
        try:
            return TfMounting(self, s["base_frame"])
        except MountingError as error:
            raise ParameterError(
                f"camera_frame is empty, expected the results' frame_id, as {error}; camera_x, camera_y, "
                "camera_yaw and camera_pitch say where that is"
            ) from None

    # ---- parameters

    def _check(self, changes: list[Parameter]) -> SetParametersResult:
        options = {option.name: option for option in OPTIONS}
        known = [change for change in changes if change.name in options]
        reasons = (fault_of(options[change.name], change.value) for change in known)
        reason = next(filter(None, reasons), "")
        reason = reason or contradiction({**self._settings, **{c.name: c.value for c in known}})
        return SetParametersResult(successful=not reason, reason=reason)

    def _apply(self) -> None:
        before, self._settings = self._settings, snapshot(self, OPTIONS)
        if self._settings["object"] != before["object"]:
            self._forget()

    # ---- what is seen

    def _forget(self) -> None:
        self._pending: TrackedObjectArray | None = None
        self._newest = 0  # ns, stamp of the newest result
        self._came = -math.inf  # s of the machine's clock, when that came
        self._sighting: Sighting | None = None
        self._row = 0  # results in a row that saw it
        self._missing_since: int | None = None  # ns
        self._side = 0.0  # where it was seen last: 1 left, -1 right
        self._trouble = ""

    def _on_objects(self, message: TrackedObjectArray) -> None:
        stamp = nanoseconds(message.header.stamp)
        ahead = (stamp - self._clock_now()) / 1e9
        if ahead > self._settings["max_ahead"]:
            self._complain(
                f"the result's stamp {in_words(message.header.stamp)} is {ahead:.3f} s ahead of this node's "
                f"clock, expected at most {self._settings['max_ahead']:g} (max_ahead): is use_sim_time the "
                "tracker's, and the clock the camera's?"
            )
        elif not stamp:
            self._complain("the result's stamp is 0, expected the time of its image: the camera gives none")
        elif stamp > self._newest:  # else it is no news, whoever repeats it
            self._pending, self._newest, self._came = message, stamp, time.monotonic()

    def _take_in(self, now: int) -> None:
        """Make a sighting of the newest result, or know why not."""
        if self._sighting is not None and self._is_old(self._sighting.stamp, now):
            self._sighting, self._row = None, 0
        if self._pending is None:
            return
        message = self._pending
        try:
            item = choose(message.objects, self._settings["object"])
            if is_seen(item):
                self._see(*self._locate(item, message.header), self._newest)
            else:
                self._miss(now, lost=item.state != TrackedObject.TRACKED)
        except NoTarget as error:
            self._sighting, self._row, self._missing_since = None, 0, None
            self._complain(f"{error} (object)")
        except MistakenTarget as error:
            self._miss(now, lost=True)  # and go on searching
            self.get_logger().warning(str(error), throttle_duration_sec=_AGAIN)
        except MountingError as error:
            self._complain(str(error))
            return  # a transform may still come for it
        except TargetError as error:
            self._complain(str(error))
        self._pending = None

    def _locate(self, item: TrackedObject, header: Any) -> tuple[float, float]:
        s = self._settings
        point = place_of(item, Demands(s["min_score"], s["min_depth_points"], s["max_size"]))
        x, y = self._mounting.on_floor(point, header)
        if not (math.isfinite(x) and math.isfinite(y)):
            raise TargetError(f"it is at ({x}, {y}) in {s['base_frame']}, expected finite numbers")
        return x, y

    def _is_old(self, stamp: int, now: int) -> bool:
        return now - stamp > self._settings["max_age"] * 1e9

    def _see(self, x: float, y: float, stamp: int) -> None:
        self._trouble = ""
        self._row += 1
        if self._sighting is not None or self._row >= self._settings["confirm"]:
            self._sighting, self._missing_since = Sighting(x, y, stamp), None
            self._side = math.copysign(1.0, y)

    def _miss(self, now: int, *, lost: bool) -> None:
        self._trouble = ""
        if lost:
            self._sighting = None
        if self._sighting is None:
            self._row = 0
        self._missing_since = now if self._missing_since is None else self._missing_since

    def _complain(self, text: str) -> None:
        self._trouble = text
        if self._sighting is None:
            self._row = 0
        self.get_logger().warning(text, throttle_duration_sec=_AGAIN)

    # ---- what to do

    def _clock_now(self) -> int:
        return self.get_clock().now().nanoseconds

    def _command(self) -> None:
        now, before = self._clock_now(), self._now
        self._now = now
        if before - now > self._settings["max_ahead"] * 1e9:  # a bag or a simulation begins again
            self._forget()
        self._take_in(now)
        motion = self._decide(now)
        if motion.state == "disabled" and self._told.startswith("disabled"):
            return
        step = min(max((now - before) / 1e9, 0.0), _LONGEST_STEP)
        self._drive(motion, step)
        self._tell(motion)

    def _decide(self, now: int) -> Motion:
        s = self._settings
        if not s["enabled"]:
            return Motion("disabled")
        if not self._newest:
            return Motion("waiting", why=self._trouble or "no result has come yet")
        if time.monotonic() - self._came > s["watchdog"]:
            reason = f"no new result for {s['watchdog']:g} s (watchdog)"
            return Motion("standing", why=self._trouble or reason)
        if self._is_old(self._newest, now):
            reason = f"the newest result is older than {s['max_age']:g} s (max_age)"
            return Motion("standing", why=self._trouble or reason)
        if self._sighting is not None:
            return Motion("following", *approach(self._sighting.x, self._sighting.y, s))
        if self._trouble:
            return Motion("standing", why=self._trouble)
        return self._search(now)

    def _search(self, now: int) -> Motion:
        s = self._settings
        if self._row:
            return Motion("waiting", why="it is seen, and not yet often enough (confirm)")
        if self._missing_since is None or not self._side:
            return Motion("waiting", why="it has not been seen yet")
        turning = (now - self._missing_since) / 1e9 - s["search_after"]
        if turning < 0:
            return Motion("lost", why="it may come back where it was")
        if turning < s["search_time"]:
            return Motion("searching", turn=self._side * s["search_speed"])
        return Motion("lost", why=f"not found in {s['search_time']:g} s (search_time)")

    def _drive(self, motion: Motion, step: float) -> None:
        """Publish the motion. It begins and changes gently; standing still is at once."""
        s = self._settings
        if motion.state not in ("following", "searching"):
            self._speed = self._turn = 0.0
        else:
            gains = abs(motion.speed) > abs(self._speed)
            most = s["acceleration" if gains else "deceleration"] * step
            self._speed = _clipped(motion.speed, self._speed - most, self._speed + most)
            most = s["turn_acceleration"] * step
            self._turn = _clipped(motion.turn, self._turn - most, self._turn + most)
        self._publish(self._speed, self._turn)

    def _publish(self, speed: float, turn: float) -> None:
        twist = Twist()
        twist.linear.x, twist.angular.z = speed, turn
        if not self._settings["enable_stamped_cmd_vel"]:
            self._commands.publish(twist)
            return
        stamped = TwistStamped(twist=twist)
        stamped.header.stamp = self.get_clock().now().to_msg()
        stamped.header.frame_id = self._settings["base_frame"]
        self._commands.publish(stamped)

    def _tell(self, motion: Motion) -> None:
        text = f"{motion.state}: {motion.why}" if motion.why else motion.state
        if text == self._told:
            return
        if motion.state != self._told.partition(":")[0]:
            self.get_logger().info(text)
        self._told = text
        self._states.publish(String(data=text))

    def stand(self) -> None:
        """The last word: stand still. Returns when it was heard, or after half a second."""
        self._publish(0.0, 0.0)
        self._commands.wait_for_all_acked(_LAST_WORD)


def main() -> int:
    """Drive until a signal; returns the exit status, 1 when it is not told what it needs."""
    if not start_ros("follow_object", None):
        return 1
    over = threading.Event()
    uninstall_signal_handlers()  # rclpy's would take the context away before the last zero is out
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    node = make_node(FollowObject, "follow_object")
    if node is None:
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not over.is_set():
            executor.spin_once(timeout_sec=0.1)
    finally:  # whatever happened
        node.stand()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
