"""From clips to training pairs: which frame is asked about which object, and by which references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any

import numpy as np

from uniref_model.settings import check_ranges
from uniref_model.synth.degrade import degrade, hint
from uniref_model.synth.expressions import Expression

FIRST, PREVIOUS, CURRENT = 0, 1, 2  # frames of a clip
FOLLOWED = 0.5  # of what is asked for across clips: was followed in the previous frame, too


@dataclass(frozen=True)
class Pairs:
    """Expected number of (frame, reference) pairs of each kind per clip."""

    words: float = 2.0
    mask: float = 2.0
    both: float = 1.0
    interactive: float = 1.0
    absent: float = 0.6
    gone: float = 0.4
    across: float = 0.0  # a reference of another clip that shows the same thing
    foreign: float = 0.0  # a reference of another clip that shows another thing

    def __post_init__(self) -> None:
        check_ranges(self, {item.name: (0, 100) for item in fields(self)})


class Kind(IntEnum):
    """What a pair is referred by; one curve of the log each."""

    WORDS = 0
    MASK = 1
    BOTH = 2
    HINT = 3
    ABSENT = 4
    GONE = 5
    ACROSS = 6
    FOREIGN = 7

    @property
    def is_negative(self) -> bool:
        """Whether the right answer is that nothing is there."""
        return self in (Kind.ABSENT, Kind.GONE, Kind.FOREIGN)


@dataclass
class Example:
    """A clip as training needs it: object i has value i + 1 in labels.

    identities: which thing object i is, the same in every clip that shows it; names: what it is called;
    mistaken: what it is now and then called instead; exact: whether its outline was drawn by people. Empty
    where a clip cannot say.
    """

    images: np.ndarray  # uint8 [3,H,W,3] RGB
    labels: np.ndarray  # uint8 [3,H,W]
    expressions: Sequence[Sequence[Expression]]  # per object
    absent: Sequence[str]
    identities: Sequence[str] = ()
    names: Sequence[frozenset[str]] = ()
    mistaken: Sequence[frozenset[str]] = ()
    exact: np.ndarray | None = None  # bool [objects]

    def mask(self, frame: int, index: int) -> np.ndarray:
        """Boolean mask [H,W] of object `index`."""
        return self.labels[frame] == index + 1


@dataclass
class Batch:
    """Clips of one step. R references, N pairs; -1 stands for "none" in every index."""

    images: np.ndarray  # uint8 [F,H,W,3], F = 3 * clips
    labels: np.ndarray  # uint8 [F,H,W]
    texts: list[str] = field(default_factory=list)
    reference_frame: list[int] = field(default_factory=list)  # [R] index into images
    reference_mask: list[np.ndarray] = field(default_factory=list)  # [R] uint8 [H,W], 255 = 1
    frame: list[int] = field(default_factory=list)  # [N] index into images
    target: list[int] = field(default_factory=list)  # [N] value in labels, or -1
    text: list[int] = field(default_factory=list)  # [N] index into texts
    first: list[int] = field(default_factory=list)  # [N] index into references
    previous: list[int] = field(default_factory=list)  # [N]
    kind: list[int] = field(default_factory=list)  # [N] Kind
    exact: list[bool] = field(default_factory=list)  # [N] whether the target's contour can be believed

    def add(
        self,
        kind: Kind,
        frame: int,
        target: int,
        *,
        text: str | None = None,
        first: int = -1,
        previous: int = -1,
        exact: bool = True,
    ) -> None:
        """Append one pair."""
        self.kind.append(int(kind))
        self.exact.append(exact)
        self.frame.append(frame)
        self.target.append(target)
        self.text.append(-1 if text is None else self._text(text))
        self.first.append(first)
        self.previous.append(previous)

    def add_reference(self, frame: int, mask: np.ndarray) -> int:
        """Append one reference mask (float or bool [H,W], 0..1) and return its index."""
        self.reference_frame.append(frame)
        self.reference_mask.append(np.round(mask * 255.0).astype(np.uint8))
        return len(self.reference_frame) - 1

    def _text(self, text: str) -> int:
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text)


class PairSampler:
    """Draws pairs for a batch of clips. `minimum` is the least visible area (pixels) of a target."""

    def __init__(self, pairs: Pairs, minimum: int, rng: np.random.Generator) -> None:
        self._pairs = pairs
        self._minimum = minimum
        self._rng = rng

    def batch(self, examples: Sequence[Example]) -> Batch:
        """All pairs of the clips; at least one."""
        batch = Batch(
            np.concatenate([e.images for e in examples]), np.concatenate([e.labels for e in examples])
        )
        counted: list[np.ndarray] = []
        for position, example in enumerate(examples):
            areas = np.stack([np.bincount(frame.ravel(), minlength=256)[1:] for frame in example.labels])
            clip = _ClipPairs(example, areas, 3 * position, batch, self._minimum, self._rng)
            for kind in self._kinds():
                clip.add(kind)
            counted.append(areas)
        self._across(batch, examples, counted)
        return batch

    def _kinds(self) -> list[Kind]:
        wanted = self._pairs
        expected = {
            Kind.WORDS: wanted.words,
            Kind.MASK: wanted.mask,
            Kind.BOTH: wanted.both,
            Kind.HINT: wanted.interactive,
            Kind.ABSENT: wanted.absent,
            Kind.GONE: wanted.gone,
        }
        return [kind for kind, mean in expected.items() for _ in range(self._count(mean))]

    def _across(self, batch: Batch, examples: Sequence[Example], areas: Sequence[np.ndarray]) -> None:
        """References of one clip asked in the clip drawn with it: the same thing is to be found, another is
        not."""
        for one in range(len(examples) - 1 if len(examples) % 2 else len(examples)):
            other = one ^ 1
            shown = [
                i for i in range(len(examples[one].expressions)) if areas[one][FIRST, i] >= self._minimum
            ]
            self._rng.shuffle(shown)
            room = {
                Kind.ACROSS: self._count(self._pairs.across),
                Kind.FOREIGN: self._count(self._pairs.foreign),
            }
            for index in shown:
                kind, target = _meaning(examples[one], index, examples[other], areas[other], self._minimum)
                if kind is None or not room[kind]:
                    continue
                room[kind] -= 1
                first = batch.add_reference(3 * one + FIRST, examples[one].mask(FIRST, index))
                previous = -1
                if self._rng.random() < FOLLOWED:
                    at, mask = self._followed(examples, one, index, target)
                    if np.count_nonzero(mask) >= self._minimum:
                        previous = batch.add_reference(3 * at + PREVIOUS, mask)
                value = target + 1 if target >= 0 else -1
                exact = target < 0 or _is_exact(examples[other], target)
                batch.add(kind, 3 * other + CURRENT, value, first=first, previous=previous, exact=exact)

    def _followed(
        self, examples: Sequence[Example], one: int, index: int, target: int
    ) -> tuple[int, np.ndarray]:
        """(clip, mask in its previous frame) of what a tracker followed that now asks for object `index` of
        clip `one` in the other clip: the target; where it is not there, the object itself before the camera
        turned away, or what the tracker slid onto: a place as large as the object, or another thing."""
        other = one ^ 1
        if target >= 0:
            mask = examples[other].mask(PREVIOUS, target)
            return other, degrade(mask, None, self._rng) if self._rng.random() < 0.45 else mask
        mask, others = examples[one].mask(PREVIOUS, index), len(examples[other].expressions)
        how = self._rng.random()
        if how < 0.4:
            return one, mask
        if how < 0.7 and others:
            mask = examples[other].mask(PREVIOUS, int(self._rng.integers(others)))
        return other, mask

    def _count(self, mean: float) -> int:
        """Whole numbers with this mean."""
        return int(mean + self._rng.random())


def _is_exact(example: Example, index: int) -> bool:
    return example.exact is None or bool(example.exact[index])


def _meaning(
    example: Example, index: int, other: Example, areas: np.ndarray, minimum: int
) -> tuple[Kind | None, int]:
    """What asking for object `index` of one clip in another clip's current frame is: (ACROSS, the object
    there), (FOREIGN, -1), or (None, -1) where the answer is not known."""
    if not example.identities or not other.identities:
        return (Kind.FOREIGN, -1) if not example.identities and not other.identities else (None, -1)
    same = [i for i, identity in enumerate(other.identities) if identity == example.identities[index]]
    if same:
        seen = [i for i in same if areas[CURRENT, i] >= minimum]
        return (Kind.ACROSS, seen[0]) if len(same) == len(seen) == 1 else (None, -1)
    close = example.names[index] | example.mistaken[index]
    if any(names & close for names in other.names):
        return None, -1
    return Kind.FOREIGN, -1


class _ClipPairs:
    """Adds the pairs of one clip; kinds the clip cannot serve fall back to words or are skipped."""

    def __init__(
        self,
        example: Example,
        areas: np.ndarray,
        offset: int,
        batch: Batch,
        minimum: int,
        rng: np.random.Generator,
    ) -> None:
        self._example, self._areas, self._offset = example, areas, offset
        self._batch, self._minimum, self._rng = batch, minimum, rng
        self._count = len(example.expressions)
        self._said: set[tuple[str, int]] = set()
        self._first_references: dict[int, int] = {}

    def add(self, kind: Kind) -> None:
        """Add one pair of `kind` if the clip allows it."""
        add = {
            Kind.WORDS: self._words,
            Kind.MASK: self._mask,
            Kind.BOTH: self._both,
            Kind.HINT: self._hint,
            Kind.ABSENT: self._absent,
            Kind.GONE: self._gone,
        }[kind]
        add()

    def _ask(self, kind: Kind, index: int, at: int = CURRENT, **references: Any) -> None:
        """Add the pair that asks for object `index` in frame `at`."""
        exact = _is_exact(self._example, index)
        self._batch.add(kind, self._offset + at, index + 1, exact=exact, **references)

    def _visible(self, *frames: int) -> list[int]:
        return [i for i in range(self._count) if all(self._areas[f, i] >= self._minimum for f in frames)]

    def _pick(self, items: Sequence):
        return items[int(self._rng.integers(len(items)))] if len(items) else None

    def _spoken(self, index: int, frame: int) -> str | None:
        texts = [e.text for e in self._example.expressions[index] if frame in e.frames]
        return self._pick([t for t in texts if (t, frame) not in self._said] or texts)

    def _words(self) -> None:
        frame = CURRENT if self._rng.random() < 0.5 else int(self._rng.integers(2))
        for at in (frame, CURRENT):
            index = self._pick(self._visible(at))
            text = None if index is None else self._spoken(index, at)
            if text is not None:
                self._said.add((text, at))
                self._ask(Kind.WORDS, index, at, text=text)
                return

    def _references(self, index: int) -> tuple[int, int]:
        """(first, previous) of an object visible in the current frame; at least one is there."""
        seen = [f for f in (FIRST, PREVIOUS) if self._areas[f, index] >= self._minimum]
        if not seen:
            return -1, -1
        if len(seen) == 2 and self._rng.random() < 0.35:
            seen = [self._pick(seen)]
        return (self._first(index) if FIRST in seen else -1), (
            self._previous(index) if PREVIOUS in seen else -1
        )

    def _first(self, index: int) -> int:
        if index not in self._first_references:
            mask = self._example.mask(FIRST, index)
            if self._rng.random() < 0.15:
                mask = degrade(mask, None, self._rng)
            self._first_references[index] = self._batch.add_reference(self._offset + FIRST, mask)
        return self._first_references[index]

    def _previous(self, index: int) -> int:
        mask = self._example.mask(PREVIOUS, index)
        if self._rng.random() < 0.45:
            others = [i for i in self._visible(PREVIOUS) if i != index]
            other = self._pick(others)
            mask = degrade(mask, None if other is None else self._example.mask(PREVIOUS, other), self._rng)
        return self._batch.add_reference(self._offset + PREVIOUS, mask)

    def _mask(self) -> None:
        index = self._pick(
            [i for i in self._visible(CURRENT) if (self._areas[:CURRENT, i] >= self._minimum).any()]
        )
        if index is None:
            return self._words()
        first, previous = self._references(index)
        self._ask(Kind.MASK, index, first=first, previous=previous)

    def _both(self) -> None:
        seen = [i for i in self._visible(CURRENT) if (self._areas[:CURRENT, i] >= self._minimum).any()]
        index = self._pick([i for i in seen if self._spoken(i, CURRENT) is not None])
        if index is None:
            return self._mask()
        first, previous = self._references(index)
        text = self._spoken(index, CURRENT)
        self._ask(Kind.BOTH, index, text=text, first=first, previous=previous)

    def _hint(self) -> None:
        index = self._pick(self._visible(CURRENT))
        if index is None:
            return
        reference = self._batch.add_reference(
            self._offset + CURRENT, hint(self._example.mask(CURRENT, index), self._rng)
        )
        self._ask(Kind.HINT, index, first=reference)

    def _absent(self) -> None:
        text = self._pick(self._example.absent)
        if text is not None:
            self._batch.add(Kind.ABSENT, self._offset + CURRENT, -1, text=text)

    def _gone(self) -> None:
        left = [
            i
            for i in range(self._count)
            if self._areas[CURRENT, i] == 0 and (self._areas[:CURRENT, i] >= self._minimum).any()
        ]
        index = self._pick(left)
        if index is not None:
            first, previous = self._references(index)
            self._batch.add(Kind.GONE, self._offset + CURRENT, -1, first=first, previous=previous)
