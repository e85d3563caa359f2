"""A mask as the one polygon that YOLO has for an object: holes and further pieces hang on cuts."""

from __future__ import annotations

import cv2
import numpy as np

_AT_ONCE = 4_000_000
"""Distances between points that are held at a time."""


def one_polygon(mask: np.ndarray) -> np.ndarray:
    """int [n,2] (x, y), n >= 3: the centres of the outline's pixels, in one closed line.

    The line runs round the outer edge, through a cut to a hole, round it and back, and so on for every hole
    and piece; each cut leads to what is nearest. Filled by the even-odd rule with its own line included, as
    `cv2.fillPoly` does it, the polygon of an object in one piece gives the mask again, pixel by pixel;
    between separate pieces a cut leaves a line a pixel wide. mask: bool [h,w] with an object in it.
    """
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = sorted((ring[:, 0, :].astype(int) for ring in found), key=len)
    if not rings:
        raise ValueError("an empty mask has no polygon")
    added = rings.pop()
    line = _closed(added)
    cuts = [(np.inf, added[0], 0)] * len(
        rings
    )  # of each ring: how far, from which point of the line, to which
    while rings:
        cuts = [
            min(cut, _cut(added, ring), key=lambda c: c[0]) for cut, ring in zip(cuts, rings, strict=True)
        ]
        nearest = min(range(len(rings)), key=lambda index: cuts[index][0])
        _, start, end = cuts.pop(nearest)
        added = rings.pop(nearest)
        place = int(np.flatnonzero((line == start).all(axis=1))[0])
        line = np.vstack([line[: place + 1], _closed(np.roll(added, -end, axis=0)), line[place:]])
    line = _thinned(line[:-1])
    return line if len(line) >= 3 else np.resize(line, (3, 2))


def _closed(ring: np.ndarray) -> np.ndarray:
    return np.vstack([ring, ring[:1]])


def _cut(ring: np.ndarray, other: np.ndarray) -> tuple[float, np.ndarray, int]:
    """The shortest way between two rings: its length squared, its point on one, its place on the other."""
    best = (np.inf, ring[0], 0)
    step = max(1, _AT_ONCE // len(other))
    for begin in range(0, len(ring), step):
        apart = ((ring[begin : begin + step, None, :] - other[None]) ** 2).sum(-1)
        i, j = divmod(int(apart.argmin()), len(other))
        if apart[i, j] < best[0]:
            best = (float(apart[i, j]), ring[begin + i], j)
    return best


def _thinned(line: np.ndarray) -> np.ndarray:
    """Without the points in the middle of straight runs."""
    if len(line) < 4:
        return line
    before, after = line - np.roll(line, 1, axis=0), np.roll(line, -1, axis=0) - line
    straight = (before == after).all(axis=1)
    return line[~straight]
