"""Pseudo-videos of annotated real pictures, as the paper makes them: three views of one still.

A clip is a picture seen three times (crop, scale, turn, perspective, light, blur), with cut-outs of other
pictures laid over it. Clips come in pairs: the second one shows the same thing in another picture, or another
thing, so that a reference can be asked across scenes, and rightly found or rightly not. What is said is made
from the annotations and from the colours inside the masks, and only where it is true of one object alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ..datasets.errors import DatasetError
from ..datasets.plain import Annotation, Picture, mask_of, read_pack
from ..errors import UniRefError
from ..settings import check_ranges
from . import FRAMES
from .expressions import Expression, Seen, absent_for, expressions_for
from .pairs import Example
from .photometry import Camera
from .things.colours import COLOURS, ColourNames, name_colours
from .things.names import CONFUSABLE, Names, name_object, synonyms
from .views import Cut, Part, cut_out, paste, smeared, views_of, warp

MOST = 10  # objects of a picture that are asked about; the others are seen all the same
_PASTED = 3
_TRIES = 4  # pictures looked at for one cut-out
_LEAST = 0.0012  # of the frame: smaller ones are not spoken of

# What stands about in pictures whose annotators were asked about other things: never called absent there.
_EVERYWHERE_TEXT = """
person, man, woman, boy, girl, hand, hair, shirt, t-shirt, long-sleeved shirt, trousers, jeans, shoes, shoe
dress, coat, jacket, hat, clothing, chair, table, dining table, desk, furniture, door, window, wall, floor
building, house, car, vehicle, sign, box, bag, handbag, container, bottle, cup, bowl, plate, dish, book, paper
cloth, food, plant, potted plant, flower, tree, grass, tool, thing
"""
_EVERYWHERE = frozenset(word for line in _EVERYWHERE_TEXT.split("\n") for word in line.split(", ") if word)


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

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("expressions", "absent"), (0, 100))
        check_ranges(self, {"pasted": (0, 1), "same": (0, 1), "weights": (0, 1000), **counts})


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
        maker = StillClips(self.pictures(), self.config, size, 2 * seed + int(self.validation))
        while True:
            yield from maker.pair()

    def pictures(self, complain: Callable[[str], None] = lambda _: None) -> list[Picture]:
        """The pictures that clips are made of; complain: told of each row that is left out.

        Raises DatasetError where there are none.
        """
        split = "val" if self.validation else "train"
        found = read_pack(self.folder, split=split, uses=self.uses, complain=complain)
        if not found:
            raise DatasetError(
                f"{self.folder} has no picture with split {split!r} and use {' or '.join(self.uses)}"
            )
        return found


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
        self._rare_nouns = [noun for noun in self._nouns if not is_everywhere(noun)]

    def pair(self) -> list[Example]:
        """Two clips: of two pictures of one thing, with one cut-out in both, or of any two pictures."""
        rng = self._rng
        first, second = self._any(), self._any()
        shared: list[Cut] = []
        if rng.random() < self._config.same:
            groups = [g for g in self._identities(first) if g in self._groups]
            if groups:
                group = groups[int(rng.integers(len(groups)))]
                others = [index for index in self._groups[group] if index != first]
                second = others[int(rng.integers(len(others)))]
            else:
                shared = [cut for cut in [self._any_cut()] if cut is not None]
        return [self._clip(index, shared) for index in (first, second)]

    def _any(self) -> int:
        return int(self._rng.choice(len(self._pictures), p=self._weights))

    def _read(self, index: int) -> tuple[Picture, np.ndarray, np.ndarray]:
        """A picture with its pixels and labels: from now on another one where this one cannot be read."""
        while True:
            picture = self._pictures[index]
            try:
                return picture, *picture.read()
            except UniRefError as error:
                warnings.warn(f"left out from now on: {error}", stacklevel=2)
                self._weights[index] = 0
                if not self._weights.any():
                    raise
                self._weights /= self._weights.sum()
                index = self._any()

    def _identities(self, index: int) -> list[str]:
        picture = self._pictures[index]
        return [_identity(picture, item) for item in picture.objects]

    def _any_cut(self) -> Cut | None:
        """A thing cut out of any picture; None where a few tries gave none."""
        for _ in range(_TRIES):
            picture, image, labels = self._read(self._any())
            asked = [entry for entry in self._chosen(picture) if entry[2]]
            if not asked:
                continue
            item, identity, _ = asked[int(self._rng.integers(len(asked)))]
            rgba = cut_out(image, mask_of(labels, item))
            if rgba is not None:
                return Cut(rgba, item, identity)
        return None

    def _clip(self, index: int, shared: Sequence[Cut]) -> Example:
        rng = self._rng
        picture, image, labels = self._read(index)
        flipped = rng.random() < 0.5
        if flipped:
            image, labels = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(labels[:, ::-1])
        items = self._chosen(picture)
        focus = self._focus(labels, items)
        frames, views = [], []
        for matrix in views_of(rng, image.shape[:2], focus, self._size):
            frames.append(warp(image, matrix, self._size, cv2.INTER_AREA, cv2.BORDER_REPLICATE))
            views.append(warp(labels, matrix, self._size, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT))
        parts = [
            Part(
                item, [mask_of(view, item) for view in views], _colours(image, labels, item), identity, asked
            )
            for item, identity, asked in items
        ]
        pasted: list[Cut | None] = list(shared)
        if rng.random() < self._config.pasted:
            pasted += [self._any_cut() for _ in range(int(rng.integers(1, _PASTED + 1)))]
        for cut in filter(None, pasted):
            parts.append(paste(rng, frames, parts, cut, upright=rng.random() < 0.7))
        camera = Camera.random(rng)
        shots = [
            camera.changed(rng, (0.15, 0.03, 0.02)[t]).shoot(rng, smeared(rng, f))
            for t, f in enumerate(frames)
        ]
        return self._example(picture, np.stack(shots), parts)

    def _chosen(self, picture: Picture) -> list[tuple[Annotation, str, bool]]:
        """Objects, which thing each is, and whether it is asked about: never a thing together with its
        parts."""
        whole = any(item.part_of for item in picture.objects) and self._rng.random() < 0.35
        return [
            (
                item,
                _identity(picture, item),
                not ((len(item.values) > 1 and not whole) or (item.part_of and whole)),
            )
            for item in picture.objects
        ]

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

    def _example(self, picture: Picture, shots: np.ndarray, parts: list[Part]) -> Example:
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
        nouns = self._nouns if picture.complete else self._rare_nouns
        absent = absent_for(rng, frames, nouns, frozenset(COLOURS), self._config.absent)
        if not picture.complete:
            absent = [text for text in absent if not is_everywhere(text)]
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


def is_everywhere(text: str) -> bool:
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
