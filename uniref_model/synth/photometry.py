"""What a camera does to a picture: exposure, white balance, blur, noise, compression; and how one picture is
laid on another."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .things.shapes import View


@dataclass
class Canvas:
    """A frame being painted: image uint8 [H,W,3], ids uint8 [H,W] (working numbers of the things, 0
    background)."""

    image: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class Finish:
    """How a thing is laid into the frame: gain RGB, blur sigma in pixels, motion blur vector in pixels,
    shadow strength 0..1."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    blur: float = 0.0
    motion: tuple[float, float] = (0.0, 0.0)
    shadow: float = 0.0


def motion_kernel(motion: tuple[float, float]) -> np.ndarray | None:
    """A line kernel float32 [n,n] for motion blur, or None for less than a pixel."""
    length = float(np.hypot(*motion))
    if length < 1:
        return None
    half = int(np.ceil(length / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    dx, dy = motion[0] / 2, motion[1] / 2
    cv2.line(
        kernel,
        (round((half - dx) * 16), round((half - dy) * 16)),
        (round((half + dx) * 16), round((half + dy) * 16)),
        1.0,
        1,
        cv2.LINE_8,
        4,
    )
    return kernel / max(kernel.sum(), 1e-6)


def lay(canvas: Canvas, view: View, to_frame: np.ndarray, thing: int | None, finish: Finish) -> int:
    """Paint a view into the canvas through to_frame (units -> pixels, 3x3).

    thing: number written into ids where the view covers more than half a pixel; None paints only. Returns the
    number of
    pixels the view would cover if nothing were cut off or painted over later.
    """
    matrix = to_frame @ view.to_units
    h, w = view.rgba.shape[:2]
    corners = matrix @ np.array([[0, w, w, 0], [0, 0, h, h], [1, 1, 1, 1.0]])
    corners = corners[:2] / corners[2]
    pad = 3 + int(abs(finish.motion[0]) + abs(finish.motion[1]) + 2 * finish.blur)
    height, width = canvas.ids.shape
    x0, y0 = np.floor(corners.min(1)).astype(int) - pad
    x1, y1 = np.ceil(corners.max(1)).astype(int) + pad
    full = max(1, (x1 - x0) * (y1 - y0))
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return 0
    shift = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1.0]])
    cover = view.rgba[..., 3]
    premultiplied = cv2.multiply(
        view.rgba, cv2.merge([cover, cover, cover, np.full_like(cover, 255)]), scale=1 / 255
    )
    warped = cv2.warpPerspective(
        premultiplied, shift @ matrix, (int(x1 - x0), int(y1 - y0)), flags=cv2.INTER_LINEAR
    )
    if finish.blur > 0.3:
        warped = cv2.GaussianBlur(warped, (0, 0), finish.blur)
    kernel = motion_kernel(finish.motion)
    if kernel is not None:
        warped = cv2.filter2D(warped, -1, kernel)
    cover = cv2.extractChannel(warped, 3)
    if finish.shadow > 0:
        _shadow(canvas, cover, (x0, y0, x1, y1), finish.shadow)
    region = canvas.image[y0:y1, x0:x1]
    clear = cv2.bitwise_not(cover)
    colour = cv2.multiply(cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB), (*finish.gain, 0.0))
    cv2.add(cv2.multiply(region, cv2.merge([clear, clear, clear]), scale=1 / 255), colour, dst=colour)
    region[...] = colour
    solid = cover > 127
    if thing is not None:
        canvas.ids[y0:y1, x0:x1][solid] = thing
    inside = int(solid.sum())
    return max(inside, round(inside * min(full / max((x1 - x0) * (y1 - y0), 1), 50.0)))


def _shadow(canvas: Canvas, cover: np.ndarray, at: tuple[int, int, int, int], strength: float) -> None:
    """A soft dark copy of the cover, lower and wider, on what is already painted."""
    x0, y0, x1, y1 = at
    small = cv2.resize(
        cover, (cover.shape[1] // 4 + 1, cover.shape[0] // 4 + 1), interpolation=cv2.INTER_AREA
    )
    size = max(3, int(0.16 * max(small.shape))) | 1
    small = cv2.blur(cv2.blur(small, (size, size)), (size, max(3, size // 2) | 1))
    dy, dx = int(0.05 * small.shape[0]) + 1, int(0.03 * small.shape[1])
    small = np.roll(small, (dy, dx), (0, 1))
    small[:dy] = 0
    light = cv2.resize(cv2.convertScaleAbs(small, alpha=strength), (cover.shape[1], cover.shape[0]))
    light = cv2.bitwise_not(light)
    region = canvas.image[y0:y1, x0:x1]
    region[...] = cv2.multiply(region, cv2.merge([light, light, light]), scale=1 / 255)


def shake(rng: np.random.Generator, image: np.ndarray) -> None:
    """The blur of a camera that moves while the shutter is open, on the frame uint8 [H,W,3] in place."""
    angle = rng.uniform(0, 2 * np.pi)
    length = rng.uniform(1.5, 0.025 * image.shape[1])
    kernel = motion_kernel((float(np.cos(angle) * length), float(np.sin(angle) * length)))
    if kernel is not None:
        image[...] = cv2.filter2D(image, -1, kernel)


@dataclass(frozen=True)
class Light:
    """Uneven light in the room: coarse gains float32 [6,8], or None; the map moves with the background."""

    gains: np.ndarray | None

    @classmethod
    def random(cls, rng: np.random.Generator) -> Light:
        """Even in half of the clips."""
        if rng.random() < 0.5:
            return cls(None)
        coarse = rng.normal(0, 1, (2, 3)).astype(np.float32) * np.float32(rng.uniform(0.08, 0.3))
        return cls(np.exp(np.clip(cv2.resize(coarse, (8, 6), interpolation=cv2.INTER_LINEAR), -0.6, 0.3)))

    def fall_on(self, image: np.ndarray, view: np.ndarray) -> None:
        """Light the frame uint8 [H,W,3] in place; view = (dx, dy, zoom, roll) of the camera."""
        if self.gains is None:
            return
        height, width = image.shape[:2]
        matrix = np.float64([[width / 7, 0, view[0] * 0.5 * width], [0, height / 5, view[1] * 0.5 * height]])
        gain = cv2.warpAffine(self.gains, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        cv2.multiply(image, cv2.merge([gain, gain, gain]), dst=image, dtype=cv2.CV_8U)


@dataclass(frozen=True)
class Camera:
    """A camera's manner, the same for all frames of a clip but for small changes."""

    gain: np.ndarray  # RGB
    contrast: float
    gamma: float
    noise: float
    jpeg: int | None
    soften: float
    shrink: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Camera:
        """A camera from clean to poor."""
        poor = rng.random()
        return cls(
            gain=np.float32(rng.uniform(0.72, 1.22)) * np.float32(1 + rng.normal(0, 0.05, 3)),
            contrast=float(rng.uniform(0.75, 1.25)),
            gamma=float(np.exp(rng.normal(0, 0.15))),
            noise=float(rng.exponential(4.0) if poor < 0.7 else 0.0),
            jpeg=int(rng.integers(30, 92)) if rng.random() < 0.45 else None,
            soften=float(rng.uniform(0.4, 1.1)) if rng.random() < 0.25 else 0.0,
            shrink=float(rng.uniform(0.45, 0.9)) if rng.random() < 0.2 else 1.0,
        )

    def changed(self, rng: np.random.Generator, amount: float) -> Camera:
        """The same camera a little (amount ~0.02) or much (~0.15) later: exposure and white balance have
        moved."""
        gain = (
            self.gain
            * np.float32(np.exp(rng.normal(0, amount)))
            * np.float32(np.exp(rng.normal(0, amount * 0.3, 3)))
        )
        return Camera(gain, self.contrast, self.gamma, self.noise, self.jpeg, self.soften, self.shrink)

    def shoot(self, rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
        """Apply it to a frame uint8 [H,W,3]; returns a new array."""
        height, width = image.shape[:2]
        if self.shrink < 1:
            small = cv2.resize(
                image, (int(width * self.shrink), int(height * self.shrink)), interpolation=cv2.INTER_AREA
            )
            image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        if self.soften:
            image = cv2.GaussianBlur(image, (0, 0), self.soften)
        levels = np.arange(256, dtype=np.float32)[:, None] / 255
        curve = np.clip(levels * self.gain, 0, 1) ** self.gamma
        curve = np.clip((curve - 0.45) * self.contrast + 0.45, 0, 1) * 255
        image = cv2.LUT(image, curve.astype(np.uint8)[None])
        if self.noise > 0.5:
            image = cv2.add(image, _grain(rng, height, width, self.noise), dtype=cv2.CV_8U)
        if self.jpeg is not None:
            data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg])[1]
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        return image


def _grain(rng: np.random.Generator, height: int, width: int, strength: float) -> np.ndarray:
    """Sensor noise int16 [H,W,3], partly shared by the three channels; made small and rolled, since it is
    drawn for every frame."""
    tile = (
        rng.standard_normal((64, 96, 3), np.float32) * 0.8
        + rng.standard_normal((64, 96, 1), np.float32) * 0.6
    ) * strength
    tile = tile.astype(np.int16)
    rows, cols = -(-height // 64), -(-width // 96)
    return np.ascontiguousarray(np.tile(tile, (rows, cols, 1))[:height, :width])
