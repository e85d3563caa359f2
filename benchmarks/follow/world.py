"""A room with walls and a walking target, ray-cast into what a colour and depth camera on a robot sees.

World frame: metres, x and y on the floor, z up. A pose is (x, y, heading in radians, counter-clockwise).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Pose = tuple[float, float, float]
Point = tuple[float, float]
Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Colour of a surface's points (u, v in metres): float [n,3], 0 to 255."""
_CEILING = 3.0  # m


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks ahead. size: (h, w). fx: px, fy is the same. forward, height: m, its place
    on the robot."""

    size: tuple[int, int] = (192, 320)
    fx: float = 233.0  # 69 degrees across, as a RealSense D435's colour camera
    forward: float = 0.15
    height: float = 0.45

    @property
    def k(self) -> list[float]:
        """The camera matrix, row by row."""
        height, width = self.size
        return [self.fx, 0.0, (width - 1) / 2, 0.0, self.fx, (height - 1) / 2, 0.0, 0.0, 1.0]


@dataclass(frozen=True)
class Block:
    """A cuboid on the floor. centre: (x, y); size: (length, width, height), m; turn: rad."""

    centre: Point
    size: tuple[float, float, float]
    texture: Texture
    turn: float = 0.0

    def hit(self, eye: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """How many rays' lengths [n] away from the eye the rays [n,3] enter it; inf where they pass."""
        enters, leaves = _crossed(self._inside(eye), _turned(rays, -self.turn), *self._bounds())
        return np.where((enters < leaves) & (enters > 0), enters, np.inf)

    def colours(self, points: np.ndarray) -> np.ndarray:
        """Of points [n,3] on its surface: the texture of each side, lit from above and one side."""
        local = self._inside(points)
        low, high = self._bounds()
        side = np.minimum(np.abs(local - low), np.abs(local - high)).argmin(-1)  # the axis it faces
        u = np.where(side == 0, local[:, 1], local[:, 0])
        v = np.where(side == 2, local[:, 1], local[:, 2])
        light = np.array([0.86, 0.68, 1.0])[side]
        return self.texture(u, v) * light[:, None]

    def _inside(self, points: np.ndarray) -> np.ndarray:
        return _turned(points - np.array([*self.centre, 0.0]), -self.turn)

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        half = np.array(self.size[:2]) / 2
        return np.array([*-half, 0.0]), np.array([*half, self.size[2]])

    def corners(self) -> np.ndarray:
        """Of its ground plan, [4,2], m."""
        half = np.array(self.size[:2]) / 2
        local = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * half
        return _turned(np.c_[local, np.zeros(4)], self.turn)[:, :2] + np.array(self.centre)

    def distance(self, x: float, y: float) -> float:
        """Metres from a point on the floor to it, 0 inside."""
        local = self._inside(np.array([[x, y, 0.0]]))[0, :2]
        return float(np.hypot(*np.maximum(np.abs(local) - np.array(self.size[:2]) / 2, 0.0)))


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return points @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]], points.dtype)


def _crossed(
    eye: np.ndarray, rays: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where rays [n,3] enter and leave the cuboid between two corners [3], in lengths of theirs [n]."""
    enters, leaves = np.float32(-np.inf), np.float32(np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        for axis in range(3):
            per_metre = 1 / rays[:, axis]
            one, other = (low[axis] - eye[axis]) * per_metre, (high[axis] - eye[axis]) * per_metre
            enters = np.fmax(enters, np.minimum(one, other))
            leaves = np.fmin(leaves, np.maximum(one, other))
    return enters, leaves


def bricks(colour: Sequence[float]) -> Texture:
    """Courses of bricks 0.3 m long with pale joints."""

    def texture(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        course = np.floor(v / 0.1)
        along = u / 0.3 + 0.5 * (course % 2)
        joint = (np.mod(v, 0.1) < 0.012) | (np.mod(along, 1.0) < 0.04)
        shade = 1.0 + 0.14 * (_hashed(course, np.floor(along)) - 0.5)
        return np.where(joint[:, None], 190.0, np.array(colour) * shade[:, None])

    return texture


def plaster(colour: Sequence[float]) -> Texture:
    """A wall with a skirting board and faint stains."""

    def texture(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        stain = 1.0 + 0.05 * np.sin(1.7 * u) * np.sin(2.3 * v + 0.7 * u)
        return np.where((v < 0.12)[:, None], np.array([105.0, 98.0, 92.0]), np.array(colour) * stain[:, None])

    return texture


def boards(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A floor of wooden boards."""
    board = np.floor(v / 0.14)
    grain = 0.08 * np.sin(40 * v + 3 * np.sin(2.1 * u + board)) + 0.3 * (_hashed(board, board) - 0.5)
    gap = np.mod(v, 0.14) < 0.006
    return np.where(gap[:, None], 70.0, np.array([150.0, 128.0, 104.0]) * (1.0 + grain)[:, None])


def parcel(colour: Sequence[float]) -> Texture:
    """A box of one colour with a band of tape and a label."""

    def texture(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        base = np.array(colour) * (1.0 + 0.04 * np.sin(25 * v + 4 * np.sin(9 * u)))[:, None]
        base = np.where((np.abs(u) < 0.02)[:, None], 0.8 * base, base)
        label = (np.abs(u - 0.08) < 0.07) & (np.abs(v - 0.42) < 0.05)
        return np.where(label[:, None], 225.0, base)

    return texture


def _hashed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.mod(np.sin(12.9898 * one + 78.233 * other) * 43758.5453, 1.0)


@dataclass(frozen=True)
class Room:
    """What stands still. size: (x, y), m, from the origin. walls hide; things are there to be mistaken.
    colour: RGB of its own walls."""

    size: Point
    walls: tuple[Block, ...] = ()
    things: tuple[Block, ...] = ()
    colour: tuple[int, int, int] = (178, 186, 196)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All that can be run into."""
        return self.walls + self.things

    def clearance(self, x: float, y: float) -> float:
        """Metres from a point to the nearest wall or thing."""
        sides = min(x, y, self.size[0] - x, self.size[1] - y)
        return min([sides, *(block.distance(x, y) for block in self.blocks)])


class Renderer:
    """Draws a room and a target as the camera of a robot sees them."""

    def __init__(self, room: Room, camera: Camera, seed: int = 0) -> None:
        self.room, self.camera = room, camera
        self._random = np.random.default_rng(seed)
        height, width = camera.size
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        left = -(columns.ravel() - camera.k[2]) / camera.fx
        up = -(rows.ravel() - camera.k[5]) / camera.fx
        # of length 1 along the axis, so that their lengths are depths
        self._rays = np.stack([np.ones_like(left), left, up], -1).astype(np.float32)

    def view(self, robot: Pose, target: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """uint8 RGB [h,w,3]; depth f32 [h,w], m; bool [h,w], where the target is. All without noise."""
        eye = self._eye(robot)
        rays = _turned(self._rays, robot[2])
        solids = (*self.room.blocks, target)
        layers = np.stack([*(block.hit(eye, rays) for block in solids), self._shell(eye, rays)])
        owner = layers.argmin(0)
        depth = np.take_along_axis(layers, owner[None], 0)[0]
        points = eye + rays * depth[:, None]
        colours = np.empty((len(rays), 3))
        for index, block in enumerate(solids):
            mine = owner == index
            colours[mine] = block.colours(points[mine])
        rest = owner == len(solids)
        colours[rest] = self._shell_colours(points[rest], target)
        colours *= np.clip(1.1 - 0.035 * depth, 0.6, 1.1)[:, None]  # the light is by the camera
        size = self.camera.size
        picture = np.clip(colours, 0, 255).astype(np.uint8).reshape(*size, 3)
        return picture, depth.reshape(size).astype(np.float32), (owner == len(solids) - 1).reshape(size)

    def sensed(self, picture: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As a sensor gives them: soft, noisy uint8 RGB; u16 mm with noise that grows with the square of the
        depth, holes, and nothing beyond 8 m."""
        soft = cv2.GaussianBlur(picture, (3, 3), 0.7)
        noise = self._random.standard_normal((*depth.shape, 4), np.float32)
        noisy = soft + 3 * noise[..., :3]
        metres = depth + 0.003 * noise[..., 3] * depth**2
        lost = (self._random.random(depth.shape, np.float32) < 0.05) | (depth > 8.0)
        millimetres = np.where(lost, 0, np.clip(metres, 0, 60) * 1000)
        return np.clip(noisy, 0, 255).astype(np.uint8), np.round(millimetres).astype(np.uint16)

    def _eye(self, robot: Pose) -> np.ndarray:
        x, y, heading = robot
        ahead = self.camera.forward
        return np.array([x + ahead * math.cos(heading), y + ahead * math.sin(heading), self.camera.height])

    def _shell(self, eye: np.ndarray, rays: np.ndarray) -> np.ndarray:
        # seen from inside: floor, ceiling and the room's own walls
        return _crossed(eye, rays, np.zeros(3), np.array([*self.room.size, _CEILING]))[1]

    def _shell_colours(self, points: np.ndarray, target: Block) -> np.ndarray:
        x, y, z = points.T
        near_x = np.minimum(x, self.room.size[0] - x) < 1e-3
        walls = plaster(self.room.colour)(np.where(near_x, y, x), z) * np.where(near_x, 0.85, 1.0)[:, None]
        floor = boards(x, y)
        away = np.hypot(x - target.centre[0], y - target.centre[1])
        floor *= (1.0 - 0.45 * np.exp(-((away / (0.75 * target.size[0])) ** 4)))[:, None]  # its shadow
        colours = np.where((z < 1e-3)[:, None], floor, walls)
        return np.where((z > _CEILING - 1e-3)[:, None], 225.0, colours)
