"""What every training reader offers, whatever its layout on disk."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixels, x1 and y1 past the last pixel."""


@dataclass(frozen=True)
class Frame:
    """A picture and one object in it: its mask, or its box alone where the data set has no masks."""

    image: np.ndarray  # uint8 [h,w,3] RGB
    mask: np.ndarray | None  # bool [h,w]
    box: Box


@dataclass(frozen=True)
class Drawn:
    """One object as drawn from a data set: in a still picture (one frame) or in two frames of a video, in
    order of time. phrase: one of its expressions, "" where the data set has none."""

    frames: tuple[Frame, ...]
    phrase: str = ""


class TrainingSet(Protocol):
    """A data set on disk. Items are what the sampling weights count: images, videos or referred objects."""

    has_masks: bool

    def __len__(self) -> int: ...

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of an item's pictures."""
        ...

    def draw(self, index: int, rng: np.random.Generator) -> Drawn | None:
        """An object of an item. None where there is nothing to learn from, such as no object that is seen
        in both frames. Raises DatasetError naming a file that is missing or wrong."""
        ...


class PackedList(Sequence):
    """A read-only list kept as bytes in one array.

    A list of millions of Python objects would be copied into every data worker, page by page, as their
    reference counts change.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        packed = [pickle.dumps(item, protocol=pickle.HIGHEST_PROTOCOL) for item in items]
        self._ends = np.cumsum([len(item) for item in packed], dtype=np.int64)
        self._bytes = np.frombuffer(b"".join(packed), np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = self._ends[index - 1] if index else 0
        return pickle.loads(self._bytes[start : self._ends[index]].tobytes())


def box_of_mask(mask: np.ndarray) -> Box | None:
    """Tight box of a bool mask [h,w]; None when it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def frame_of(image: np.ndarray, mask: np.ndarray) -> Frame | None:
    """A frame with its mask's box; None when the mask is empty."""
    box = box_of_mask(mask)
    return None if box is None else Frame(image, mask, box)


def frame_pair(count: int, span: int, rng: np.random.Generator) -> tuple[int, int] | None:
    """Two of `count` frames in order of time, at most `span` apart (the authors' clip mapper): one uniformly,
    the other uniformly from its neighbourhood. None when there is only one."""
    if count < 2:
        return None
    one = int(rng.integers(count))
    near = [i for i in range(max(0, one - span), min(count, one + span + 1)) if i != one]
    other = near[int(rng.integers(len(near)))]
    return min(one, other), max(one, other)


def pick(items: Sequence, rng: np.random.Generator) -> Any:
    """One of `items`, uniformly."""
    return items[int(rng.integers(len(items)))]
