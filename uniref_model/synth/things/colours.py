"""Names of colours: which colour words a picture of an object deserves, and how to paint it in another
colour.

A colour word is a *claim about pixels*, so it is always measured on the finished texture, never taken from a
file name.
Two sets are kept for each object: `main` (anybody would say so) and `possible` (somebody might), and an
expression is only
used when it is true with `main` for one object and false with `possible` for all the others.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "grey")
INDEX = {name: index for index, name in enumerate(COLOURS)}
SPELLINGS = {"grey": ("grey", "gray"), "purple": ("purple", "violet")}

# HSV box (hue degrees, saturation, value) from the middle of each colour's region, to paint with.
_PAINT = {
    "red": ((-8, 8), (0.75, 1.0), (0.6, 0.95)),
    "orange": ((20, 32), (0.8, 1.0), (0.85, 1.0)),
    "yellow": ((47, 60), (0.65, 1.0), (0.82, 1.0)),
    "green": ((90, 150), (0.45, 1.0), (0.3, 0.85)),
    "blue": ((200, 240), (0.5, 1.0), (0.4, 0.95)),
    "purple": ((265, 290), (0.4, 0.9), (0.4, 0.8)),
    "pink": ((315, 345), (0.3, 0.7), (0.85, 1.0)),
    "brown": ((15, 32), (0.45, 0.75), (0.3, 0.55)),
    "black": ((0, 360), (0.0, 0.2), (0.04, 0.14)),
    "white": ((0, 360), (0.0, 0.05), (0.88, 1.0)),
    "grey": ((0, 360), (0.0, 0.06), (0.38, 0.62)),
}


@dataclass(frozen=True)
class ColourNames:
    """Colour words of one object: `main` are safe to say of it, `possible` (a superset) must not tell others
    apart."""

    main: frozenset[str]
    possible: frozenset[str]


def _membership(hue: np.ndarray, sat: np.ndarray, val: np.ndarray) -> np.ndarray:
    """Index into COLOURS for each pixel; hue in degrees, saturation and value 0..1, any one shape."""
    name = np.full(hue.shape, INDEX["grey"], np.uint8)
    bounds = [
        (12, "red"),
        (40, "orange"),
        (68, "yellow"),
        (168, "green"),
        (255, "blue"),
        (300, "purple"),
        (345, "pink"),
    ]
    low = 0.0
    for high, colour in bounds:
        name[(hue >= low) & (hue < high)] = INDEX[colour]
        low = high
    name[hue >= 345] = INDEX["red"]
    warm = (hue < 48) & (hue >= 10)
    # A strong orange stays one in half shadow; a weak one is brown there.
    name[warm & (hue < 42) & (val < np.where(sat > 0.82, 0.52, 0.66))] = INDEX["brown"]
    name[warm & (sat < 0.55) & (val < 0.82)] = INDEX["brown"]
    reddish = (hue >= 345) | (hue < 12)
    name[reddish & (sat < 0.55) & (val > 0.7)] = INDEX["pink"]
    name[(hue >= 335) & (hue < 352) & (sat < 0.72) & (val > 0.75)] = INDEX["pink"]
    name[(hue >= 290) & (val < 0.5)] = INDEX["purple"]
    name[(hue >= 340) & (val < 0.5)] = INDEX["red"]
    pale = sat < 0.13 + 0.12 * np.clip(0.5 - val, 0, 1)
    name[pale & (val >= 0.72)] = INDEX["white"]
    name[pale & (val < 0.72)] = INDEX["grey"]
    name[(val < 0.2) | ((val < 0.27) & (sat < 0.35))] = INDEX["black"]
    return name


@lru_cache(maxsize=1)
def _tables() -> np.ndarray:
    """uint8 [6, 32*32*32]: the colour index of each coarse RGB, as it is and under five small changes of
    light."""
    steps = (np.arange(32, dtype=np.float32) + 0.5) / 32
    rgb = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(1, -1, 3)
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[0]
    hue, sat, val = hsv[:, 0], hsv[:, 1], hsv[:, 2]
    changes = ((0, 1, 1), (10, 1, 1), (-10, 1, 1), (0, 1, 0.78), (0, 1, 1.2), (0, 0.65, 1))
    return np.stack(
        [
            _membership((hue + dh) % 360, np.clip(sat * ds, 0, 1), np.clip(val * dv, 0, 1))
            for dh, ds, dv in changes
        ]
    )


def _codes(rgb: np.ndarray) -> np.ndarray:
    small = rgb.reshape(-1, 3).astype(np.int32) >> 3
    return (small[:, 0] << 10) | (small[:, 1] << 5) | small[:, 2]


def name_colours(rgb: np.ndarray, alpha: np.ndarray | None = None) -> ColourNames:
    """Colour words of a picture. rgb uint8 [h,w,3]; alpha uint8 [h,w] (pixels under 128 do not count)."""
    if rgb.shape[0] * rgb.shape[1] > 2048:
        step = max(1, int(np.sqrt(rgb.shape[0] * rgb.shape[1] / 2048) + 0.5))
        rgb = rgb[::step, ::step]
        alpha = None if alpha is None else alpha[::step, ::step]
    pixels = rgb.reshape(-1, 3) if alpha is None else rgb[alpha >= 128]
    if len(pixels) == 0:
        return ColourNames(frozenset(), frozenset(COLOURS))
    tables = _tables()
    count = len(COLOURS)
    found = tables[:, _codes(pixels)] + (np.arange(len(tables), dtype=np.uint8) * count)[:, None]
    shares = np.bincount(found.ravel(), minlength=count * len(tables)).reshape(-1, count) / len(pixels)
    share, loose = shares[0], shares.max(0)
    order = np.argsort(-share)
    main = set()
    if share[order[0]] >= 0.4 and share[order[0]] >= 1.35 * share[order[1]]:
        main.add(COLOURS[order[0]])
    possible = {COLOURS[i] for i in np.flatnonzero(loose >= 0.14)} | main
    return ColourNames(frozenset(main), frozenset(possible))


def any_colour(rng: np.random.Generator) -> str:
    """One of the colour words, all equally likely."""
    return COLOURS[int(rng.integers(len(COLOURS)))]


def paint_colour(rng: np.random.Generator, name: str) -> np.ndarray:
    """A random RGB (float32 [3], 0..255) that deserves the colour word `name`."""
    (h0, h1), (s0, s1), (v0, v1) = _PAINT[name]
    a, b, c = rng.random(3)
    rgb = colorsys.hsv_to_rgb(((h0 + (h1 - h0) * a) % 360) / 360, s0 + (s1 - s0) * b, v0 + (v1 - v0) * c)
    return np.float32(rgb) * np.float32(255)


def recolour(rgb: np.ndarray, alpha: np.ndarray, target: np.ndarray, strength: float = 0.9) -> np.ndarray:
    """Paint a picture in the colour `target` (RGB 0..255), keeping its light and dark.

    rgb uint8 [h,w,3], alpha uint8 [h,w]; strength 0..1 is how much of the old hue goes. Returns uint8
    [h,w,3].
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside = alpha >= 128
    mean, spread = (float(grey[inside].mean()), float(grey[inside].std())) if inside.any() else (128.0, 30.0)
    # Contrast is limited so that a black-and-white zebra painted yellow stays mostly yellow, yet shows its
    # stripes.
    relative = (grey - mean) / max(spread, 20.0)
    value = float(target.max())
    gain = 1 + np.clip(relative, -2, 2) * (0.2 if value > 60 else 0.5)
    painted = target[None, None] * gain[..., None]
    painted += np.clip(painted.max(-1, keepdims=True) - 255, 0, 80)
    mixed = painted * strength + rgb.astype(np.float32) * (1 - strength)
    return np.clip(mixed, 0, 255).astype(np.uint8)
