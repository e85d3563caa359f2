"""Clips of named things in motion, with a mask for each thing and phrases that are true of it.

A clip is three frames: first (the reference frame), previous and current. Between first and current lie a
random number of
seconds of motion, between previous and current a frame or two. All phrases are about the current frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from . import FRAMES
from .backgrounds import make_background
from .config import ClipConfig
from .expressions import Expression, Seen, absent_for, expressions_for
from .library import Library, Thing
from .motion import Pose, camera_path, plan_motion
from .packs.sprites import SpritePack
from .photometry import Camera, Canvas, Finish, Light, lay, shake
from .rooms.clips import Wanted, room_clip
from .scenes import scene_clip
from .things.colours import ColourNames, any_colour, name_colours, paint_colour
from .things.hands import draw_hand, draw_person, skin
from .things.names import name_object
from .things.shapes import Cutout, View

_CLUTTER = 16  # working numbers of unlabelled things start here
_NUMBERS = 32
_MOST = _NUMBERS - _CLUTTER - 1  # and one person
# Kinds that photographs in the background may well show: never claimed to be absent.
_BEHIND = {"flower", "plant", "tree", "person", "boat", "bird", "insect", "planet", "food", "hand"}


@dataclass(frozen=True)
class ObjectInfo:
    """One labelled object of a clip. Sequences have one entry a frame (first, previous, current).

    index: value in labels; area: visible pixels; visible: share of the object inside the frame and not
    covered, 0..1;
    size_rank: 1 for the biggest in the current frame.
    """

    index: int
    name: str
    names: tuple[str, ...]
    colours: tuple[str, ...]
    size_rank: int
    area: tuple[int, ...]
    visible: tuple[float, ...]
    held: bool
    source: str


@dataclass
class Clip:
    """images uint8 [3,H,W,3] RGB; labels uint8 [3,H,W] (0 background, i = objects[i - 1]); phrases for each
    object; `absent`
    phrases mean nothing in any frame."""

    images: np.ndarray
    labels: np.ndarray
    objects: list[ObjectInfo]
    expressions: list[list[Expression]]
    absent: list[str]


@dataclass(frozen=True)
class _Hand:
    """A hand that holds an object: picture, side the arm comes from (radians, 0 right, pi/2 below), size."""

    picture: np.ndarray
    side: float
    size: float
    in_front: bool


@dataclass
class _Actor:
    thing: Thing
    poses: list[Pose]
    number: int
    finish: Finish
    hands: tuple[_Hand, ...] = ()
    colours: dict[int, ColourNames] = field(default_factory=dict)
    full: list[int] = field(default_factory=list)


class ClipGenerator:
    """Makes clips. `clip(index)` depends on seed and index only, so any worker may make any clip.

    pack: sprites and backgrounds (SpritePack.empty() gives procedural objects in drawn rooms).
    """

    def __init__(self, pack: SpritePack, config: ClipConfig | None = None, seed: int = 0):
        self.config = config or ClipConfig()
        if self.config.objects[1] >= _CLUTTER or self.config.objects[1] + self.config.clutter[1] > _MOST:
            raise ValueError(
                f"objects {self.config.objects}, clutter {self.config.clutter}: at most {_MOST} things in all"
            )
        if self.config.scene_share + self.config.room_share > 1:
            raise ValueError(
                f"scene_share {self.config.scene_share} and room_share {self.config.room_share}: more than 1"
            )
        self.library = Library(pack, self.config.sources)
        self.seed = seed

    def clip(self, index: int) -> Clip:
        """Clip number `index`."""
        rng = np.random.default_rng((self.seed, index))
        config = self.config
        scenes = config.scene_share if self.library.has_scenes else 0.0
        rooms = config.room_share if self.library.has_rooms else 0.0
        if scenes + rooms > 0:  # no roll for nothing: clips stay what they were
            roll = rng.random()
            if roll < scenes:
                return self._scene(rng)
            if roll < scenes + rooms:
                return self._room(rng)
        aspect = float(rng.uniform(*config.aspect))
        gap = float(np.exp(rng.uniform(*np.log(config.gap))))
        step = float(rng.uniform(*config.step))
        actors = self._cast(rng, gap, step)
        path = camera_path(rng, gap, step)
        background = self._background(rng)
        ambient = background.mean((0, 1)) / max(float(background.mean()), 1.0)
        self._finish(rng, actors, ambient)
        camera = Camera.random(rng)
        light = Light.random(rng)
        images, labels = [], []
        for t in range(FRAMES):
            canvas = self._paint(rng, actors, t, path[t], background, aspect)
            light.fall_on(canvas.image, path[t])
            if rng.random() < config.shake_share:
                shake(rng, canvas.image)
            shot = camera.changed(rng, 0.15 if t == 0 else 0.02).shoot(rng, canvas.image)
            images.append(shot)
            labels.append(canvas.ids)
        return self._describe(rng, actors, np.stack(images), np.stack(labels), background)

    def _scene(self, rng: np.random.Generator) -> Clip:
        """A clip of a photograph with one thing in it."""
        config = self.config
        scene = self.library.scene(rng)
        size = (config.height, config.width)
        made = scene_clip(rng, scene, size, self._absent_nouns(), config.expressions, config.absent)
        area = tuple(int(label.sum()) for label in made.labels)
        names = scene.names
        thing = ObjectInfo(
            1, names.usual, tuple(sorted(names.own)), made.colours, 1, area, (1.0,) * FRAMES, False, "scene"
        )
        return Clip(made.images, made.labels, [thing], [made.expressions], made.absent)

    def _room(self, rng: np.random.Generator) -> Clip:
        """A clip of a rendered room with several things in it."""
        config = self.config
        room = self.library.room(rng)
        wanted = Wanted(
            (config.height, config.width),
            self._absent_nouns(),
            config.expressions,
            config.absent,
            config.least_pixels,
            config.least_spoken,
            config.shake_share,
        )
        made = room_clip(rng, room, wanted)
        rank = np.argsort(np.argsort(-made.area[:, -1])) + 1
        objects = [
            ObjectInfo(
                i + 1,
                names.usual,
                tuple(sorted(names.own)),
                made.colours[i],
                int(rank[i]),
                tuple(int(area) for area in made.area[i]),
                tuple(float(share) for share in made.visible[i]),
                False,
                "rooms",
            )
            for i, names in enumerate(room.names[: room.count])
        ]
        return Clip(made.images, made.labels, objects, made.expressions, made.absent)

    def _absent_nouns(self) -> list[str]:
        return [noun for noun in self.library.nouns if not name_object(noun).own & _BEHIND]

    # -- who is in it
    # -------------------------------------------------------------------------------------------

    def _cast(self, rng: np.random.Generator, gap: float, step: float) -> list[_Actor]:
        config = self.config
        count = (
            1 + int(rng.binomial(config.objects[1] - 1, 0.4))
            if config.objects[0] <= 1
            else int(rng.integers(config.objects[0], config.objects[1] + 1))
        )
        clutter = int(rng.integers(config.clutter[0], config.clutter[1] + 1))
        things: list[Thing] = []
        for i in range(count + clutter):
            if 0 < i < count and rng.random() < config.twin_share:
                things.append(self._twin(rng, things[int(rng.integers(i))]))
            else:
                things.append(self.library.thing(rng))
        poses = plan_motion(rng, [t.upright for t in things], count, gap, step, config)
        actors = []
        for i, thing in enumerate(things):
            number = i + 1 if i < count else _CLUTTER + i - count
            actors.append(_Actor(thing, poses[i], number, Finish()))
        if rng.random() < config.held_share:
            held = actors[int(rng.integers(count))]
            tone, shirt = skin(rng), paint_colour(rng, any_colour(rng))
            held.hands = _hands(rng, tone, None if rng.random() < 0.4 else shirt)
            if rng.random() < config.person_share:
                actors.append(_holder(rng, held, draw_person(rng, tone, shirt), _CLUTTER + clutter))
        return actors

    def _twin(self, rng: np.random.Generator, other: Thing) -> Thing:
        """Something easily taken for `other`: the same kind in another colour, or another kind in the same
        colour."""
        if rng.random() < 0.55 and other.names.usual in self.library.nouns:
            return self.library.thing(rng, noun=other.names.usual, colour=any_colour(rng))
        view = other.shape.view(0.3, 0.2, 32)
        main = sorted(name_colours(view.rgba[..., :3], view.rgba[..., 3]).main)
        return self.library.thing(rng, colour=main[0] if main else None)

    def _background(self, rng: np.random.Generator) -> np.ndarray:
        photo = self.library.photo(rng)
        other = self.library.photo(rng)
        photos = [p for p in (photo, other) if p is not None]
        return make_background(rng, int(self.config.height * 1.35), int(self.config.width * 1.35), photos)

    def _finish(self, rng: np.random.Generator, actors: Sequence[_Actor], ambient: np.ndarray) -> None:
        tint = 1 + rng.uniform(0, 0.35) * (np.clip(ambient, 0.6, 1.5) - 1)
        soft = rng.uniform(0.35, 0.8)
        for actor in actors:
            gain = rng.uniform(0.8, 1.12) * tint
            blur = soft + (rng.uniform(0, 1.0) if rng.random() < 0.25 else 0)
            shadow = float(rng.uniform(0.15, 0.65)) if rng.random() < 0.6 else 0.0
            actor.finish = Finish(tuple(float(g) for g in gain), float(blur), (0.0, 0.0), shadow)

    # -- painting
    # -----------------------------------------------------------------------------------------------

    def _paint(
        self,
        rng: np.random.Generator,
        actors: Sequence[_Actor],
        t: int,
        view: np.ndarray,
        background: np.ndarray,
        aspect: float,
    ) -> Canvas:
        height, width = self.config.height, self.config.width
        image = _shift_background(background, view, height, width)
        canvas = Canvas(image, np.zeros((height, width), np.uint8))
        for actor in sorted(actors, key=lambda a: a.poses[t].depth):
            self._paint_actor(rng, canvas, actor, t, view, aspect)
        return canvas

    def _paint_actor(
        self, rng: np.random.Generator, canvas: Canvas, actor: _Actor, t: int, view: np.ndarray, aspect: float
    ) -> None:
        height, width = self.config.height, self.config.width
        pose = actor.poses[t]
        scale = pose.size * height
        look = actor.thing.shape.view(pose.yaw, pose.pitch, int(scale * max(1.0, aspect)))
        if t != 1:  # a frame or two make no difference
            actor.colours[t] = name_colours(look.rgba[..., :3], look.rgba[..., 3])
        to_frame = _placement(pose, view, height, width, aspect)
        speed = (actor.poses[2].x - actor.poses[1].x) * width, (actor.poses[2].y - actor.poses[1].y) * height
        shutter = rng.uniform(0, 0.6)
        motion = (float(np.clip(speed[0] * shutter, -9, 9)), float(np.clip(speed[1] * shutter, -9, 9)))
        finish = Finish(actor.finish.gain, actor.finish.blur, motion, actor.finish.shadow)
        for hand in (h for h in actor.hands if not h.in_front):
            _paint_hand(canvas, hand, to_frame, finish)
        actor.full.append(lay(canvas, look, to_frame, actor.number, finish))
        for hand in (h for h in actor.hands if h.in_front):
            _paint_hand(canvas, hand, to_frame, finish)

    # -- words
    # --------------------------------------------------------------------------------------------------

    def _describe(
        self,
        rng: np.random.Generator,
        actors: Sequence[_Actor],
        images: np.ndarray,
        labels: np.ndarray,
        background: np.ndarray,
    ) -> Clip:
        config = self.config
        frames: list[list[Seen]] = []
        for t in range(FRAMES):
            frames.append(_look_over(actors, labels[t], t, config.least_pixels))
        count = sum(actor.number < _CLUTTER for actor in actors)
        labels[labels > count] = 0
        areas = np.array([[frames[t][i].area for t in range(FRAMES)] for i in range(count)])
        rank = np.argsort(np.argsort(-areas[:, -1])) + 1
        objects, phrases = [], []
        for i in range(count):
            actor = actors[i]
            raw = tuple(int((labels[t] == i + 1).sum()) for t in range(FRAMES))
            visible = tuple(min(1.0, raw[t] / actor.full[t]) if actor.full[t] else 0.0 for t in range(FRAMES))
            objects.append(
                ObjectInfo(
                    i + 1,
                    actor.thing.names.usual,
                    tuple(sorted(actor.thing.names.own)),
                    tuple(sorted(actor.colours[2].main)),
                    int(rank[i]),
                    raw,
                    visible,
                    bool(actor.hands),
                    actor.thing.source,
                )
            )
            enough = raw[-1] > config.least_spoken * labels[-1].size and visible[-1] > 0.25
            phrases.append(expressions_for(rng, frames, i, config.expressions) if enough else [])
        nouns = self._absent_nouns()
        seen_behind = name_colours(background).possible
        absent = absent_for(rng, frames, nouns, seen_behind, config.absent)
        return Clip(images, labels, objects, phrases, absent)


def _hands(rng: np.random.Generator, tone: np.ndarray, sleeve: np.ndarray | None) -> tuple[_Hand, ...]:
    """One hand from a side or from below, or two from opposite sides."""
    side = float(rng.uniform(-0.3, np.pi + 0.3))
    size, front = float(rng.uniform(0.45, 0.85)), bool(rng.random() < 0.75)
    first = _Hand(draw_hand(rng, tone, sleeve), side, size, front)
    if rng.random() < 0.6:
        return (first,)
    return (first, _Hand(draw_hand(rng, tone, sleeve), side + np.pi + float(rng.normal(0, 0.3)), size, front))


def _holder(rng: np.random.Generator, held: _Actor, picture: np.ndarray, number: int) -> _Actor:
    """Somebody behind the held object, who comes and goes with it."""
    size = float(rng.uniform(0.8, 1.7))
    sideways, lower = rng.uniform(-0.15, 0.15), rng.uniform(-0.15, 0.2)
    poses = [Pose(p.x + sideways, p.y + lower, size, 0.0, 0.0, 0.0, 0.0) for p in held.poses]
    person = Thing(Cutout(picture, upright=True), name_object("person"), "procedural")
    return _Actor(person, poses, number, Finish())


def _paint_hand(canvas: Canvas, hand: _Hand, to_frame: np.ndarray, finish: Finish) -> None:
    """Lay the hand against the object's side; it turns and grows with the object."""
    h = hand.picture.shape[0]
    unit = hand.size / h
    cosine, sine = np.cos(hand.side), np.sin(hand.side)
    grip = 0.12  # the finger tips (1.55 h, h / 2) go this far from the object's centre, on the arm's side
    matrix = np.eye(3)
    matrix[:2, :2] = np.array([[-cosine, sine], [-sine, -cosine]]) * unit
    matrix[:2, 2] = np.array([cosine, sine]) * grip - matrix[:2, :2] @ np.array([1.55 * h, h / 2])
    lay(canvas, View(hand.picture, matrix), to_frame, 0, Finish(finish.gain, finish.blur, finish.motion, 0.0))


def _look_over(actors: Sequence[_Actor], ids: np.ndarray, t: int, least: int) -> list[Seen]:
    """Where and how much of each actor is seen in a frame, from the final working numbers uint8 [H,W]."""
    height, width = ids.shape
    rows, cols = np.indices(ids.shape, dtype=np.int32)
    flat = ids.ravel().astype(np.int32)
    counts = np.bincount(flat + _NUMBERS * rows.ravel(), minlength=_NUMBERS * height).reshape(
        height, _NUMBERS
    )
    columns = np.bincount(flat + _NUMBERS * cols.ravel(), minlength=_NUMBERS * width).reshape(width, _NUMBERS)
    area = counts.sum(0)
    safe = np.maximum(area, 1)
    y = (counts * np.arange(height)[:, None]).sum(0) / safe / height
    x = (columns * np.arange(width)[:, None]).sum(0) / safe / width
    seen = []
    for actor in actors:
        n = actor.number
        colours = actor.colours[0 if t == 0 else 2]
        visible = int(area[n]) if area[n] >= least else 0
        held, labelled = bool(actor.hands), n < _CLUTTER
        seen.append(Seen(actor.thing.names, colours, visible, (float(x[n]), float(y[n])), held, labelled))
    return seen


def _placement(pose: Pose, view: np.ndarray, height: int, width: int, aspect: float) -> np.ndarray:
    """Object units -> frame pixels, 3x3. view = (dx, dy, zoom, roll) of the camera, in fractions of the
    frame."""
    dx, dy, zoom, roll = view
    near = 0.7 + 0.6 * pose.depth
    x, y = pose.x - 0.5, pose.y - 0.5
    x, y = (
        zoom * (np.cos(roll) * x - np.sin(roll) * y) + dx * near + 0.5,
        zoom * (np.sin(roll) * x + np.cos(roll) * y) + dy * near + 0.5,
    )
    angle = pose.roll + roll
    scale = pose.size * height * zoom
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    stretch = np.sqrt(aspect)
    return np.array(
        [
            [cosine * stretch, -sine * stretch, x * width],
            [sine / stretch, cosine / stretch, y * height],
            [0, 0, 1.0],
        ]
    )


def _shift_background(background: np.ndarray, view: np.ndarray, height: int, width: int) -> np.ndarray:
    """The part of the background the camera sees, uint8 [height,width,3]."""
    dx, dy, zoom, roll = view
    bh, bw = background.shape[:2]
    matrix = cv2.getRotationMatrix2D((bw / 2, bh / 2), -np.degrees(roll), zoom)
    matrix[:, 2] += np.array([width / 2 - bw / 2 + dx * 0.6 * width, height / 2 - bh / 2 + dy * 0.6 * height])
    return cv2.warpAffine(
        background, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
