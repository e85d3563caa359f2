"""Backgrounds: photographs, drawn rooms and table tops, plain textures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from .things.colours import any_colour, paint_colour
from .things.procedural import plain, print_on


def _noise(rng: np.random.Generator, height: int, width: int, octaves: int = 4) -> np.ndarray:
    """Cloudy noise, about -1..1, float32 [height,width]."""
    total = np.zeros((height, width), np.float32)
    cells = int(rng.integers(2, 5))
    for octave in range(octaves):
        grid = rng.normal(0, 1, (cells + 1, int(cells * width / height) + 1)).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.6**octave
        cells *= 2
    return total / 2


def muted(rng: np.random.Generator) -> np.ndarray:
    """A colour as walls and floors have: mostly pale or brownish, RGB 0..255."""
    roll = rng.random()
    if roll < 0.45:
        return np.float32(rng.uniform(90, 240)) + rng.normal(0, 12, 3).astype(np.float32)
    if roll < 0.7:
        return paint_colour(rng, "brown") * np.float32(rng.uniform(0.8, 1.7))
    colour = paint_colour(rng, any_colour(rng))
    return colour * np.float32(0.5) + np.float32(rng.uniform(20, 110))


def material(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A surface: plaster, wood, cloth, tiles, bricks. uint8 [height,width,3]."""
    base = muted(rng)
    kind = rng.integers(0, 5)
    if kind == 0:
        return plain(rng, height, width, base)
    shade = _noise(rng, height, width) * rng.uniform(3, 22)
    if kind == 1:  # wood: noise drawn out along one axis
        strip = _noise(rng, height, max(8, width // 12))
        shade = cv2.resize(strip, (width, height), interpolation=cv2.INTER_CUBIC) * rng.uniform(8, 30)
        step = int(rng.integers(24, 90))
        shade[::step] -= rng.uniform(10, 60)
    elif kind in (2, 3):  # tiles or bricks
        step_y, step_x = int(rng.integers(10, 60)), int(rng.integers(16, 90))
        tones = rng.normal(0, rng.uniform(2, 25), (height // step_y + 2, width // step_x + 3)).astype(
            np.float32
        )
        rows, cols = np.arange(height) // step_y, np.arange(width)
        shift = (rows % 2) * (step_x // 2) if kind == 3 else 0 * rows
        shade = shade + tones[rows[:, None], (cols[None] + shift[:, None]) // step_x]
        joint = ((np.arange(height) % step_y < 2)[:, None]) | ((cols[None] + shift[:, None]) % step_x < 2)
        shade[joint] -= rng.uniform(-40, 60)
    elif kind == 4:  # cloth
        shade = shade + rng.normal(0, rng.uniform(2, 18), (height, width)).astype(np.float32)
    return np.clip(base + shade[..., None], 0, 255).astype(np.uint8)


def room(rng: np.random.Generator, height: int, width: int, photos: Sequence[np.ndarray]) -> np.ndarray:
    """A wall above a floor or table in perspective, perhaps a side wall, pictures, a shelf, a window. uint8
    [height,width,3]."""
    image = cv2.resize(material(rng, height // 2, width // 2), (width, height))
    horizon = int(height * rng.uniform(0.25, 0.75))
    for _ in range(int(rng.integers(0, 4))):
        hang(rng, image, horizon, photos)
    floor = material(rng, 160, 200)
    spread = rng.uniform(0.2, 1.2) * width
    shift = rng.uniform(-0.3, 0.3) * width
    quad = np.float32(
        [
            [0, horizon],
            [width, horizon],
            [width + spread + shift, height * 1.02],
            [-spread + shift, height * 1.02],
        ]
    )
    matrix = cv2.getPerspectiveTransform(np.float32([[0, 0], [200, 0], [200, 160], [0, 160]]), quad)
    cv2.warpPerspective(
        floor, matrix, (width, height), image, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
    )
    if rng.random() < 0.6:  # a table edge or a skirting board
        thick = int(rng.uniform(0.005, 0.06) * height) + 1
        cv2.rectangle(
            image, (0, horizon - thick), (width, horizon), tuple(map(float, np.clip(muted(rng), 0, 255))), -1
        )
    if rng.random() < 0.35:  # a side wall
        x = int(rng.uniform(0.05, 0.35) * width)
        side = np.array([[0, -1], [x, -1], [x, horizon], [0, min(height, horizon + int(0.6 * x))]], np.int32)
        dark = cv2.convertScaleAbs(image, alpha=float(rng.uniform(0.6, 0.9)))
        mask = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), side, 255)
        if rng.random() < 0.5:
            mask = mask[:, ::-1]
        image[mask > 0] = dark[mask > 0]
    light = 1 + _noise(rng, height // 8 + 2, width // 8 + 2, 1) * np.float32(rng.uniform(0.02, 0.2))
    light = cv2.resize(light, (width, height))
    return np.clip(image * light[..., None], 0, 255).astype(np.uint8)


def hang(rng: np.random.Generator, image: np.ndarray, horizon: int, photos: Sequence[np.ndarray]) -> None:
    """A picture, window, door, shelf or poster on the wall uint8 [h,w,3], above row `horizon`, in place."""
    height, width = image.shape[:2]
    w, h = int(rng.uniform(0.1, 0.45) * width), int(rng.uniform(0.15, 0.6) * height)
    x, y = int(rng.uniform(-0.1, 0.9) * width), int(rng.uniform(-0.3, 0.8) * horizon)
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if x1 - x0 < 6 or y1 - y0 < 6:
        return
    frame = tuple(map(float, np.clip(muted(rng), 0, 255)))
    kind = rng.random()
    if kind < 0.4 and len(photos):
        photo = photos[int(rng.integers(len(photos)))]
        image[y0:y1, x0:x1] = cv2.resize(random_crop(rng, photo, y1 - y0, x1 - x0), (x1 - x0, y1 - y0))
    elif kind < 0.7:
        panel = plain(rng, y1 - y0, x1 - x0, muted(rng))
        print_on(rng, panel, panel.mean((0, 1)), None, int(rng.integers(0, 4)))
        image[y0:y1, x0:x1] = panel
    else:
        step = max(4, int((y1 - y0) / rng.integers(2, 5)))
        for row in range(y0, y1, step):
            cv2.rectangle(image, (x0, row), (x1, row + max(2, step // 8)), frame, -1)
    cv2.rectangle(image, (x0, y0), (x1, y1), frame, int(rng.integers(1, 6)))


def random_crop(rng: np.random.Generator, photo: np.ndarray, height: int, width: int) -> np.ndarray:
    """A random part of a photograph, resized to [height,width,3]."""
    ph, pw = photo.shape[:2]
    fit = min(pw / width, ph / height)
    scale = fit * rng.uniform(0.3, 1.0)
    h, w = max(2, int(height * scale)), max(2, int(width * scale))
    y, x = int(rng.integers(0, ph - h + 1)), int(rng.integers(0, pw - w + 1))
    crop = photo[y : y + h, x : x + w]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA if w > width else cv2.INTER_LINEAR)


def make_background(
    rng: np.random.Generator, height: int, width: int, photos: Sequence[np.ndarray]
) -> np.ndarray:
    """A background uint8 [height,width,3] RGB: half photographs (if there are any), a third rooms, the rest
    surfaces."""
    roll = rng.random()
    if roll < 0.42 and len(photos):
        image = random_crop(rng, photos[int(rng.integers(len(photos)))], height, width)
    elif roll < 0.88:
        image = room(rng, height, width, photos)
    else:
        image = material(rng, height, width)
    if rng.random() < 0.4:
        sigma = float(rng.uniform(0.5, 3.5)) * height / 240
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    return np.ascontiguousarray(image)
