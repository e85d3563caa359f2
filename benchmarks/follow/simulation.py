"""The rendered robot as a ROS node: clock, camera and depth out, `cmd_vel` in, step by step with the tracker.

Time is simulated: each step waits for the tracker's result of its image, so a busy machine makes the run
longer and changes nothing else. What is commanded after a result moves the robot in the next step, which is
the delay that a real one has.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from uniref_ros.conversion import fill_image
from uniref_ros.msg import TrackedObject, TrackedObjectArray

from .scenario import Robot, Scenario
from .world import Camera, Pose, Renderer

FRAME = "camera_optical"
EPOCH = 1000.0
"""Simulated time at the beginning, s."""
PATIENCE = 60.0
"""s of the machine's clock to wait for anything."""
AGAIN = 1.0
"""s of the machine's clock until an image without a result is sent again."""
_MOST_PICTURES = 20


@dataclass(frozen=True)
class Moment:
    """One step. time: s since the beginning. target: x, y. speed, turn: as commanded. visible: pixels of the
    target in the image. seen: the tracker saw it. error: m, of its position; NaN without one. clearance: m,
    from the robot to the nearest wall or thing."""

    time: float
    robot: Pose
    target: tuple[float, float]
    speed: float
    turn: float
    state: str
    visible: int
    seen: bool
    error: float
    clearance: float

    @property
    def word(self) -> str:
        """The first word of the follower's state."""
        return self.state.partition(":")[0] or "standing"

    @property
    def distance(self) -> float:
        """m, from the robot to the target."""
        return math.dist(self.robot[:2], self.target)


class Simulation(Node):
    """Runs a scenario against a tracker and a follower that run beside it with use_sim_time."""

    def __init__(self, scenario: Scenario, *, stamped: bool = True, step: float = 0.1, seed: int = 0) -> None:
        """stamped: cmd_vel is TwistStamped. step: s between images."""
        super().__init__("simulated_robot")
        self.scenario, self._step = scenario, step
        self.robot = Robot(scenario.robot)
        self.time = 0.0
        self.moments: list[Moment] = []
        self.pictures: list[tuple[Moment, np.ndarray]] = []
        """What the camera saw, uint8 RGB [h,w,3], when the state had changed; the first few."""
        self.picture: np.ndarray | None = None
        self._camera = Camera()
        self._renderer = Renderer(scenario.room, self._camera, seed)
        self._view: tuple[tuple[Any, Any], ...] = ()  # publishers, and what they are to send
        self._result: TrackedObjectArray | None = None
        self._commands = 0
        self.state = ""
        self._clock = self.create_publisher(Clock, "/clock", 1)
        self._infos = self.create_publisher(CameraInfo, "camera_info", 1)
        self._depths = self.create_publisher(Image, "depth", 1)
        self._images = self.create_publisher(Image, "image", 1)
        self.create_subscription(TrackedObjectArray, "tracker/objects", self._on_result, 10)
        kind = TwistStamped if stamped else Twist
        self.create_subscription(kind, "cmd_vel", self._on_command, 1)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, "follow_object/state", self._on_state, latched)

    def _on_result(self, message: TrackedObjectArray) -> None:
        self._result = message

    def _on_command(self, message: Twist | TwistStamped) -> None:
        twist = message.twist if isinstance(message, TwistStamped) else message
        self.robot.command = (twist.linear.x, twist.angular.z)
        self._commands += 1

    def _on_state(self, message: String) -> None:
        self.state = message.data

    def until(
        self, condition: Callable[[], Any], what: str, *, every: Callable[[], Any] = lambda: None
    ) -> None:
        """Spin until the condition holds. every: done at first, and again every `AGAIN` seconds. Raises
        TimeoutError, saying what was waited for."""
        begun = time.monotonic()
        due = begun
        while not condition():
            now = time.monotonic()
            if now - begun > PATIENCE:
                raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}")
            if now >= due:
                due = now + AGAIN
                every()
            rclpy.spin_once(self, timeout_sec=0.05)

    def meet(self) -> None:
        """Wait until tracker and follower are there, and an image has come through."""
        self.until(
            lambda: self._images.get_subscription_count() and self._depths.get_subscription_count(),
            "the tracker",
        )
        self.until(lambda: self.count_publishers("cmd_vel"), "the follower")
        self._look()
        self.until(self._has_result, "a first result", every=self._show)

    def run(self, seconds: float, *, with_tracker: bool = True) -> list[Moment]:
        """Go on for so long in simulated time; the moments of that. with_tracker: wait for its results."""
        first = len(self.moments)
        for _ in range(round(seconds / self._step)):
            self.time += self._step
            self.robot.move(self._step)
            visible = self._look()
            if with_tracker:  # images are best effort: one that is lost on the way is sent again
                self.until(self._has_result, f"the result at {self.time:.1f} s", every=self._show)
            else:
                self._show()
            self._hear()
            self.moments.append(self._moment(visible))
            self._keep_picture()
        return self.moments[first:]

    def _has_result(self) -> bool:
        return self._result is not None and self._result.header.stamp == self._stamp()

    def _keep_picture(self) -> None:
        moment = self.moments[-1]
        changed = not self.pictures or moment.word != self.pictures[-1][0].word
        if changed and len(self.pictures) < _MOST_PICTURES:
            self.pictures.append((moment, self.picture))

    def _hear(self) -> None:
        """Wait for a command that was made after the result: the next one may have been under way."""
        before = self._commands
        self.until(lambda: self._commands > before + 1, "commands")

    def _stamp(self) -> Time:
        nanoseconds = round((EPOCH + self.time) * 1e9)
        return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)

    def _look(self) -> int:
        """See what the camera sees now; how many pixels of the target are in it."""
        header = Header(stamp=self._stamp(), frame_id=FRAME)
        picture, depth, owned = self._renderer.view(self.robot.pose, self.scenario.target(self.time))
        self.picture, millimetres = self._renderer.sensed(picture, depth)
        height, width = self._camera.size
        info = {"width": width, "height": height, "k": self._camera.k, "distortion_model": "plumb_bob"}
        self._view = (
            (self._clock, Clock(clock=header.stamp)),
            (self._infos, CameraInfo(header=header, **info)),
            (self._depths, fill_image(Image(), millimetres, "16UC1", header)),
            (self._images, fill_image(Image(), self.picture, "rgb8", header)),
        )
        return int(owned.sum())

    def _show(self) -> None:
        for publisher, message in self._view:
            publisher.publish(message)

    def _moment(self, visible: int) -> Moment:
        target = self.scenario.target(self.time).centre
        item = next(iter(self._result.objects), None) if self._result else None
        seen = item is not None and item.state == TrackedObject.TRACKED and item.frames_since_seen == 0
        return Moment(
            self.time,
            self.robot.pose,
            target,
            *self.robot.command,
            self.state,
            visible,
            seen,
            self._error(item, target) if seen and item.has_position else math.nan,
            self.scenario.room.clearance(*self.robot.pose[:2]),
        )

    def _error(self, item: TrackedObject, target: tuple[float, float]) -> float:
        """m, of the tracker's position on the floor; it is of the side that is seen, so not quite the
        middle."""
        x, y, heading = self.robot.pose
        ahead, left = item.centroid.z + self._camera.forward, -item.centroid.x
        c, s = math.cos(heading), math.sin(heading)
        return math.dist((x + c * ahead - s * left, y + s * ahead + c * left), target)
