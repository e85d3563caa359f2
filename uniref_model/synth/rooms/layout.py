"""Furnish a room, or lay a table: which models, where they stand, the walls about them, the light, and how
the camera goes by. Rendered by `room_render`; lengths in metres, y up, things stand about the origin.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import FRAMES
from ..backgrounds import hang, material
from ..packs.furniture_list import furniture_noun
from ..things import turntable
from .render import Body, Eye, Part, Sun

FLOOR, TABLE = "floor", "table"
_MAX_BYTES = 1_300_000
_TEXTURE = 256
_CEILING = 2.7
_TABLE_HEIGHT = 0.74
_TABLE_THICK = 0.04
_MIXED = 2.8  # sizes further apart than this would leave the small things a few pixels
# Hung up, spread out or held, or on a chair that is not there: standing by themselves they would be a lie.
_NEVER = {
    "broom",
    "dress",
    "fountain",
    "glove",
    "guitar",
    "jacket",
    "ring",
    "skirt",
    "towel",
    "trousers",
    "watch",
}
_NOT_ON_TABLE = {"armchair", "chair", "nightstand", "stool", "trash can"}
_NOT_ON_FLOOR = {"bowl", "bread", "fruit bowl", "laptop", "pan", "roast chicken", "saw", "tray"}


@dataclass(frozen=True)
class Entry:
    """A model that may stand in a room: key for the held-out tenth, noun, (width, height, depth) in metres,
    and where it is read from."""

    key: str
    noun: str
    size: tuple[float, float, float]
    archive: zipfile.ZipFile
    model: dict[str, str]

    @property
    def radius(self) -> float:
        """Of a circle on the ground that nearly holds it (corners may stick out)."""
        return 0.46 * float(np.hypot(self.size[0], self.size[2]))

    def parts(self) -> list[Part]:
        """Its triangles in metres, middle of the foot at the origin. Raises what `load_model` does."""
        model = turntable.load_model(self.archive, self.model)
        seen = [(look, rows) for look, rows in model.parts if look.opacity >= 0.15]
        if not seen:
            raise ValueError(f"{self.key} has nothing to be seen")
        points = np.concatenate([rows[:, :3] for _, rows in seen])
        low, high = points.min(0), points.max(0)
        foot = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
        parts = []
        for look, rows in seen:
            # The catalogue's box may hold points that no triangle has: standing by it, things would hover.
            place = (rows[:, :3] - foot) * np.linalg.norm(self.size)
            picture = turntable.read_texture(self.archive, look.texture, _TEXTURE)
            parts.append(Part(look.colour, np.hstack([place, rows[:, 3:]]).astype(np.float32), picture))
        return parts


def entries(archive: zipfile.ZipFile, name: str) -> dict[str, list[Entry]]:
    """What a catalogue called `name` has to stand on a FLOOR and on a TABLE."""
    found: dict[str, list[Entry]] = {FLOOR: [], TABLE: []}
    for model in turntable.catalogue(archive):
        noun = furniture_noun(model.get("name", ""))
        if noun is None or not turntable.usable(archive, model):
            continue
        if archive.getinfo(model["model"].lstrip("/")).file_size > _MAX_BYTES:
            continue
        size = tuple(float(model[side]) / 100 for side in ("width", "height", "depth"))
        entry = Entry(f"furniture/{name}{model['model']}", noun, size, archive, model)
        for where in _where(entry):
            found[where].append(entry)
    return found


def _where(entry: Entry) -> list[str]:
    """On what it may stand: FLOOR, TABLE, both or neither."""
    hung = float(entry.model.get("elevation", 0)) > 0
    if hung or entry.noun in _NEVER or "sitting" in entry.model["name"].lower():
        return []
    _, middle, longest = sorted(entry.size)
    fits = []
    if 0.07 <= longest <= 0.46 and middle >= 0.045 and entry.noun not in _NOT_ON_TABLE:
        fits.append(TABLE)
    on_floor = 0.3 <= longest <= 2.35 and entry.size[1] >= 0.13 and entry.radius < 1.2
    if on_floor and entry.noun not in _NOT_ON_FLOOR:
        fits.append(FLOOR)
    return fits


@dataclass(frozen=True)
class Stand:
    """An entry and where its foot is in each of the frames: (x, y, z), and its yaw."""

    entry: Entry
    feet: tuple[tuple[float, float, float], ...]
    yaw: float

    def place(self, t: int) -> np.ndarray:
        """Its own metres -> the room's in frame t, float64 [4,4]."""
        cosine, sine = np.cos(self.yaw), np.sin(self.yaw)
        place = np.eye(4)
        place[0, ::2] = cosine, sine
        place[2, ::2] = -sine, cosine
        place[:3, 3] = self.feet[t]
        return place


@dataclass(frozen=True)
class Layout:
    """Everything to render: things that stand about, walls and the like (number 0; a table has number one
    more than there are things), one eye a frame, and the light."""

    stands: list[Stand]
    around: list[Body]
    eyes: list[Eye]
    sun: Sun
    table: bool


def choose(rng: np.random.Generator, among: Sequence[Entry], count: int) -> list[Entry]:
    """`count` models of like size; nouns equally likely, some of them twice, few of them very big."""
    nouns = sorted({entry.noun for entry in among})
    chosen: list[Entry] = []
    while len(chosen) < count:
        again = chosen and rng.random() < 0.2
        noun = chosen[int(rng.integers(len(chosen)))].noun if again else nouns[int(rng.integers(len(nouns)))]
        same = [entry for entry in among if entry.noun == noun]
        entry = same[int(rng.integers(len(same)))]
        longest = max(entry.size)
        alike = not chosen or 1 / _MIXED < longest / max(chosen[0].size) < _MIXED
        if alike and (longest <= 1.4 or sum(max(e.size) > 1.4 for e in chosen) < 2):
            chosen.append(entry)
    return chosen


def lay_out(
    rng: np.random.Generator, chosen: Sequence[Entry], table: bool, photos: Sequence[np.ndarray]
) -> Layout:
    """Place the chosen models on the floor or a table, choose surfaces, light and the camera's way.
    photos: RGB uint8 [h,w,3], may hang on the walls."""
    height = _TABLE_HEIGHT + float(rng.uniform(-0.04, 0.04)) if table else 0.0
    spots = spread(rng, [entry.radius for entry in chosen], 0.015 if table else 0.04)
    stands = []
    for entry, (x, z) in zip(chosen, spots, strict=True):
        yaw = float(rng.uniform(-0.6, 0.6) if rng.random() < 0.6 else rng.uniform(-np.pi, np.pi))
        stands.append(Stand(entry, ((float(x), height, float(z)),) * FRAMES, yaw))
    if rng.random() < 0.4:
        _slide(rng, stands)
    radii = [stand.entry.radius for stand in stands]
    reach = max(np.hypot(f[0], f[2]) + r for s, r in zip(stands, radii, strict=True) for f in s.feet)
    ends = np.array([stand.feet[-1] for stand in stands])[:, ::2]
    half = np.max(np.abs(ends) + np.array(radii)[:, None], 0)
    tall = max(entry.size[1] for entry in chosen)
    eyes = _eyes(rng, half, tall, height, table)
    around = _walls(rng, reach, eyes, table, photos)
    if table:
        around.append(_table(rng, stands, height, len(chosen) + 1))
    return Layout(stands, around, eyes, _sun(rng, reach + 1.3 * tall + height), table)


def spread(rng: np.random.Generator, radii: Sequence[float], gap: float) -> np.ndarray:
    """Centres [n,2] of circles that do not overlap, as near to the origin as chance has it; further apart
    along the first axis than along the second."""
    centres: list[np.ndarray] = []
    for number, radius in enumerate(radii):
        wide = 0.4 * radius
        while True:
            spot = rng.normal(0, wide, 2)
            apart = [np.hypot(*(spot - c)) - radius - r for c, r in zip(centres, radii, strict=False)]
            if number == 0 or min(apart) > gap:
                break
            wide *= 1.02
        centres.append(spot)
    spots = np.array(centres) - np.mean(centres, 0)
    return spots @ np.linalg.svd(spots)[2].T


def _slide(rng: np.random.Generator, stands: list[Stand]) -> None:
    """One of the things comes from elsewhere, where nothing stood in its way."""
    which = int(rng.integers(len(stands)))
    moved = stands[which]
    others = [stand for stand in stands if stand is not moved]
    end = np.array(moved.feet[-1])
    for _ in range(20):
        angle = rng.uniform(0, 2 * np.pi)
        way = np.array([np.cos(angle), 0, np.sin(angle)]) * moved.entry.radius * rng.uniform(0.4, 2.0)
        recent = rng.uniform(0.0, 0.12)
        feet = tuple(tuple(float(v) for v in end + share * way) for share in (1.0, recent, 0.0))
        if all(_clear(moved.entry, foot, other) for foot in feet for other in others):
            stands[which] = replace(moved, feet=feet)
            return


def _clear(entry: Entry, foot: tuple[float, float, float], other: Stand) -> bool:
    there = other.feet[-1]
    apart = np.hypot(foot[0] - there[0], foot[2] - there[2])
    return apart > entry.radius + other.entry.radius


def _eyes(rng: np.random.Generator, half: np.ndarray, tall: float, height: float, table: bool) -> list[Eye]:
    """First, previous and current camera, going sideways, nearer and about. half [2]: how far things reach
    to either side, and to the front and back."""
    focal = float(rng.uniform(0.75, 1.1))
    reach = float(half.max())
    away = max(
        2 * focal * max(half[0], tall) * float(rng.uniform(0.75, 1.25)),
        half[1] + (0.15 if table else 0.5),
    )
    if table:
        rise = float(rng.uniform(np.radians(14), np.radians(48)))
        above, flat = height + away * np.sin(rise), away * np.cos(rise)
    else:
        above, flat = min(float(rng.uniform(0.5, 1.75)), 0.9 * away), away
    azimuth = rng.uniform(-0.6, 0.6)
    end = np.array([np.sin(azimuth) * flat, above, np.cos(azimuth) * flat])
    aim = np.array([0, height + 0.35 * tall, 0]) + rng.normal(0, 0.1, 3) * reach * (1, 0.5, 1)
    turn = azimuth + (np.pi / 2 if rng.random() < 0.5 else -np.pi / 2) + rng.normal(0, 0.5)
    way = np.array([np.sin(turn), rng.normal(0, 0.12), np.cos(turn)]) * away
    far = float(rng.uniform(0.06, 0.5))
    roll = rng.normal(0, 0.03)
    eyes = []
    for share, loose in ((far, 1.0), (float(rng.uniform(0.0, 0.04)), 0.12), (0.0, 0.0)):
        position = end + share * way
        position[1] = np.clip(position[1], height + 0.15 * away, _CEILING - 0.3)
        target = aim + rng.normal(0, 0.12, 3) * loose * reach
        eyes.append(Eye(position, target, float(roll + rng.normal(0, 0.03) * loose), focal))
    return eyes


# -- surfaces
# -----------------------------------------------------------------------------------------------


def _walls(
    rng: np.random.Generator, reach: float, eyes: Sequence[Eye], table: bool, photos: Sequence[np.ndarray]
) -> list[Body]:
    """Floor, ceiling and four walls that hold the things and the cameras."""
    held = np.array([eye.position for eye in eyes])
    spare = (0.6, 2.2) if table else (0.1, 1.4)
    left, right, back = (
        -(reach + rng.uniform(*spare)),
        reach + rng.uniform(*spare),
        -(reach + rng.uniform(*spare)),
    )
    left, right = min(left, held[:, 0].min() - 0.4), max(right, held[:, 0].max() + 0.4)
    back, front = min(back, held[:, 2].min() - 0.4), max(reach, held[:, 2].max()) + 0.8
    corners = [(left, back), (right, back), (right, front), (left, front)]
    paint = material(rng, 300, 480)
    bodies = [
        _quad((left, 0, front), (right, 0, front), (left, 0, back), material(rng, 720, 720)),
        _quad((left, _CEILING, back), (right, _CEILING, back), (left, _CEILING, front), _ceiling(rng)),
    ]
    for (x0, z0), (x1, z1) in zip(corners, corners[1:] + corners[:1], strict=True):
        wall = paint.copy() if rng.random() < 0.7 else material(rng, 300, 480)
        for _ in range(int(rng.integers(0, 3))):
            hang(rng, wall, 250, photos)
        bodies.append(_quad((x0, 0, z0), (x1, 0, z1), (x0, _CEILING, z0), _skirted(rng, wall)))
    return bodies


def _ceiling(rng: np.random.Generator) -> np.ndarray:
    return np.clip(rng.normal(228, 3, (64, 64, 3)), 0, 255).astype(np.uint8)


def _skirted(rng: np.random.Generator, wall: np.ndarray) -> np.ndarray:
    """With a skirting board, mostly; in place."""
    if rng.random() < 0.6:
        wall[-int(rng.integers(4, 12)) :] = rng.integers(40, 245) + rng.integers(-12, 12, 3)
    return wall


def _quad(
    origin: Sequence[float], right: Sequence[float], up: Sequence[float], image: np.ndarray, number: int = 0
) -> Body:
    """A picture RGB uint8 [h,w,3] on the parallelogram with these three corners: lower left, lower right,
    upper left."""
    return Body(
        [_face(*(np.array(p, np.float64) for p in (origin, right, up)), image)], np.eye(4), number, False
    )


def _face(origin: np.ndarray, right: np.ndarray, up: np.ndarray, image: np.ndarray) -> Part:
    corners = np.stack((origin, right, right + up - origin, up))
    normal = np.cross(right - origin, up - origin)
    rows = np.hstack([corners, np.tile(normal, (4, 1)), [[0, 0], [1, 0], [1, 1], [0, 1]]])
    opaque = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    return Part((1.0, 1.0, 1.0), rows[[0, 1, 2, 0, 2, 3]].astype(np.float32), opaque[::-1].copy())


def _block(low: np.ndarray, high: np.ndarray, image: np.ndarray) -> list[Part]:
    """The six sides of a box between two corners."""
    parts = []
    for axis in range(3):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        for end in (low, high):
            origin, right, up = low.copy(), low.copy(), low.copy()
            origin[axis] = right[axis] = up[axis] = end[axis]
            right[a], up[b] = high[a], high[b]
            parts.append(_face(origin, right, up, image))
    return parts


def _table(rng: np.random.Generator, stands: Sequence[Stand], height: float, number: int) -> Body:
    """A table under all of the things in all frames: a slab on four legs."""
    spots = np.array([(f[0], f[2]) for s in stands for f in s.feet])
    radii = np.array([s.entry.radius for s in stands for _ in s.feet])[:, None]
    low = (spots - radii).min(0) - rng.uniform(0.03, 0.35, 2)
    high = (spots + radii).max(0) + rng.uniform(0.03, 0.35, 2)
    top = material(rng, 420, 560)
    ends = np.array([low[0], height - _TABLE_THICK, low[1]]), np.array([high[0], height, high[1]])
    parts = _block(*ends, top)
    leg = material(rng, 32, 32)
    for x in (low[0] + 0.03, high[0] - 0.08):
        for z in (low[1] + 0.03, high[1] - 0.08):
            foot = np.array([x, 0.0, z])
            parts += _block(foot, foot + np.array([0.05, height - _TABLE_THICK, 0.05]), leg)
    return Body(parts, np.eye(4), number)


def _sun(rng: np.random.Generator, reach: float) -> Sun:
    """One lamp or window somewhere above, and what the room gives back."""
    angle = rng.uniform(0, 2 * np.pi)
    high = rng.uniform(0.8, 2.2)
    towards = np.array([np.cos(angle), high, np.sin(angle)])
    sky = rng.uniform(0.42, 0.7)
    tint = 1 + rng.normal(0, 0.04, 3)
    strength = rng.uniform(1.05, 1.25) - sky
    soft = reach * float(np.exp(rng.uniform(np.log(0.004), np.log(0.03))))
    shine, fall = float(rng.uniform(0, 0.2)), float(rng.uniform(0, 0.02))
    return Sun(
        towards / np.linalg.norm(towards), strength * tint, sky / tint, soft, shine, float(reach), fall
    )
