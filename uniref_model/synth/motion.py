"""Where things are, how they are turned, and how the camera moves, at the three moments of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .config import ClipConfig


@dataclass(frozen=True)
class Pose:
    """x, y: centre in 0..1 of the frame; size: longest side / frame height; angles in radians; depth: 0 far
    .. 1 near."""

    x: float
    y: float
    size: float
    roll: float
    yaw: float
    pitch: float
    depth: float


def camera_path(rng: np.random.Generator, gap: float, step: float) -> np.ndarray:
    """Camera (dx, dy, zoom, roll) for first, previous and current, float [3,4]; the current one is the
    reference (0, 0, 1, 0)."""
    path = np.zeros((3, 4))
    path[:, 2] = 1
    if rng.random() < 0.3:  # a fixed camera, perhaps on a shaky table
        path[:2, :2] += rng.normal(0, 0.004, (2, 2))
        return path
    much = min(1.0, gap / 3)
    path[0] += rng.normal(0, 1, 4) * np.array([0.14, 0.08, 0.16, 0.12]) * much
    path[0, 2] = np.clip(path[0, 2], 0.6, 1.6)
    path[1] += rng.normal(0, 1, 4) * np.array([0.09, 0.06, 0.06, 0.05]) * min(1.0, step * 5)
    return path


def _size(rng: np.random.Generator, config: ClipConfig) -> float:
    """Mostly log-uniform over the range, with a share of large near objects."""
    low, high = config.size
    if rng.random() < config.large_share:
        return float(rng.uniform(0.45 * high, high))
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _turn(rng: np.random.Generator, upright: bool) -> tuple[float, float, float]:
    """(roll, yaw, pitch) to begin with."""
    roll = (
        rng.normal(0, 0.12)
        if upright and rng.random() < 0.75
        else rng.uniform(-np.pi, np.pi)
        if rng.random() < 0.4
        else rng.normal(0, 0.5)
    )
    return float(roll), float(rng.uniform(-np.pi, np.pi)), float(np.clip(rng.normal(0.25, 0.3), -0.7, 0.9))


def plan_motion(
    rng: np.random.Generator, upright: Sequence[bool], count: int, gap: float, step: float, config: ClipConfig
) -> list[list[Pose]]:
    """Poses of every thing at the three moments. The first `count` are the labelled ones and keep out of each
    other's way."""
    poses: list[list[Pose]] = []
    placed: list[tuple[float, float, float]] = []
    crowd = 1.0 if len(upright) < 5 else 0.8
    for i, stands in enumerate(upright):
        size = _size(rng, config) * crowd
        if i >= count:
            size *= rng.uniform(0.5, 1.0)
        x, y = _free_place(rng, placed, size)
        placed.append((x, y, size))
        roll, yaw, pitch = _turn(rng, stands)
        in_front = i >= count and rng.random() < config.occluder_share
        depth = (
            float(np.clip(rng.normal(0.35 + 0.5 * size, 0.15), 0, 1))
            if i < count
            else float(rng.uniform(0.7, 1))
            if in_front
            else float(rng.uniform(0, 0.3))
        )
        now = Pose(x, y, size, roll, yaw, pitch, depth)
        poses.append(_history(rng, now, gap, step, moving=rng.random() < 0.6))
    if rng.random() < config.away_share:
        i = int(rng.integers(count))
        t = int(rng.choice([1, 2, 2]))  # gone in the previous frame (comes back now), or gone now
        poses[i][t] = replace(poses[i][t], x=float(rng.choice([-1.0, 2.0])))
    return poses


def _free_place(
    rng: np.random.Generator, placed: Sequence[tuple[float, float, float]], size: float
) -> tuple[float, float]:
    """A place in the frame; of several tries the one furthest from what is placed already (not always: things
    may overlap)."""
    best, best_room = (0.5, 0.5), -np.inf
    for _ in range(int(rng.integers(2, 7))):
        x, y = rng.uniform(0.06, 0.94), rng.uniform(0.12, 0.9)
        room = min(
            (np.hypot((x - px) * 1.6, y - py) - 0.4 * (size + ps) for px, py, ps in placed), default=0.0
        )
        if room > best_room:
            best, best_room = (float(x), float(y)), room
    return best


def _history(rng: np.random.Generator, now: Pose, gap: float, step: float, moving: bool) -> list[Pose]:
    """The pose at the first, previous and current moment, given the current one."""
    if not moving:
        return [now, now, now]
    much = min(1.0, gap / 2.5)
    first = Pose(
        x=float(np.clip(now.x + rng.normal(0, 0.22) * much, 0.02, 0.98)),
        y=float(np.clip(now.y + rng.normal(0, 0.18) * much, 0.05, 0.95)),
        size=float(now.size * np.exp(np.clip(rng.normal(0, 0.3) * much, -0.8, 0.8))),
        roll=now.roll + float(rng.normal(0, 0.35) * much),
        yaw=now.yaw + float(rng.normal(0, 0.9) * much),
        pitch=float(np.clip(now.pitch + rng.normal(0, 0.25) * much, -0.9, 1.0)),
        depth=now.depth,
    )
    little = min(1.0, step * 4)
    fast = 2.5 if rng.random() < 0.15 else 1.0
    previous = Pose(
        x=now.x + float(rng.normal(0, 0.05) * little * fast),
        y=now.y + float(rng.normal(0, 0.04) * little * fast),
        size=float(now.size * np.exp(rng.normal(0, 0.06) * little)),
        roll=now.roll + float(rng.normal(0, 0.12) * little),
        yaw=now.yaw + float(rng.normal(0, 0.25) * little),
        pitch=now.pitch + float(rng.normal(0, 0.1) * little),
        depth=now.depth,
    )
    return [first, previous, now]
