"""What is asked about the pictures of a pack: the same questions every time, drawn by the pictures' names."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...datasets.plain import Annotation, Picture
from ...synth.stills import is_everywhere, names_of

KINDS = ("words", "click", "click anywhere", "box", "mask", "across", "absent", "other thing")
NEGATIVE = ("absent", "other thing")
"""Kinds of which the right answer is that nothing is there."""

_LEAST_SHARE = 0.004
"""Objects smaller than this part of their picture are not asked about."""


@dataclass(frozen=True)
class Question:
    """One question about one picture.

    item: the object meant; None where nothing is meant. text: what is said. view: where the reference comes
    from, a picture and an object of it.
    """

    kind: str
    picture: Picture
    item: Annotation | None
    text: str = ""
    view: tuple[Picture, Annotation] | None = None
    new_name: bool = False  # words that no training picture has


def questions(
    pictures: Sequence[Picture], limit: int, trained: frozenset[str] = frozenset()
) -> list[Question]:
    """All questions about these pictures, at most `limit` a set and kind. trained: names seen in training."""
    by_set: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_set[picture.folder.name].append(picture)
    asked: list[Question] = []
    for name in sorted(by_set):
        chosen = sorted(by_set[name], key=lambda picture: number_of(picture.key))
        for kind in KINDS:
            found = _of_kind(kind, chosen, trained)
            asked += [question for question, _ in zip(found, range(limit), strict=False)]
    return asked


def _of_kind(kind: str, pictures: Sequence[Picture], trained: frozenset[str]) -> Iterator[Question]:
    if kind == "words":
        for picture, item in _objects(pictures):
            if _is_only(picture, item):
                yield Question(kind, picture, item, f"the {item.name}", new_name=item.name not in trained)
    elif kind in ("click", "click anywhere", "box", "mask"):
        for picture, item in _objects(pictures):
            yield Question(kind, picture, item)
    elif kind == "absent":
        yield from _absent(pictures)
    else:
        yield from _views(kind, pictures)


def _objects(pictures: Sequence[Picture]) -> Iterator[tuple[Picture, Annotation]]:
    """One object of every picture, then a second one of those that have more, and so on."""
    most = max((len(picture.objects) for picture in pictures), default=0)
    for turn in range(most):
        for picture in pictures:
            large = [item for item in picture.objects if item.share >= _LEAST_SHARE]
            order = sorted(large, key=lambda item: number_of(f"{picture.key} {item.values}"))
            if turn < len(order):
                yield picture, order[turn]


def _is_only(picture: Picture, item: Annotation) -> bool:
    """Whether the item's name means it and nothing else here, as far as the annotation goes."""
    if picture.complete is False:
        return False
    others = [other for other in picture.objects if other is not item]
    return not any(item.name in names_of(o).own | names_of(o).confusable for o in others)


def _absent(pictures: Sequence[Picture]) -> Iterator[Question]:
    """Names of the set that nothing in the picture has: any name, and one of the same kind of thing."""
    vocabulary = sorted({item.name: item for picture in pictures for item in picture.objects}.items())
    for picture in pictures:
        if picture.complete is False or not picture.objects:
            continue
        there = [names_of(item) for item in picture.objects]
        known = frozenset().union(*(names.own | names.confusable for names in there))
        away = [
            (name, item)
            for name, item in vocabulary
            if not names_of(item).own & known and (picture.complete or not is_everywhere(name))
        ]
        kinds = frozenset().union(*(names.own for names in there))
        near = [(name, item) for name, item in vocabulary if name not in known and names_of(item).own & kinds]
        for pool in (away, near):
            if pool:
                name, _ = pool[number_of(picture.key) % len(pool)]
                yield Question("absent", picture, None, f"the {name}")


def _views(kind: str, pictures: Sequence[Picture]) -> Iterator[Question]:
    """References from another picture: of the same thing, or of something else."""
    grouped = [(picture, item) for picture in pictures for item in picture.objects if item.group]
    for picture, item in grouped:
        if kind == "across":
            pool = [(p, i) for p, i in grouped if i.group == item.group and p is not picture]
        else:
            names = frozenset().union(*(names_of(other).own for other in picture.objects))
            pool = [(p, i) for p, i in grouped if i.group != item.group and not names_of(i).own & names]
        if pool:
            view = pool[number_of(picture.key) % len(pool)]
            yield Question(kind, picture, item if kind == "across" else None, view=view)


def number_of(key: str) -> int:
    """A number that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big")


def generator(question: Question) -> np.random.Generator:
    """Chance that depends on the question alone."""
    meant = question.item.values if question.item else question.text
    return np.random.default_rng(number_of(f"{question.picture.key} {question.kind} {meant}"))
