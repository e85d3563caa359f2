"""What objects see of their reference frames, computed once for all objects that refer to the same frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .base import NUM_LEVELS, FrameFeatures, MaskReference, ObjectReferences

ATTEND = {1: "attend_one", 2: "attend_two"}
"""Graphs by the number of reference frames they look at."""

_PLACES = ("first", "previous")
_LEVELS = range(NUM_LEVELS)


def mask_references(item: ObjectReferences) -> tuple[MaskReference, ...]:
    """An object's mask references, none twice: all keys twice give the same result as once."""
    return tuple(dict.fromkeys(part for part in (item.first, item.previous) if part is not None))


def group_by_frames(
    objects: Sequence[ObjectReferences],
) -> Iterator[tuple[list[int], list[tuple[MaskReference, ...]]]]:
    """(rows, their mask references) of the objects that refer to the same frames, in order.

    Objects without mask reference are left out.
    """
    groups: dict[tuple[int, ...], tuple[list[int], list[tuple[MaskReference, ...]]]] = {}
    for row, item in enumerate(objects):
        references = mask_references(item)
        if references:
            rows, members = groups.setdefault(tuple(id(part.keys) for part in references), ([], []))
            rows.append(row)
            members.append(references)
    yield from groups.values()


def attend(
    batch: Callable[[str, int], object],
    chunks: Callable[[int], Iterator[tuple[int, int]]],
    frame: FrameFeatures,
    objects: Sequence[ObjectReferences],
    out: np.ndarray,
) -> None:
    """Write what each object attended to into its row of `out` [N,S,I]; rows without mask reference keep
    theirs.

    batch: (graph, batch size) -> the graph; chunks: count -> (start, batch size) pieces that cover it.
    """
    seen = {"query": frame.query} if frame.query is not None else sources(frame)
    for rows, members in group_by_frames(objects):
        frames = members[0]
        keys = {
            f"{place}_key{level}": reference.keys[level][None]
            for place, reference in zip(_PLACES, frames, strict=False)
            for level in _LEVELS
        }
        for start, size in chunks(len(rows)):
            graph = batch(ATTEND[len(frames)], size)
            chosen = members[start : start + size]
            for index, references in enumerate(chosen):
                for place, reference in zip(_PLACES, references, strict=False):
                    for level in _LEVELS:
                        graph.inputs[f"{place}_value{level}"][index] = reference.values[level]
            attended = graph.run({**seen, **keys})["attended"]
            out[rows[start : start + size]] = attended[: len(chosen)]


def sources(frame: FrameFeatures) -> dict[str, np.ndarray]:
    """A frame's features by the names that graphs give them."""
    return {f"src{level}": array for level, array in enumerate(frame.levels)}
