"""Objects that can be looked at from any side: cut-outs on a card, boxes, bodies of revolution, balls,
pre-rendered models.

Every shape answers `view(yaw, pitch, pixels)` with an RGBA picture and the homogeneous map from its pixels to
object units
(the object's longest side is about 1 unit, its centre the origin, y down). `compose.py` then places it in the
frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np

_CAMERA_DISTANCE = 3.2  # object lengths; near enough that the perspective of a hand-held box shows


@dataclass
class View:
    """One look at an object: rgba uint8 [h,w,4] (straight alpha), to_units float64 [3,3] from pixel
    (x,y,1)."""

    rgba: np.ndarray
    to_units: np.ndarray


class Shape(Protocol):
    """What compose.py needs of an object."""

    upright: bool

    def view(self, yaw: float, pitch: float, pixels: int) -> View:
        """Look at the object turned by yaw and pitch (radians); `pixels` is about its longest side on the
        screen."""


def _rotation(yaw: float, pitch: float) -> np.ndarray:
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    return np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])


def _project(points: np.ndarray) -> np.ndarray:
    """Perspective of points [n,3] (x right, y down, z away) onto the plane through the origin, [n,2]."""
    depth = _CAMERA_DISTANCE / (_CAMERA_DISTANCE + points[:, 2:])
    return points[:, :2] * depth


def _square_map(pixels: int, extent: float) -> np.ndarray:
    """Pixels of a pixels x pixels picture to units -extent..extent."""
    s = 2 * extent / pixels
    return np.array([[s, 0, -extent + s / 2], [0, s, -extent + s / 2], [0, 0, 1.0]])


@dataclass
class Cutout:
    """A photograph of an object on a card: turning it foreshortens the card, up to about 35 degrees."""

    rgba: np.ndarray
    upright: bool = False
    limit: float = 0.6

    def view(self, yaw: float, pitch: float, pixels: int) -> View:
        image = self.rgba
        longest = max(image.shape[:2])
        if longest > 1.6 * pixels:  # shrink first, or linear sampling aliases
            scale = max(pixels, 6) / longest
            size = (max(2, round(image.shape[1] * scale)), max(2, round(image.shape[0] * scale)))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        h, w = image.shape[:2]
        half = np.array([w, h]) / (2 * max(h, w))
        corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * np.append(half, 1)
        turned = (
            corners
            @ _rotation(np.clip(yaw, -self.limit, self.limit), np.clip(pitch, -self.limit, self.limit)).T
        )
        source = np.float32([[-0.5, -0.5], [w - 0.5, -0.5], [w - 0.5, h - 0.5], [-0.5, h - 0.5]])
        return View(image, cv2.getPerspectiveTransform(source, _project(turned).astype(np.float32)))


@dataclass
class Cuboid:
    """A box with a texture on each side. size = (width, height, depth) in units; faces: 6 RGB pictures uint8
    [h,w,3]."""

    size: tuple[float, float, float]
    faces: list[np.ndarray]
    light: np.ndarray = field(default_factory=lambda: np.array([-0.4, -0.7, -0.6]))
    upright: bool = True

    # corner indices of front, back, left, right, top, bottom; order: texture's top-left, top-right,
    # bottom-right, bottom-left
    _SIDES = ((0, 1, 2, 3), (5, 4, 7, 6), (4, 0, 3, 7), (1, 5, 6, 2), (4, 5, 1, 0), (3, 2, 6, 7))
    _NORMALS = np.array([[0, 0, -1], [0, 0, 1], [-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0]], float)

    def view(self, yaw: float, pitch: float, pixels: int) -> View:
        res = int(np.clip(pixels * 1.5, 16, 360))
        extent = 0.5 * float(np.linalg.norm(self.size)) * 1.25
        to_units = _square_map(res, extent)
        w, h, d = np.array(self.size) / 2
        corners = np.array(
            [
                [-w, -h, -d],
                [w, -h, -d],
                [w, h, -d],
                [-w, h, -d],
                [-w, -h, d],
                [w, -h, d],
                [w, h, d],
                [-w, h, d],
            ]
        )
        rotation = _rotation(yaw, pitch)
        turned = corners @ rotation.T
        flat = ((_project(turned) + extent) * res / (2 * extent) - 0.5).astype(np.float32)
        rgba = np.zeros((res, res, 4), np.uint8)
        for side, indices in enumerate(self._SIDES):
            normal = rotation @ self._NORMALS[side]
            centre = turned[list(indices)].mean(0)
            if normal @ (centre + np.array([0, 0, _CAMERA_DISTANCE])) >= 0:
                continue  # faces away from the camera
            self._draw(
                rgba,
                self.faces[side],
                flat[list(indices)],
                0.72 + 0.34 * max(0.0, float(normal @ self.light)),
            )
        low = np.maximum(np.floor(flat.min(0)).astype(int) - 2, 0)
        high = np.ceil(flat.max(0)).astype(int) + 3
        to_units = to_units @ np.array([[1, 0, low[0]], [0, 1, low[1]], [0, 0, 1.0]])
        return View(rgba[low[1] : high[1], low[0] : high[0]], to_units)

    @staticmethod
    def _draw(rgba: np.ndarray, face: np.ndarray, quad: np.ndarray, shade: float) -> None:
        x0, y0 = np.maximum(np.floor(quad.min(0)).astype(int) - 1, 0)
        x1, y1 = np.minimum(np.ceil(quad.max(0)).astype(int) + 2, rgba.shape[1::-1])
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        h, w = face.shape[:2]
        source = np.float32([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]])
        matrix = cv2.getPerspectiveTransform(source, quad - np.float32([x0, y0]))
        size = (int(x1 - x0), int(y1 - y0))
        colour = cv2.warpPerspective(
            face, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        mask = np.zeros((size[1], size[0]), np.uint8)
        fixed = np.round((quad - np.float32([x0, y0])) * 16).astype(np.int32)
        cv2.fillConvexPoly(mask, fixed, 255, cv2.LINE_AA, 4)
        colour = cv2.convertScaleAbs(colour, alpha=shade)
        roi = rgba[y0:y1, x0:x1]
        # Seams between two faces: keep the larger coverage, so that a shared edge does not become a
        # transparent line.
        inner = mask > 96
        roi[..., :3][inner] = colour[inner]
        edge = (mask > 0) & ~inner & (roi[..., 3] == 0)
        roi[..., :3][edge] = colour[edge]
        roi[..., 3] = np.maximum(roi[..., 3], mask)


@dataclass
class Revolution:
    """A body of revolution standing on its axis: bottle, can, cup, mug, bowl, vase.

    profile float [n,2]: (height -0.5..0.5 from top to bottom, radius); texture RGB uint8 [th,tw,3] wraps
    around the axis;
    `inside` is the colour seen through an open top (None: a lid in `lid` colour). `handle` RGB or None draws
    a mug's ear.
    """

    profile: np.ndarray
    texture: np.ndarray
    lid: np.ndarray
    inside: np.ndarray | None = None
    handle: np.ndarray | None = None
    gloss: float = 0.3
    light: float = -0.5
    upright: bool = True

    def view(self, yaw: float, pitch: float, pixels: int) -> View:
        pitch = float(np.clip(pitch, -0.75, 0.75))
        res = int(np.clip(pixels * 1.25, 16, 320))
        extent = 0.66
        to_units = _square_map(res, extent)
        axis = (np.arange(res, dtype=np.float32) * (2 * extent / res)) + np.float32(extent / res - extent)
        x, y = axis[None, :], axis[:, None]
        cosine, sine = np.float32(np.cos(pitch)), np.float32(np.sin(pitch))
        heights, radii = self.profile[:, 0].astype(np.float32), self.profile[:, 1].astype(np.float32)
        height = np.broadcast_to(y / cosine, (res, res)).astype(np.float32)
        for _ in range(
            3
        ):  # where does the ray meet the wall: y = height * cos + depth * sin, depth from the radius there
            radius = np.interp(height.ravel(), heights, radii).reshape(res, res).astype(np.float32)
            depth = np.sqrt(np.maximum(radius * radius - x * x, 0))
            height = (y - depth * sine) / cosine
        radius = np.interp(height.ravel(), heights, radii).reshape(res, res).astype(np.float32)
        wall = (np.abs(x) <= radius) & (np.abs(height) <= 0.5)
        angle = np.arcsin(np.clip(x / np.maximum(radius, 1e-4), -1, 1))
        th, tw = self.texture.shape[:2]
        u = ((angle + np.float32(yaw)) % np.float32(2 * np.pi)) * np.float32(tw / (2 * np.pi))
        rgb = cv2.remap(
            self.texture,
            u.astype(np.float32),
            (height + 0.5) * (th - 1),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )
        shade = (
            0.55 + 0.45 * np.cos(angle - self.light) + self.gloss * np.exp(-((angle - self.light) ** 2) * 18)
        )
        rgb = np.clip(rgb * shade[..., None], 0, 255)
        rgba = np.dstack([rgb, wall * np.float32(255)]).astype(np.uint8)
        self._cap(rgba, sine, cosine, extent)
        if self.handle is not None:
            rgba = self._add_handle(rgba, yaw, extent)
        return View(rgba, to_units)

    def _cap(self, rgba: np.ndarray, sine: float, cosine: float, extent: float) -> None:
        """Draw the top (or, seen from below, the bottom) disc."""
        end = 0 if sine > 0 else -1
        height, radius = self.profile[end]
        scale = rgba.shape[0] / (2 * extent)
        centre = (int((extent) * scale * 16), int((height * cosine + extent) * scale * 16))
        axes = (int(radius * scale * 16), int(max(radius * abs(sine) * scale, 0.5) * 16))
        open_top = end == 0 and self.inside is not None
        rim = self.lid if end == 0 else self.lid * 0.6
        cv2.ellipse(rgba, centre, axes, 0, 0, 360, (*map(float, rim), 255.0), -1, cv2.LINE_AA, 4)
        if open_top:
            inner = (int(axes[0] * 0.88), int(axes[1] * 0.82))
            cv2.ellipse(rgba, centre, inner, 0, 0, 360, (*map(float, self.inside), 255.0), -1, cv2.LINE_AA, 4)

    def _add_handle(self, rgba: np.ndarray, yaw: float, extent: float) -> np.ndarray:
        """A mug's ear as a bent band at angle -yaw: behind the body when it points away."""
        scale = rgba.shape[0] / (2 * extent)
        radius = float(self.profile[:, 1].max())
        side, front = np.sin(-yaw), np.cos(-yaw)
        layer = np.zeros_like(rgba)
        centre = (int((extent + radius * side) * scale), int((extent + 0.02) * scale))
        axes = (max(1, int(0.24 * abs(side) * scale)), int(0.26 * scale))
        shade = np.clip(self.handle * (0.75 + 0.25 * side), 0, 255)
        cv2.ellipse(
            layer,
            centre,
            axes,
            0,
            0,
            360,
            (*map(float, shade), 255.0),
            max(1, int(0.085 * scale)),
            cv2.LINE_AA,
        )
        back, over = (rgba, layer) if front > 0.35 else (layer, rgba)
        alpha = over[..., 3:].astype(np.float32) / 255
        return (back * (1 - alpha) + over * alpha).astype(np.uint8)


@dataclass
class Ball:
    """A sphere with a texture (RGB uint8 [h,w,3], equirectangular)."""

    texture: np.ndarray
    gloss: float = 0.3
    upright: bool = False

    def view(self, yaw: float, pitch: float, pixels: int) -> View:
        res = int(np.clip(pixels * 1.15, 12, 320))
        to_units = _square_map(res, 0.52)
        axis = (np.arange(res, dtype=np.float32) + 0.5) * (1.04 / res) - 0.52
        x, y = np.meshgrid(axis * 2, axis * 2)
        squared = x * x + y * y
        z = np.sqrt(np.maximum(1 - squared, 0))
        points = np.stack([x, y, -z], -1).reshape(-1, 3) @ _rotation(yaw, pitch).astype(np.float32)
        th, tw = self.texture.shape[:2]
        u = (np.arctan2(points[:, 0], points[:, 2]) / (2 * np.pi) + 0.5) * (tw - 1)
        v = (np.arcsin(np.clip(points[:, 1], -1, 1)) / np.pi + 0.5) * (th - 1)
        shape = (res, res)
        rgb = cv2.remap(
            self.texture,
            u.reshape(shape).astype(np.float32),
            v.reshape(shape).astype(np.float32),
            cv2.INTER_LINEAR,
        )
        facing = np.clip(-0.4 * x - 0.55 * y + 0.73 * z, 0, 1)
        shade = 0.45 + 0.62 * facing + self.gloss * facing**30
        alpha = np.clip((1 - np.sqrt(squared)) * res / 2.08 + 0.5, 0, 1) * 255
        return View(np.dstack([np.clip(rgb * shade[..., None], 0, 255), alpha]).astype(np.uint8), to_units)


@dataclass
class Turntable:
    """A 3-D model seen from equal steps of yaw (keys of the pictures, and how to look one up); between two
    steps the nearer
    picture is squeezed slightly."""

    keys: list[int]
    look: Callable[[int], np.ndarray]
    upright: bool = True

    def view(self, yaw: float, pitch: float, pixels: int) -> View:
        step = 2 * np.pi / len(self.keys)
        nearest = round(yaw / step)
        rest = float(yaw - nearest * step)
        card = Cutout(self.look(self.keys[nearest % len(self.keys)]), limit=0.5)
        return card.view(rest, float(np.clip(pitch, -0.2, 0.2)), pixels)
