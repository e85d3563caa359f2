"""Clips of furnished rooms and laid tables: rendered once, when the pack is built, and shot anew each time.

What they add to pasted cut-outs: the camera goes by, so that near things move more than far ones and cover
them differently; things stand on the ground in one light and throw shadows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..expressions import Expression, Seen, absent_for, expressions_for
from ..photometry import Camera, shake
from ..things.colours import ColourNames, name_colours
from ..things.names import Names

_DRIFT = 0.012  # of the frame: the shake of the hand on top of the rendered camera's way


@dataclass(frozen=True)
class Room:
    """Three views: images RGB uint8 [3,h,w,3]; labels uint8 [3,h,w], i + 1 for names[i]; of these the first
    `count` may be meant, the others are clutter; whole int [n,3]: pixels of each if nothing hid it."""

    images: np.ndarray
    labels: np.ndarray
    names: tuple[Names, ...]
    count: int
    whole: np.ndarray


@dataclass(frozen=True)
class RoomClip:
    """images uint8 [3,H,W,3], labels uint8 [3,H,W] (0 for clutter too); for each thing that may be meant its
    colours' names, area in pixels, visible share 0..1 a frame, and phrases; phrases for what is not there."""

    images: np.ndarray
    labels: np.ndarray
    colours: list[tuple[str, ...]]
    area: np.ndarray
    visible: np.ndarray
    expressions: list[list[Expression]]
    absent: list[str]


@dataclass(frozen=True)
class Wanted:
    """What a clip should be: (height, width), nouns among which absent things are chosen, phrases a thing
    and absent ones, pixels to be seen at all, share of the frame to be spoken of, share of clips shaken."""

    size: tuple[int, int]
    nouns: Sequence[str]
    phrases: int
    absent: int
    least_pixels: int
    least_spoken: float
    shaken: float


def room_clip(rng: np.random.Generator, room: Room, wanted: Wanted) -> RoomClip:
    """A clip of a room: mirrored or not, cropped, as one camera would take it."""
    mirrored = rng.random() < 0.5
    camera = Camera.random(rng)
    clean, images, labels, scales = [], [], [], []
    for t, matrix in enumerate(_crops(rng, room.labels, room.count, wanted.size)):
        image, ids = room.images[t], room.labels[t]
        if mirrored:
            image, ids = image[:, ::-1], ids[:, ::-1]
        size = wanted.size[::-1]
        shot = cv2.warpAffine(np.ascontiguousarray(image), matrix, size, flags=cv2.INTER_LINEAR, **_EDGE)
        labels.append(
            cv2.warpAffine(np.ascontiguousarray(ids), matrix, size, flags=cv2.INTER_NEAREST, **_EDGE)
        )
        clean.append(shot.copy())
        if rng.random() < wanted.shaken:
            shake(rng, shot)
        images.append(camera.changed(rng, 0.15 if t == 0 else 0.02).shoot(rng, shot))
        scales.append(abs(float(np.linalg.det(matrix[:, :2]))))
    return _described(rng, room, clean, np.stack(images), np.stack(labels), np.array(scales), wanted)


_EDGE = {"borderMode": cv2.BORDER_REFLECT_101}


def _crops(
    rng: np.random.Generator, labels: np.ndarray, count: int, size: tuple[int, int]
) -> list[np.ndarray]:
    """Picture -> frame, 2x3, for the three frames: one crop, and a hand that shakes a little."""
    height, width = labels.shape[1:]
    cover = max(size[1] / width, size[0] / height)
    zoom = float(np.exp(rng.uniform(np.log(1.0 + 2 * _DRIFT), np.log(1.5))))
    stretch = float(np.exp(rng.normal(0, 0.05)))
    spare = 0.5 * (1 - 1 / zoom)
    middle = np.array([width, height]) * (0.5 + rng.uniform(-spare, spare, 2))
    crops = []
    for loose in (2.0, 0.5, 0.0):
        scale = cover * zoom * np.exp(rng.normal(0, _DRIFT) * loose)
        angle = rng.normal(0, _DRIFT) * loose
        cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
        turn = np.array([[cosine * stretch, -sine * stretch], [sine / stretch, cosine / stretch]])
        target = np.array(size[::-1]) * (0.5 + rng.normal(0, _DRIFT, 2) * loose)
        crops.append(np.column_stack((turn, target - turn @ middle)))
    return crops


def _described(
    rng: np.random.Generator,
    room: Room,
    clean: Sequence[np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    scales: np.ndarray,
    wanted: Wanted,
) -> RoomClip:
    """Phrases that are true of the shot frames. clean: what was shot, for the colours; scales: frame pixels
    for one of the room's."""
    early, late = _colours(room, clean[0], labels[0]), _colours(room, clean[-1], labels[-1])
    frames = [
        _seen(room, early if t == 0 else late, label, wanted.least_pixels) for t, label in enumerate(labels)
    ]
    behind = name_colours(clean[-1][labels[-1] == 0][None]).possible
    count = room.count
    area = np.array([[int((label == i + 1).sum()) for label in labels] for i in range(count)])
    visible = np.minimum(1.0, area / np.maximum(room.whole[:count] * scales, 1.0))
    phrases = []
    for i in range(count):
        enough = area[i, -1] > wanted.least_spoken * labels[-1].size and visible[i, -1] > 0.25
        phrases.append(expressions_for(rng, frames, i, wanted.phrases) if enough else [])
    absent = absent_for(rng, frames, wanted.nouns, behind, wanted.absent)
    labels[labels > count] = 0
    main = [tuple(sorted(colours.main)) for colours in late[:count]]
    return RoomClip(images, labels, main, area, visible, phrases, absent)


def _colours(room: Room, image: np.ndarray, labels: np.ndarray) -> list[ColourNames]:
    """Colour words of each thing as it is seen in a frame."""
    found = []
    for i in range(len(room.names)):
        mask = (labels == i + 1).astype(np.uint8) * 255
        x, y, w, h = cv2.boundingRect(mask)
        where = np.s_[y : y + h, x : x + w]
        found.append(name_colours(image[where], mask[where]))
    return found


def _seen(room: Room, colours: Sequence[ColourNames], labels: np.ndarray, least: int) -> list[Seen]:
    """Where and how much of each thing is seen in a frame."""
    return [
        Seen.of(names, colours[i], labels == i + 1, least=least, labelled=i < room.count)
        for i, names in enumerate(room.names)
    ]
