"""Pseudo-videos of annotated real pictures, as the paper makes them: three views of one still.

A clip is a picture seen three times (crop, scale, turn, perspective, light, blur), with cut-outs of other
pictures laid over it. Clips come in pairs: the second one shows the same thing in another picture, or another
thing, so that a reference can be asked across scenes, and rightly found or rightly not. What is said is made
from the annotations and from the colours inside the masks, and only where it is true of one object alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ..datasets.plain import Annotation, Picture, mask_of, read_pack
from . import FRAMES
from .expressions import Expression, Seen, absent_for, expressions_for
from .pairs import Example
from .photometry import Camera
from .things.colours import COLOURS, ColourNames, name_colours
from .things.names import CONFUSABLE, Names, name_object, synonyms

MOST = 10  # objects of a picture that are asked about; the others are seen all the same
_PASTED = 3
_TRIES = 4  # pictures looked at for one cut-out
_CUT_SIDE = 200  # longest side of a kept cut-out, pixels
_LEAST = 0.0012  # of the frame: smaller ones are not spoken of

# What stands about in pictures whose annotators were asked about other things: never called absent there.
_EVERYWHERE = frozenset(
    [
        "person",
        "man",
        "woman",
        "boy",
        "girl",
        "hand",
        "hair",
        "shirt",
        "trousers",
        "jeans",
        "shoes",
        "shoe",
        "dress",
        "coat",
        "jacket",
        "hat",
        "chair",
        "table",
        "desk",
        "door",
        "window",
        "wall",
        "floor",
        "box",
        "bag",
        "handbag",
        "plant",
        "potted",
        "plant",
        "flower",
        "tree",
        "grass",
        "food",
        "plate",
        "bowl",
        "cup",
        "bottle",
        "book",
        "paper",
        "cloth",
        "clothing",
        "furniture",
        "building",
        "house",
        "car",
        "vehicle",
        "sign",
        "container",
        "thing",
        "dish",
        "tool",
    ]
) | {"potted plant", "dining table", "t-shirt", "long-sleeved shirt"}


@dataclass(frozen=True)
class StillConfig:
    """How clips of stills look.

    pasted: share of clips with cut-outs laid over. same: share of pairs of clips that show one thing in both.
    expressions, absent: most phrases of an object, and of what is not there. weights: how often a set is
    drawn, beside the square root of its number of pictures; 1 where it is not named.
    """

    pasted: float = 0.5
    same: float = 0.5
    expressions: int = 4
    absent: int = 5
    weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Cut:
    """A thing cut out of its picture: RGBA uint8 [h,w,4], what it is, and which thing it is."""

    rgba: np.ndarray
    item: Annotation
    identity: str


@dataclass(frozen=True)
class _Part:
    """An object of a clip under construction: its masks in the three frames, and what to call it."""

    item: Annotation
    masks: list[np.ndarray]
    colours: ColourNames
    identity: str
    asked: bool = True


@dataclass(frozen=True)
class StillExamples:
    """Endless examples of a pack's pictures, in pairs that belong together; picklable.

    folder: a pack in the plain layout. validation: its `val` pictures instead of its `train` ones.
    """

    folder: Path
    config: StillConfig = StillConfig()
    uses: tuple[str, ...] = ("train",)
    validation: bool = False

    def __call__(self, size: tuple[int, int], seed: int) -> Iterator[Example]:
        """Clips of `size` (height, width), one pair after the other."""
        split = "val" if self.validation else "train"
        pictures = read_pack(self.folder, split=split, uses=self.uses, complain=lambda _: None)
        maker = StillClips(pictures, self.config, size, 2 * seed + int(self.validation))
        while True:
            yield from maker.pair()


class StillClips:
    """Makes clips of `size` from pictures, two at a time."""

    def __init__(
        self, pictures: Sequence[Picture], config: StillConfig, size: tuple[int, int], seed: int
    ) -> None:
        self._pictures, self._config, self._size = list(pictures), config, size
        self._rng = np.random.default_rng(seed)
        counts: dict[str, int] = {}
        for picture in self._pictures:
            counts[picture.folder.name] = counts.get(picture.folder.name, 0) + 1
        weights = np.array([_weight(p, counts, config) for p in self._pictures])
        self._weights = weights / weights.sum()
        self._groups: dict[str, list[int]] = {}
        for index, picture in enumerate(self._pictures):
            for identity in {_identity(picture, item) for item in picture.objects}:
                self._groups.setdefault(identity, []).append(index)
        self._groups = {name: found for name, found in self._groups.items() if len(found) > 1}
        self._nouns = sorted({item.name for picture in self._pictures for item in picture.objects})

    def pair(self) -> list[Example]:
        """Two clips: of two pictures of one thing, with one cut-out in both, or of any two pictures."""
        rng = self._rng
        first = int(rng.choice(len(self._pictures), p=self._weights))
        second = int(rng.choice(len(self._pictures), p=self._weights))
        shared: list[_Cut] = []
        if rng.random() < self._config.same:
            groups = [g for g in self._identities(first) if g in self._groups]
            if groups:
                group = groups[int(rng.integers(len(groups)))]
                others = [index for index in self._groups[group] if index != first]
                second = others[int(rng.integers(len(others)))]
            else:
                shared = [cut for cut in [self._any_cut()] if cut is not None]
        return [self._clip(self._pictures[index], shared) for index in (first, second)]

    def _identities(self, index: int) -> list[str]:
        picture = self._pictures[index]
        return [_identity(picture, item) for item in picture.objects]

    def _any_cut(self) -> _Cut | None:
        """A thing cut out of any picture; None where a few tries gave none."""
        for _ in range(_TRIES):
            picture = self._pictures[int(self._rng.choice(len(self._pictures), p=self._weights))]
            asked = [entry for entry in self._chosen(picture) if entry[2]]
            if not asked:
                continue
            item, identity, _ = asked[int(self._rng.integers(len(asked)))]
            image, labels = picture.read()
            rgba = _cut_out(image, mask_of(labels, item))
            if rgba is not None:
                return _Cut(rgba, item, identity)
        return None

    def _clip(self, picture: Picture, shared: Sequence[_Cut]) -> Example:
        rng = self._rng
        image, labels = picture.read()
        flipped = rng.random() < 0.5
        if flipped:
            image, labels = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(labels[:, ::-1])
        items = self._chosen(picture)
        focus = self._focus(labels, items)
        frames, views = [], []
        for matrix in _views(rng, image.shape[:2], focus, self._size):
            frames.append(_warp(image, matrix, self._size, cv2.INTER_AREA, cv2.BORDER_REPLICATE))
            views.append(_warp(labels, matrix, self._size, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT))
        parts = [
            _Part(
                item, [mask_of(view, item) for view in views], _colours(image, labels, item), identity, asked
            )
            for item, identity, asked in items
        ]
        pasted: list[_Cut | None] = list(shared)
        if rng.random() < self._config.pasted:
            pasted += [self._any_cut() for _ in range(int(rng.integers(1, _PASTED + 1)))]
        for cut in filter(None, pasted):
            parts.append(_paste(rng, frames, parts, cut, upright=rng.random() < 0.7))
        camera = Camera.random(rng)
        shots = [
            camera.changed(rng, (0.15, 0.03, 0.02)[t]).shoot(rng, _smeared(rng, f))
            for t, f in enumerate(frames)
        ]
        return self._example(picture, np.stack(shots), parts)

    def _chosen(self, picture: Picture) -> list[tuple[Annotation, str, bool]]:
        """Objects, which thing each is, and whether it is asked about: never a thing together with its
        parts."""
        whole = any(item.part_of for item in picture.objects) and self._rng.random() < 0.35
        chosen = [
            (
                item,
                _identity(picture, item),
                not ((len(item.values) > 1 and not whole) or (item.part_of and whole)),
            )
            for item in picture.objects
        ]
        return chosen

    def _focus(self, labels: np.ndarray, items: Sequence[tuple[Annotation, str, bool]]) -> np.ndarray:
        """The box (x0, y0, x1, y1) of one asked object, by which the views are placed."""
        boxes = []
        for item, _, asked in items:
            mask = mask_of(labels, item)
            if asked and mask.any():
                x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
                boxes.append((x, y, x + w, y + h))
        if not boxes:
            return np.array([0, 0, labels.shape[1], labels.shape[0]], float)
        areas = np.sqrt([(b[2] - b[0]) * (b[3] - b[1]) for b in boxes])
        return np.array(boxes[int(self._rng.choice(len(boxes), p=areas / areas.sum()))], float)

    def _example(self, picture: Picture, shots: np.ndarray, parts: list[_Part]) -> Example:
        rng, pixels = self._rng, shots.shape[1] * shots.shape[2]
        least = int(_LEAST * pixels)
        asked = [index for index, part in enumerate(parts) if part.asked]
        asked = sorted(asked, key=lambda i: -int(parts[i].masks[-1].sum()))[:MOST]
        labels = np.zeros(shots.shape[:3], np.uint8)
        for number, index in enumerate(asked):
            for frame, mask in zip(labels, parts[index].masks, strict=True):
                frame[mask] = number + 1
        # What is covered by another asked object since counts no longer; the phrases are about what is left.
        number_of = {index: number for number, index in enumerate(asked)}
        frames = [
            [
                Seen.of(
                    names_of(part.item),
                    part.colours,
                    (labels[t] == number_of[i] + 1) if i in number_of else part.masks[t],
                    least=least if i in number_of else 1,
                    labelled=i in number_of,
                )
                for i, part in enumerate(parts)
            ]
            for t in range(FRAMES)
        ]
        named = {item.name for item in picture.objects}
        phrases: list[list[Expression]] = []
        for index in asked:
            # Others of the kind may stand there without annotation: nothing is said of it by name.
            silent = picture.complete is False and parts[index].item.name in named
            phrases.append([] if silent else expressions_for(rng, frames, index, self._config.expressions))
        nouns = self._nouns if picture.complete else [n for n in self._nouns if not _is_everywhere(n)]
        absent = absent_for(rng, frames, nouns, frozenset(COLOURS), self._config.absent)
        if not picture.complete:
            absent = [text for text in absent if not _is_everywhere(text)]
        return Example(
            shots,
            labels,
            phrases,
            absent,
            tuple(parts[i].identity for i in asked),
            tuple(said_names(parts[i].item) for i in asked),
            tuple(mistaken_names(parts[i].item) for i in asked),
            np.array([parts[i].item.masks_by == "people" for i in asked]),
        )


def _is_everywhere(text: str) -> bool:
    """Whether a noun, or the noun a phrase ends with, is of what stands about in any picture."""
    return any(name_object(text).own & _EVERYWHERE) or any(text.endswith(" " + word) for word in _EVERYWHERE)


def names_of(item: Annotation) -> Names:
    """All names of an annotated object, one vocabulary: synonyms, kinds, and what it may be mistaken for."""
    parts = [name_object(name) for name in item.names]
    own = frozenset().union(*(part.own for part in parts))
    confusable = frozenset().union(*(part.confusable for part in parts))
    return Names(item.name, own, confusable - own)


def said_names(item: Annotation) -> frozenset[str]:
    """What a thing is called, without the kinds it belongs to: a dog is not the cat that was shown."""
    return frozenset().union(*(synonyms(name) for name in item.names))


def mistaken_names(item: Annotation) -> frozenset[str]:
    """What a thing is now and then called instead."""
    usual = synonyms(item.name)
    return frozenset().union(*(group for group in CONFUSABLE if usual & set(group)))


def _weight(picture: Picture, counts: dict[str, int], config: StillConfig) -> float:
    return config.weights.get(picture.folder.name, 1.0) / np.sqrt(counts[picture.folder.name])


def _identity(picture: Picture, item: Annotation) -> str:
    """Which thing it is: its group, or where it has none, itself alone."""
    return f"{picture.folder.name}:{item.group}" if item.group else f"{picture.key}:{item.values}"


def _colours(image: np.ndarray, labels: np.ndarray, item: Annotation) -> ColourNames:
    mask = mask_of(labels, item)
    return name_colours(image, (mask * 255).astype(np.uint8))


def _views(
    rng: np.random.Generator, shape: tuple[int, int], focus: np.ndarray, size: tuple[int, int]
) -> list[np.ndarray]:
    """Picture -> frame, 3x3, for the three frames: near one another, the first one further off.

    In use a whole picture is stretched to the frame, whatever its shape: so it is here half of the time, and
    else anything between that and an undistorted crop. The frame stays within the picture but for what
    turning shows: a mirrored border would hold copies of the things that no label knows of.
    """
    whole = np.array([size[1] / shape[1], size[0] / shape[0]])
    share = 1.0 if rng.random() < 0.5 else rng.random()
    zoom = 1.0 if rng.random() < 0.35 else float(np.exp(rng.uniform(0, np.log(1.7))))
    base = zoom * whole**share * whole.max() ** (1 - share) * np.exp(np.array([1, -1]) * rng.normal(0, 0.05))
    middle = np.array([(focus[0] + focus[2]) / 2, (focus[1] + focus[3]) / 2])
    target = np.array(size[::-1]) * rng.uniform(0.25, 0.75, 2)
    views = []
    much = float(rng.uniform(0.3, 1.3))
    for far in (1.0 * much, 0.25 * much, 0.0):
        scale = np.maximum(base * np.exp(rng.normal(0, 0.2 * far)), 0.93 * whole)
        angle = rng.normal(0, 0.14 * far) + rng.normal(0, 0.02)
        turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        drifted = target + rng.normal(0, 0.1 * far, 2) * np.array(size[::-1])
        place = _kept_inside(drifted, middle, scale, shape, size)
        matrix = np.eye(3)
        matrix[:2, :2] = np.diag(scale) @ turned
        matrix[:2, 2] = place - matrix[:2, :2] @ middle
        views.append(_perspective(rng, size, 0.12 * far) @ matrix)
    return views


def _kept_inside(
    target: np.ndarray, middle: np.ndarray, reach: np.ndarray, shape: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """`target` moved so that the frame shows little beyond the picture's borders."""
    low = np.array(size[::-1]) - reach * (np.array(shape[::-1]) - middle)
    high = reach * middle
    return np.clip(target, np.minimum(low, high), np.maximum(low, high))


def _perspective(rng: np.random.Generator, size: tuple[int, int], amount: float) -> np.ndarray:
    height, width = size
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    moved = corners + np.float32(rng.normal(0, max(amount, 1e-6), (4, 2)) * (width, height) * 0.5)
    return cv2.getPerspectiveTransform(corners, np.float32(moved))


def _warp(
    picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int], how: int, border: int
) -> np.ndarray:
    return cv2.warpPerspective(picture, matrix, size[::-1], flags=how, borderMode=border)


def _smeared(rng: np.random.Generator, frame: np.ndarray) -> np.ndarray:
    """Now and then the blur of a moving camera."""
    if rng.random() > 0.12:
        return frame
    length = int(rng.integers(3, 9))
    kernel = np.zeros((length, length), np.float32)
    if rng.random() < 0.6:
        kernel[length // 2] = 1 / length
    else:
        kernel[:, length // 2] = 1 / length
    return cv2.filter2D(frame, -1, kernel)


def _cut_out(image: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """RGBA of a thing with a soft edge; None where it is too small, or goes on beyond the picture."""
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    height, width = mask.shape
    if mask.sum() < 900 or x <= 1 or y <= 1 or x + w >= width - 1 or y + h >= height - 1:
        return None
    rows, columns = slice(max(y - 2, 0), y + h + 2), slice(max(x - 2, 0), x + w + 2)
    alpha = cv2.erode(mask[rows, columns].astype(np.uint8) * 255, np.ones((3, 3), np.uint8))
    rgba = np.dstack([image[rows, columns], cv2.GaussianBlur(alpha, (0, 0), 0.8)])
    scale = min(1.0, _CUT_SIDE / max(rgba.shape[:2]))
    return cv2.resize(rgba, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else rgba


def _paste(
    rng: np.random.Generator, frames: list[np.ndarray], parts: list[_Part], cut: _Cut, *, upright: bool
) -> _Part:
    """Lay a cut-out over all three frames, moving a little of its own; what it covers is covered."""
    height, width = frames[0].shape[:2]
    rgba = np.ascontiguousarray(cut.rgba[:, ::-1]) if rng.random() < 0.5 else cut.rgba
    side = float(np.exp(rng.uniform(np.log(0.18), np.log(0.85)))) * height
    place = rng.uniform(0.05, 0.95, 2) * (width, height)
    gain = np.float32(np.exp(rng.normal(0, 0.15)))
    tilt = rng.normal(0, 0.1) if upright else rng.uniform(-np.pi, np.pi)
    masks = []
    for t, far in enumerate((1.0, 0.2, 0.0)):
        scale = side / max(rgba.shape[:2]) * np.exp(rng.normal(0, 0.15 * far))
        angle = tilt + rng.normal(0, 0.15 * far)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        at = place + rng.normal(0, 0.12 * far, 2) * (width, height)
        matrix = np.column_stack((turn, at - turn @ (np.array(rgba.shape[1::-1]) / 2)))
        shape = {"dsize": (width, height), "flags": cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR}
        laid = cv2.warpAffine(rgba, matrix, borderMode=cv2.BORDER_CONSTANT, **shape)
        alpha = laid[..., 3:].astype(np.float32) / 255
        colour = np.clip(laid[..., :3].astype(np.float32) * gain, 0, 255)
        frames[t] = (frames[t] * (1 - alpha) + colour * alpha).astype(np.uint8)
        mask = laid[..., 3] > 127
        for part in parts:
            part.masks[t] &= ~mask
        masks.append(mask)
    colours = name_colours(rgba[..., :3], rgba[..., 3])
    return _Part(cut.item, masks, colours, cut.identity)
