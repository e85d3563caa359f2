"""What to follow, as a person typed it, and the value that each object has in written label images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import CapacityError, MaskError
from ..limits import MAX_PIXELS
from ..pictures import read_masks
from ..prompts import Prompt
from ..tracking import TrackedObject
from ..tracking.config import MAX_LABEL


@dataclass(frozen=True)
class References:
    """What to follow, as typed: every prompt, mask label, click and box is one object. mask_form: see
    `pictures.read_masks`."""

    prompts: tuple[str, ...] = ()
    mask: Path | None = None
    mask_form: str = "auto"
    clicks: tuple[str, ...] = ()
    boxes: tuple[str, ...] = ()

    @property
    def are_drawn(self) -> bool:
        """Whether any belongs to one camera's picture."""
        return self.mask is not None or bool(self.clicks or self.boxes)


@dataclass(frozen=True, eq=False)
class Wanted:
    """One object to add. value: the one it has in the given label image, kept in written masks. label: a
    short name for people, None for the words."""

    prompt: Prompt
    value: int | None = None
    label: str | None = None


def read_references(references: References, max_pixels: int = MAX_PIXELS) -> list[Wanted]:
    """Check everything that needs neither a frame nor a model. Raises UniRefError."""
    wanted = [Wanted(Prompt(prompt)) for prompt in references.prompts]
    if references.mask is not None:
        found = read_masks(references.mask, references.mask_form, max_pixels)
        wanted += [Wanted(Prompt(mask=item.mask), item.label) for item in found]
    for text in references.clicks:
        x, y = _numbers(text, 2, "--click", "X,Y")
        wanted.append(Wanted(Prompt(points=[(x, y)])))
    for text in references.boxes:
        wanted.append(Wanted(Prompt(box=_numbers(text, 4, "--box", "X,Y,W,H"))))
    if len(wanted) > MAX_LABEL:
        raise CapacityError(f"{len(wanted)} objects asked for, at most {MAX_LABEL} fit an 8-bit label image")
    return wanted


def _numbers(text: str, count: int, option: str, form: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise MaskError(f"{option} {text!r} is not {form} (numbers in pixels)")
    return numbers


class LabelValues:
    """From slots to the values of written label images: a given label is kept, others take the first value
    that no label has. An object that comes later takes its slot's value, if that is free."""

    def __init__(self, given: Iterable[int | None]) -> None:
        self._given = {value for value in given if value is not None}
        self._by_id: dict[str, int] = {}

    def add(self, object_id: str, value: int | None) -> None:
        """An object that was asked for: its given value, or the next free one."""
        taken = self._given | set(self._by_id.values())
        free = (number for number in range(1, MAX_LABEL + 1) if number not in taken)
        self._by_id[object_id] = next(free) if value is None else value

    def table(self, objects: Sequence[TrackedObject]) -> np.ndarray:
        """uint8 [MAX_LABEL + 1]: the value of each slot, 0 of those that are free."""
        here = {item.id for item in objects}
        self._by_id = {name: value for name, value in self._by_id.items() if name in here}
        table = np.zeros(MAX_LABEL + 1, np.uint8)
        for item in objects:
            if item.id not in self._by_id:
                taken = self._given | set(self._by_id.values())
                self.add(item.id, None if item.slot in taken else item.slot)
            table[item.slot] = self._by_id[item.id]
        return table
