"""Objects made from nothing: boxes, books, bottles, cans, cups, mugs, bowls, jars, balls, in any colour and
with any print.

They are the largest share of the training set, because they are the only ones with a true change of view in
any colour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import cv2
import numpy as np

from .colours import any_colour, paint_colour
from .shapes import Ball, Cuboid, Revolution, Shape

_LETTERS = "ABCDEFGHIKLMNOPRSTUVWXYZ"
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
)
Picture = Callable[[], np.ndarray]


def _rgb(colour: np.ndarray) -> tuple[float, float, float]:
    return tuple(min(max(float(c), 0.0), 255.0) for c in colour)


@lru_cache(maxsize=1)
def _grain_bank() -> np.ndarray:
    """Grain to cut pieces from, float32 [500,500], standard deviation about 1."""
    fine = np.random.default_rng(7).standard_normal((167, 167), np.float32)
    return cv2.resize(fine, (500, 500), interpolation=cv2.INTER_LINEAR)


def plain(rng: np.random.Generator, height: int, width: int, colour: np.ndarray) -> np.ndarray:
    """A nearly plain surface: a gradient and some grain. Returns uint8 [height,width,3]."""
    bank = _grain_bank()
    y0, x0 = rng.integers(0, 200, 2)
    tall, wide = np.arange(height) % 300 + y0, np.arange(width) % 300 + x0
    grain = (
        bank[tall[0] : tall[0] + height, x0 : x0 + width]
        if height <= 300 and width <= 300
        else bank[tall[:, None], wide]
    )
    strength, slope = rng.random(2) * (7, 18)
    shade = grain * np.float32(strength)
    shade += np.linspace(-slope, slope, height, dtype=np.float32)[:, None] * np.float32(rng.uniform(-1, 1))
    shade += np.linspace(-slope, slope, width, dtype=np.float32)[None] * np.float32(rng.uniform(-1, 1))
    return cv2.merge([cv2.add(shade, float(c), dtype=cv2.CV_8U) for c in colour])


def _word(rng: np.random.Generator, low: int = 2, high: int = 8) -> str:
    word = "".join(_LETTERS[i] for i in rng.integers(0, len(_LETTERS), int(rng.integers(low, high))))
    return word if rng.random() < 0.5 else word.capitalize()


def _contrast(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    for _ in range(4):
        colour = paint_colour(rng, any_colour(rng))
        if abs(sum(colour.tolist()) - sum(base.tolist())) > 180:
            return colour
    return np.float32([245, 245, 245]) if sum(base.tolist()) < 384 else np.float32([20, 20, 20])


def print_on(
    rng: np.random.Generator, face: np.ndarray, base: np.ndarray, picture: Picture | None, amount: int
) -> None:
    """Print `amount` things (words, stripes, emblems, small print, pictures, bar codes) on a face, in
    place."""
    h, w = face.shape[:2]
    for _ in range(amount):
        kind = rng.integers(0, 8)
        ink = _rgb(_contrast(rng, base))
        if kind <= 2:
            scale = rng.uniform(0.02, 0.055) * w / 5
            at = (int(rng.uniform(0, 0.4) * w), int(rng.uniform(0.2, 0.95) * h))
            cv2.putText(
                face,
                _word(rng),
                at,
                _FONTS[int(rng.integers(len(_FONTS)))],
                scale,
                ink,
                max(1, int(scale * rng.uniform(1, 3))),
                cv2.LINE_AA,
            )
        elif kind == 3:
            if rng.random() < 0.5:
                y = int(rng.uniform(0, 1) * h)
                cv2.rectangle(face, (0, y), (w, y + int(rng.uniform(0.04, 0.2) * h)), ink, -1)
            else:
                x = int(rng.uniform(0, 1) * w)
                cv2.rectangle(face, (x, 0), (x + int(rng.uniform(0.04, 0.2) * w), h), ink, -1)
        elif kind == 4:
            centre = (int(rng.uniform(0.2, 0.8) * w), int(rng.uniform(0.2, 0.8) * h))
            axes = (int(rng.uniform(0.05, 0.22) * w), int(rng.uniform(0.05, 0.22) * h))
            cv2.ellipse(face, centre, axes, float(rng.uniform(0, 90)), 0, 360, ink, -1, cv2.LINE_AA)
        elif kind == 5:
            x0, y0 = rng.uniform(0.05, 0.5) * w, rng.uniform(0.3, 0.8) * h
            for line in range(int(rng.integers(2, 6))):
                y = int(y0 + line * max(3, 0.05 * h))
                cv2.line(
                    face,
                    (int(x0), y),
                    (int(x0 + rng.uniform(0.2, 0.45) * w), y),
                    ink,
                    max(1, int(0.012 * h)),
                    cv2.LINE_AA,
                )
        elif kind == 6 and picture is not None:
            ph, pw = int(rng.uniform(0.25, 0.6) * h), int(rng.uniform(0.25, 0.6) * w)
            y, x = int(rng.uniform(0, h - ph)), int(rng.uniform(0, w - pw))
            face[y : y + ph, x : x + pw] = cv2.resize(picture(), (pw, ph), interpolation=cv2.INTER_AREA)
        else:
            x, y = int(rng.uniform(0.05, 0.6) * w), int(rng.uniform(0.05, 0.7) * h)
            cv2.rectangle(face, (x, y), (x + int(0.3 * w), y + int(0.18 * h)), (245, 245, 245), -1)
            bars = np.cumsum(rng.integers(2, 5, 14)) * w // 180
            for bar in bars[::2]:
                cv2.line(
                    face,
                    (x + 2 + int(bar), y + 2),
                    (x + 2 + int(bar), y + int(0.14 * h)),
                    (15, 15, 15),
                    max(1, w // 100),
                )


def _pattern(rng: np.random.Generator, face: np.ndarray, base: np.ndarray) -> None:
    """An all-over print: stripes, dots, checks, in a shade of the same colour or a sparse contrast."""
    h, w = face.shape[:2]
    ink = _rgb(base * rng.uniform(0.55, 0.85)) if rng.random() < 0.6 else _rgb(_contrast(rng, base))
    pitch = int(rng.uniform(0.08, 0.25) * min(h, w)) + 3
    kind = rng.integers(0, 4)
    if kind == 0:
        for y in range(0, h, pitch):
            cv2.line(face, (0, y), (w, y), ink, max(1, pitch // 5))
    elif kind == 1:
        for x in range(0, w, pitch):
            cv2.line(face, (x, 0), (x, h), ink, max(1, pitch // 5))
    elif kind == 2:
        for y in range(0, h, pitch):
            for x in range(0, w, pitch):
                cv2.circle(face, (x, y), max(1, pitch // 5), ink, -1, cv2.LINE_AA)
    else:
        for x in range(-h, w, pitch):
            cv2.line(face, (x, 0), (x + h, h), ink, max(1, pitch // 5), cv2.LINE_AA)


def surface(
    rng: np.random.Generator,
    height: int,
    width: int,
    base: np.ndarray,
    picture: Picture | None,
    busy: float = 0.7,
) -> np.ndarray:
    """A face of a product: base colour, perhaps a pattern, perhaps print. Returns uint8 [height,width,3]."""
    face = plain(rng, height, width, base)
    if rng.random() < 0.2 * busy / 0.7:
        _pattern(rng, face, base)
    if rng.random() < busy:
        print_on(rng, face, base, picture, int(rng.integers(1, 6)))
    return face


def _face_sizes(size: np.ndarray) -> list[tuple[int, int]]:
    w, h, d = (np.clip(size / size.max() * 150, 10, 150)).astype(int)
    return [(h, w), (h, w), (h, d), (h, d), (d, w), (d, w)]


def make_box(rng: np.random.Generator, base: np.ndarray, picture: Picture | None) -> tuple[str, Shape]:
    """A carton or a product box."""
    size = np.array([rng.uniform(0.35, 1), rng.uniform(0.35, 1), rng.uniform(0.15, 0.9)])
    size /= size.max()
    one_print = rng.random() < 0.4
    front = surface(rng, *_face_sizes(size)[0], base, picture)
    faces = []
    for index, (h, w) in enumerate(_face_sizes(size)):
        side_base = np.clip(base * rng.uniform(0.85, 1.08), 0, 255)
        if index == 0 or (index == 1 and one_print):
            faces.append(front)
        else:
            faces.append(surface(rng, h, w, side_base, picture, busy=0.45))
    if rng.random() < 0.15:  # packing tape across the top and down the sides
        tape = _rgb(np.clip(base * 0.8 + 30, 0, 255))
        for face in (faces[0], faces[1], faces[4]):
            cv2.line(
                face,
                (face.shape[1] // 2, 0),
                (face.shape[1] // 2, face.shape[0]),
                tape,
                max(2, face.shape[1] // 8),
            )
    return "box", Cuboid(tuple(size), faces)


def make_book(rng: np.random.Generator, base: np.ndarray, picture: Picture | None) -> tuple[str, Shape]:
    """A book: a cover, a spine, three sides of paper."""
    size = np.array([rng.uniform(0.6, 0.8), 1.0, rng.uniform(0.06, 0.2)])
    faces = []
    for index, (h, w) in enumerate(_face_sizes(size)):
        if index in (0, 1, 2):
            faces.append(surface(rng, h, w, base, picture, busy=0.9 if index == 0 else 0.5))
        else:
            paper = plain(rng, h, w, np.float32([225, 220, 205]))
            paper[:: max(2, h // 12)] = (190, 186, 170)
            faces.append(paper)
    return "book", Cuboid(tuple(size), faces)


def make_cube(rng: np.random.Generator, base: np.ndarray, picture: Picture | None) -> tuple[str, Shape]:
    """A toy block or a brick."""
    if rng.random() < 0.5:
        size, noun = np.array([1.0, 0.45, 0.5]), "brick"
    else:
        size, noun = np.array([0.75, 0.75, 0.75]), "cube"
    return noun, Cuboid(tuple(size), [surface(rng, h, w, base, None, busy=0.3) for h, w in _face_sizes(size)])


def _profile(points: Sequence[tuple[float, float]], width: float) -> np.ndarray:
    """Smooth (height, radius) control points from the top -0.5 to the bottom 0.5; radii are relative to
    `width`."""
    heights, radii = np.array(points, float).T
    dense = np.linspace(-0.5, 0.5, 48)
    smooth = np.interp(dense, heights, radii)
    smooth[1:-1] = (smooth[:-2] + smooth[1:-1] + smooth[2:]) / 3
    return np.stack([dense, smooth * width], 1)


def _wrap(rng: np.random.Generator, base: np.ndarray, picture: Picture | None, busy: float) -> np.ndarray:
    """The texture round a body of revolution: base colour and perhaps a label with print, twice round."""
    texture = plain(rng, 110, 240, base)
    if rng.random() < busy:
        label = base if rng.random() < 0.4 else _contrast(rng, base)
        top, bottom = int(rng.uniform(30, 62)), int(rng.uniform(70, 104))
        half = surface(rng, bottom - top, 120, label, picture, busy=0.9)
        texture[top:bottom] = np.concatenate([half, half], 1)
    elif rng.random() < 0.4:
        _pattern(rng, texture, base)
    texture[:, -2:] = texture[:, :2]
    return texture


def make_bottle(rng: np.random.Generator, base: np.ndarray, picture: Picture | None) -> tuple[str, Shape]:
    """A bottle with a cap, often with a label."""
    shoulder, neck = rng.uniform(-0.28, 0.0), rng.uniform(0.25, 0.45)
    cap = rng.uniform(-0.46, -0.36)
    profile = _profile(
        [
            (-0.5, neck),
            (cap, neck),
            (cap + 0.01, neck * 0.85),
            (shoulder - rng.uniform(0.06, 0.2), neck),
            (shoulder, 0.97),
            (shoulder + 0.08, 1),
            (0.44, 1),
            (0.5, 0.92),
        ],
        rng.uniform(0.12, 0.2),
    )
    texture = _wrap(rng, base, picture, 0.6)
    lid = base * 0.8 if rng.random() < 0.4 else paint_colour(rng, any_colour(rng))
    texture[: int((cap + 0.5) * 110) + 1] = np.clip(lid, 0, 255)
    return "bottle", Revolution(profile, texture, np.float32(lid), gloss=rng.uniform(0.1, 0.9))


def make_can(rng: np.random.Generator, base: np.ndarray, picture: Picture | None) -> tuple[str, Shape]:
    """A drink or food can: a label all round and metal ends."""
    profile = _profile(
        [(-0.5, 0.9), (-0.46, 0.93), (-0.42, 1), (0.44, 1), (0.5, 0.92)], rng.uniform(0.24, 0.42)
    )
    texture = np.concatenate([surface(rng, 110, 120, base, picture, busy=0.85)] * 2, 1)
    texture[:6], texture[-5:] = 185, 170
    return "can", Revolution(profile, texture, np.float32([190, 190, 195]), gloss=rng.uniform(0.2, 0.8))


def make_cup(rng: np.random.Generator, base: np.ndarray, picture: Picture | None) -> tuple[str, Shape]:
    """A cup without a handle, wider at the top."""
    profile = _profile([(-0.5, 1), (0.5, rng.uniform(0.6, 0.92))], rng.uniform(0.3, 0.46))
    inside = base * 0.6 if rng.random() < 0.5 else np.float32([225, 222, 215]) * rng.uniform(0.5, 1)
    return "cup", Revolution(
        profile,
        _wrap(rng, base, picture, 0.35),
        np.clip(base * 1.1, 0, 255),
        inside,
        gloss=rng.uniform(0, 0.5),
    )


def make_mug(rng: np.random.Generator, base: np.ndarray, picture: Picture | None) -> tuple[str, Shape]:
    """A mug with an ear; it may hold coffee."""
    profile = _profile([(-0.5, 1), (0.42, rng.uniform(0.9, 1)), (0.5, 0.9)], rng.uniform(0.36, 0.44))
    inside = np.float32([60, 35, 20]) if rng.random() < 0.4 else base * 0.65
    texture = _wrap(rng, base, picture, 0.3)
    return "mug", Revolution(
        profile,
        texture,
        np.clip(base * 1.1, 0, 255),
        inside,
        handle=np.float32(base),
        gloss=rng.uniform(0, 0.5),
    )


def make_jar(rng: np.random.Generator, base: np.ndarray, picture: Picture | None) -> tuple[str, Shape]:
    """A jar with a lid."""
    profile = _profile(
        [(-0.5, 0.82), (-0.36, 0.82), (-0.35, 0.76), (-0.26, 1), (0.44, 1), (0.5, 0.93)],
        rng.uniform(0.3, 0.42),
    )
    lid = paint_colour(rng, any_colour(rng)) if rng.random() < 0.6 else base
    texture = _wrap(rng, base, picture, 0.6)
    texture[:16] = np.clip(lid, 0, 255)
    return "jar", Revolution(profile, texture, np.float32(lid), gloss=rng.uniform(0.2, 0.8))


def make_vase(rng: np.random.Generator, base: np.ndarray, picture: Picture | None) -> tuple[str, Shape]:
    """A vase with a curved outline."""
    profile = _profile(
        [
            (-0.5, rng.uniform(0.4, 0.9)),
            (-0.3, rng.uniform(0.3, 0.6)),
            (rng.uniform(-0.05, 0.2), 1),
            (0.5, rng.uniform(0.4, 0.7)),
        ],
        rng.uniform(0.25, 0.42),
    )
    return "vase", Revolution(
        profile, _wrap(rng, base, None, 0.1), base * 0.9, base * 0.4, gloss=rng.uniform(0.1, 0.8)
    )


def make_ball(rng: np.random.Generator, base: np.ndarray, picture: Picture | None) -> tuple[str, Shape]:
    """A ball, plain or with segments and spots."""
    texture = plain(rng, 64, 128, base)
    if rng.random() < 0.5:
        ink = _rgb(_contrast(rng, base))
        for x in range(0, 128, int(rng.choice([16, 32, 42]))):
            cv2.line(texture, (x, 0), (x, 64), ink, int(rng.integers(1, 7)))
    if rng.random() < 0.3:
        for _ in range(8):
            cv2.circle(
                texture,
                (int(rng.integers(0, 128)), int(rng.integers(12, 52))),
                int(rng.integers(3, 8)),
                _rgb(_contrast(rng, base)),
                -1,
            )
    return "ball", Ball(texture, gloss=rng.uniform(0, 0.7))


MAKERS: tuple[tuple[Callable[..., tuple[str, Shape]], float], ...] = (
    (make_box, 0.30),
    (make_bottle, 0.15),
    (make_can, 0.09),
    (make_cup, 0.09),
    (make_mug, 0.09),
    (make_ball, 0.09),
    (make_book, 0.08),
    (make_jar, 0.04),
    (make_vase, 0.03),
    (make_cube, 0.04),
)
NOUNS = ("box", "bottle", "can", "cup", "mug", "ball", "book", "jar", "vase", "cube", "brick")


def make_object(
    rng: np.random.Generator,
    picture: Picture | None = None,
    noun: str | None = None,
    colour: str | None = None,
) -> tuple[str, Shape]:
    """A random object, or one with a given noun and base colour word. Returns (noun, shape)."""
    base = paint_colour(rng, colour or any_colour(rng))
    if noun is None:
        weights = np.array([weight for _, weight in MAKERS])
        maker = MAKERS[int(rng.choice(len(MAKERS), p=weights / weights.sum()))][0]
    else:
        maker = make_cube if noun in ("cube", "brick") else globals()[f"make_{noun}"]
    return maker(rng, base, picture)
