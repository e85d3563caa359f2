"""What happens: a room, where the target walks, where the robot begins; and a differential robot's motion."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .world import Block, Point, Pose, Room, bricks, parcel

TARGET_SIZE = (0.45, 0.45, 0.7)
RADIUS = 0.25
"""Of the robot, m."""
_LAG = 0.15  # s, time constant of the robot's wheels
_STEP = 0.01  # s of integration


@dataclass(frozen=True)
class Leg:
    """Walk straight to a place at a speed (m/s), then stand there (s)."""

    to: Point
    speed: float = 0.35
    pause: float = 0.0

    def seconds(self, start: Point) -> float:
        """How long the walk takes."""
        return math.dist(start, self.to) / self.speed


@dataclass(frozen=True)
class Scenario:
    """robot: where it begins. start, legs: of the target; it stands at the end of the last leg."""

    name: str
    seconds: float
    robot: Pose
    start: Point
    legs: tuple[Leg, ...]
    room: Room

    def target(self, time: float) -> Block:
        """The target at a time (s since the beginning)."""
        place, heading = self.start, 0.0
        for leg in self.legs:
            took = leg.seconds(place)
            heading = math.atan2(leg.to[1] - place[1], leg.to[0] - place[0])
            if time < took:  # on its way
                part = time / took
                place = tuple(a + part * (b - a) for a, b in zip(place, leg.to, strict=True))
                break
            place, time = leg.to, time - took - leg.pause
            if time < 0:  # standing
                break
        return Block(place, TARGET_SIZE, parcel((214, 172, 52)), heading)


ROOM = Room(
    (12.0, 9.0),
    walls=(Block((6.0, 5.0), (4.4, 0.2, 1.8), bricks((150, 80, 62))),),
    things=(
        Block((11.2, 0.9), (0.5, 0.5, 0.7), parcel((60, 90, 170)), 0.3),
        Block((0.8, 8.0), (0.5, 0.5, 0.6), parcel((150, 46, 40)), -0.2),
    ),
)
_BEHIND_THE_WALL = (Leg((8.9, 5.9), 1.2), Leg((6.0, 6.0), 1.2))  # it runs
SHORT = Scenario(
    "twenty seconds",
    20.0,
    robot=(5.0, 3.4, 0.0),
    start=(6.9, 3.5),
    legs=(
        Leg((8.6, 3.8)),
        *_BEHIND_THE_WALL,
        Leg((3.2, 6.0), 1.2),
        Leg((3.0, 4.0), 1.2, pause=3.0),
        Leg((2.2, 2.6)),
    ),
    room=ROOM,
)
LONG = Scenario(
    "two minutes",
    120.0,
    robot=(1.2, 1.5, 0.0),
    start=(3.0, 1.5),
    legs=(
        Leg((4.5, 3.4)),
        Leg((8.6, 3.7)),
        *_BEHIND_THE_WALL,
        Leg((6.0, 6.0), pause=8.0),
        Leg((3.2, 6.0), 0.9),
        Leg((3.0, 4.0), 0.4),
        Leg((2.0, 2.4)),
        Leg((5.0, 1.5)),
        Leg((9.8, 1.8)),
        Leg((10.6, 4.5)),
        Leg((10.2, 7.2), pause=4.0),
        Leg((7.0, 7.4)),
        Leg((2.5, 7.2)),
    ),
    room=ROOM,
)


@dataclass
class Robot:
    """A differential robot whose wheels follow a command with a lag. speed: m/s; turn: rad/s."""

    pose: Pose
    speed: float = 0.0
    turn: float = 0.0
    command: tuple[float, float] = field(default=(0.0, 0.0))

    def move(self, seconds: float) -> None:
        """Go on with the command for a while."""
        steps = max(round(seconds / _STEP), 1)
        dt = seconds / steps
        x, y, heading = self.pose
        for _ in range(steps):
            self.speed += (self.command[0] - self.speed) * dt / _LAG
            self.turn += (self.command[1] - self.turn) * dt / _LAG
            x += self.speed * math.cos(heading) * dt
            y += self.speed * math.sin(heading) * dt
            heading += self.turn * dt
        self.pose = (x, y, heading)
