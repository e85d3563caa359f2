"""Clips made of one photograph of a named thing where it was: nothing is cut out and nothing pasted.

Three views of the photograph that drift as a hand-held camera would, as the paper makes pseudo-videos of
still images. They are what teaches that names mean real things in real surroundings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .expressions import Expression, Seen, absent_for, expressions_for
from .photometry import Camera
from .things.colours import name_colours
from .things.names import Names

_DRIFT = 0.03  # of the frame, from the previous to the current view; four times that from the first


@dataclass(frozen=True)
class Scene:
    """A photograph RGB uint8 [h,w,3], the thing's mask bool [h,w], and what it may be called."""

    image: np.ndarray
    mask: np.ndarray
    names: Names


@dataclass(frozen=True)
class SceneClip:
    """images uint8 [3,H,W,3], labels uint8 [3,H,W] (1 = the thing), its colours' names, phrases for it and
    for what is not there."""

    images: np.ndarray
    labels: np.ndarray
    colours: tuple[str, ...]
    expressions: list[Expression]
    absent: list[str]


def scene_clip(
    rng: np.random.Generator,
    scene: Scene,
    size: tuple[int, int],
    nouns: Sequence[str],
    phrases: int,
    absent: int,
) -> SceneClip:
    """A clip of `size` (height, width). nouns: among which things that are not there are chosen."""
    image, mask = scene.image, scene.mask
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    matrices = _views(rng, mask, size)
    camera = Camera.random(rng)
    images, labels = [], []
    for t, matrix in enumerate(matrices):
        where = {"dsize": size[::-1], "borderMode": cv2.BORDER_REFLECT_101}
        shot = cv2.warpAffine(np.ascontiguousarray(image), matrix, flags=cv2.INTER_AREA, **where)
        cover = cv2.warpAffine(
            mask.astype(np.uint8) * 255, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderValue=0
        )
        images.append(camera.changed(rng, 0.15 if t == 0 else 0.02).shoot(rng, shot))
        labels.append((cover > 127).astype(np.uint8))
    alpha = (mask * 255).astype(np.uint8)
    colours = name_colours(image, alpha)
    frames = [[Seen.of(scene.names, colours, label)] for label in labels]
    behind = name_colours(image[~mask][None]).possible
    return SceneClip(
        np.stack(images),
        np.stack(labels),
        tuple(sorted(colours.main)),
        expressions_for(rng, frames, 0, phrases),
        absent_for(rng, frames, nouns, behind, absent),
    )


def _views(rng: np.random.Generator, mask: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    """Photograph -> frame, 2x3, for the three frames: a crop that holds most of the thing, then drifting."""
    height, width = mask.shape
    zoom = float(np.exp(rng.uniform(0, np.log(1.35))))
    cover = max(size[1] / width, size[0] / height) * zoom
    rows, columns = np.nonzero(mask)
    middle = np.array([columns.mean(), rows.mean()])
    target = np.array(size[::-1]) * rng.uniform(0.3, 0.7, 2)
    stretch = np.exp(rng.normal(0, 0.08))
    views = []
    for far in (4.0, 1.0, 0.0):
        scale = cover * np.exp(rng.normal(0, _DRIFT * min(far, 3.0)))
        angle = rng.normal(0, 0.05) + rng.normal(0, 0.02 * far / 3)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turn[0] *= stretch
        turn[1] /= stretch
        drifted = target + rng.normal(0, _DRIFT * far, 2) * np.array(size[::-1])
        place = _inside(drifted, middle, turn, mask.shape, size)
        views.append(np.column_stack((turn, place - turn @ middle)))
    return views


def _inside(
    target: np.ndarray, middle: np.ndarray, turn: np.ndarray, shape: tuple[int, ...], size: tuple[int, int]
) -> np.ndarray:
    """`target` moved so that the frame shows little beyond the photograph's borders."""
    reach = np.abs(np.diag(turn))
    low = np.array(size[::-1]) - reach * (np.array(shape[1::-1]) - middle)
    high = reach * middle
    return np.clip(target, np.minimum(low, high), np.maximum(low, high))
