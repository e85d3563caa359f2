"""Depth images of boxes and spheres over a floor and before a wall, ray-cast, so that the truth is known; and
what a real sensor does to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SIZE = (480, 640)
FX = FY = 525.0
CX, CY = 319.5, 239.5


@dataclass(frozen=True)
class Ball:
    """centre: m. radius: m."""

    centre: tuple[float, float, float]
    radius: float

    def hit(self, rays: np.ndarray) -> np.ndarray:
        """Depth at which the rays (x/z, y/z, 1) [h,w,3] hit it, inf where they pass."""
        centre = np.array(self.centre)
        a, b = (rays**2).sum(-1), rays @ centre
        root = b**2 - a * (centre @ centre - self.radius**2)
        return np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, np.inf)


@dataclass(frozen=True)
class Block:
    """centre, size: m, along the camera's axes. turn: rad, about the vertical axis."""

    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    turn: float = 0.0

    def hit(self, rays: np.ndarray) -> np.ndarray:
        """As `Ball.hit`."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        turned = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        origin, rays = -turned.T @ np.array(self.centre), rays @ turned
        half = np.array(self.size) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            one, other = (-half - origin) / rays, (half - origin) / rays
        enters = np.minimum(one, other).max(-1)
        leaves = np.maximum(one, other).min(-1)
        return np.where((enters < leaves) & (enters > 0), enters, np.inf)


@dataclass(frozen=True)
class View:
    """depth: f64 [h,w], m, without any error. owner: int [h,w], index of the thing seen, -1 floor or wall.
    points: f64 [h,w,3]."""

    depth: np.ndarray
    owner: np.ndarray
    points: np.ndarray

    def truth(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and size along the axes (all but half a per cent at either end) of what is seen of a thing."""
        points = self.points[self.owner == index]
        return points.mean(0), np.subtract(*np.percentile(points, (99.5, 0.5), axis=0))


def view(things: Sequence[Ball | Block], size=SIZE, *, floor=0.4, wall=2.5) -> View:
    """Ray-cast. floor: m below the camera. wall: m ahead. size (h, w): the camera's picture at that size."""
    scale = size[1] / SIZE[1]
    columns, rows = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
    x = ((columns + 0.5) / scale - 0.5 - CX) / FX
    y = ((rows + 0.5) / scale - 0.5 - CY) / FY
    rays = np.stack([x, y, np.ones_like(x)], -1)
    with np.errstate(divide="ignore"):
        ground = np.where(y > 0, floor / y, np.inf)
    layers = np.stack([*(thing.hit(rays) for thing in things), np.minimum(ground, wall)])
    owner = layers.argmin(0)
    depth = np.take_along_axis(layers, owner[None], 0)[0]
    return View(depth, np.where(owner == len(things), -1, owner), rays * depth[..., None])


def sensed(
    depth: np.ndarray, seed: int = 0, *, noise=0.003, holes=0.05, mixed=True, millimetres=True
) -> np.ndarray:
    """f32 [h,w], m, 0 at holes: the depth as a sensor gives it.

    noise: m at 1 m, growing with the square of the depth. holes: share of pixels missing singly; about as
    many go in patches. mixed: pixels beside an edge take a depth between. millimetres: whole ones.
    """
    rng = np.random.default_rng(seed)
    out = depth.copy()
    if mixed:
        for axis in (0, 1):
            for shift in (1, -1):
                other = np.roll(depth, shift, axis)
                edge = (np.abs(other - depth) > 0.04) & (rng.random(depth.shape) < 0.5)
                part = rng.random(depth.shape)
                out = np.where(edge, part * other + (1 - part) * depth, out)
    out += rng.normal(0, 1, depth.shape) * noise * depth**2
    out[rng.random(depth.shape) < holes] = 0
    for _ in range(int(holes * depth.size / 150)):
        row, column = rng.integers(depth.shape[0]), rng.integers(depth.shape[1])
        out[row : row + 12, column : column + 12] = 0
    return (np.round(out * 1000) / 1000 if millimetres else out).astype(np.float32)
