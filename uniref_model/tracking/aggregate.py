"""Several objects' probabilities into one label a pixel: the soft aggregation of the authors'
`inference_vos_3f`.

background = product over objects of (1 - p); a pixel goes to the largest of background and every p, ties to
the lower slot (background is 0). Nothing is renormalised, and scores play no part. Only the region each
object can claim is computed: outside it p is under `MIN_CLAIM` and background wins. An object whose region
meets no other's has every pixel of p > 0.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from .frame_fit import FrameGeometry, Region, within
from .types import EMPTY_MASK

MIN_CLAIM = 0.01
"""Probability below which a pixel is not considered for an object."""

_BELOW_ONE = np.float32(1.0 - 2.0**-20)
"""Highest predicted probability, so that a mask given by the user (exactly 1) wins over any prediction."""


@dataclass(frozen=True, eq=False)
class Claim:
    """What one object claims of a frame. mask: a probability f32 [H,W] at model size; where exact, bool [h,w]
    at frame size."""

    slot: int
    mask: np.ndarray
    exact: bool = False


@dataclass(frozen=True, eq=False)
class Share:
    """What an object got: box (x, y, w, h), mask uint8 0/255 of the box (read-only), area, and claimed:
    pixels it would have got alone. box is None when it got nothing."""

    box: tuple[int, int, int, int] | None
    mask: np.ndarray
    area: int
    claimed: int


class Aggregator:
    """Merges claims in one pass, in arrays that are made once per frame size, however many objects there
    are."""

    def __init__(self) -> None:
        self._allocate((0, 0))

    def merge(self, claims: Sequence[Claim], geometry: FrameGeometry, whole: bool = False) -> list[Share]:
        """Each claim's share of the frame, in the order of `claims`; no pixel is in two.

        whole: compute every pixel of every claim, and let predictions reach 1, as the authors do.
        """
        if self._frame != geometry.frame:
            self._allocate(geometry.frame)
        order = sorted(range(len(claims)), key=lambda index: claims[index].slot)
        regions = {index: _region(claims[index], geometry, MIN_CLAIM, whole) for index in order}
        shares: dict[int, Share] = {}
        for group in _meeting(regions):
            if len(group) == 1:
                shares[group[0]] = self._alone(claims[group[0]], geometry, whole)
            else:
                shares |= self._together(claims, group, regions, geometry, whole)
        return [shares[index] for index in range(len(claims))]

    def _allocate(self, frame: tuple[int, int]) -> None:
        self._frame = frame
        count = frame[0] * frame[1]
        self._best, self._background, self._values = (np.empty(count, np.float32) for _ in range(3))
        self._wins = np.empty(count, bool)
        self._labels = np.empty(count, np.uint16)

    def _alone(self, claim: Claim, geometry: FrameGeometry, whole: bool) -> Share:
        """An object that no other one meets: it has what is likelier than not."""
        region = _region(claim, geometry, 0.5, whole)
        if claim.exact:
            won = np.where(claim.mask[region], np.uint8(255), np.uint8(0))
        elif region == _NOWHERE:
            return _NOTHING
        else:
            values = geometry.probability_to_region(claim.mask, region, self._values)
            won = _over_half(values)
        return _share(won, region)

    def _together(
        self,
        claims: Sequence[Claim],
        group: Sequence[int],
        regions: dict[int, Region],
        geometry: FrameGeometry,
        whole: bool,
    ) -> dict[int, Share]:
        """Objects, in order of slot, whose regions meet: in the box round all of them."""
        rows, columns = box = _round([regions[index] for index in group])
        shape = rows.stop - rows.start, columns.stop - columns.start
        best, background, wins = (_cut(one, shape) for one in (self._best, self._background, self._wins))
        labels = _cut(self._labels, shape)
        best.fill(0.0)
        background.fill(1.0)
        labels.fill(0)
        claimed: dict[int, int] = {}
        for index in group:
            values = self._read(claims[index], regions[index], geometry, whole)
            inside = within(regions[index], box)
            best_here, wins_here = best[inside], wins[inside]
            np.greater(values, best_here, out=wins_here)
            np.copyto(labels[inside], claims[index].slot, where=wins_here)
            np.maximum(best_here, values, out=best_here)
            claimed[index] = int(np.count_nonzero(np.greater(values, 0.5, out=wins_here)))
            background[inside] *= np.subtract(1.0, values, out=values)
        np.less_equal(best, background, out=wins)
        np.copyto(labels, 0, where=wins)
        return {
            index: replace(
                _share(_won(labels[within(regions[index], box)], claims[index].slot), regions[index]),
                claimed=claimed[index],
            )
            for index in group
        }

    def _read(self, claim: Claim, region: Region, geometry: FrameGeometry, whole: bool) -> np.ndarray:
        """A claim's probability f32 in a region of the frame, to be written over."""
        if claim.exact:
            return claim.mask[region].astype(np.float32)
        if region == _NOWHERE:
            return np.zeros((0, 0), np.float32)
        values = geometry.probability_to_region(claim.mask, region, self._values)
        return values if whole else np.minimum(values, _BELOW_ONE, out=values)


_NOWHERE = slice(0, 0), slice(0, 0)
_NOTHING = Share(None, EMPTY_MASK, 0, 0)


def _region(claim: Claim, geometry: FrameGeometry, least: float, whole: bool) -> Region:
    """Where in the frame a claim can be over `least`; everywhere if `whole`."""
    if claim.exact:
        return _bounds(claim.mask)
    if whole:
        return slice(0, geometry.frame[0]), slice(0, geometry.frame[1])
    rows, columns = _bounds(claim.mask > least)
    region = _NOWHERE if rows.start == rows.stop else geometry.region_to_frame(rows, columns)
    return _NOWHERE if any(span.start >= span.stop for span in region) else region  # all in the border


def _bounds(mask: np.ndarray) -> Region:
    """Smallest rows and columns that hold every true pixel; empty slices when there is none."""
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    return slice(y, y + height), slice(x, x + width)


def _meeting(regions: dict[int, Region]) -> list[list[int]]:
    """Groups of those whose regions meet, directly or through others; in order within each."""
    groups: list[list[int]] = []
    for index, region in regions.items():
        met = [group for group in groups if any(_meet(region, regions[other]) for other in group)]
        groups = [group for group in groups if group not in met]
        groups.append([*(other for group in met for other in group), index])
    places = {index: place for place, index in enumerate(regions)}
    return [sorted(group, key=places.__getitem__) for group in groups]


def _meet(one: Region, other: Region) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def _round(regions: Iterable[Region]) -> Region:
    rows, columns = zip(*regions, strict=True)
    return (
        slice(min(span.start for span in rows), max(span.stop for span in rows)),
        slice(min(span.start for span in columns), max(span.stop for span in columns)),
    )


def _cut(buffer: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The first numbers of a buffer, in a shape."""
    return buffer[: shape[0] * shape[1]].reshape(shape)


def _won(labels: np.ndarray, slot: int) -> np.ndarray:
    """uint8 0/255 where labels are a slot."""
    return np.multiply(labels == slot, np.uint8(255), dtype=np.uint8)


def _over_half(values: np.ndarray) -> np.ndarray:
    """uint8 0/255 where f32 [h,w] are over a half."""
    if values.size == 1:  # OpenCV takes a single pixel for a number, too, and refuses two of them
        return np.multiply(values > 0.5, np.uint8(255), dtype=np.uint8)
    return cv2.compare(values, 0.5, cv2.CMP_GT)  # type: ignore[call-overload]  # numbers too


def _share(won: np.ndarray, region: Region) -> Share:
    """Of an object that claimed what it won. won: uint8 0/255, of the region."""
    area = cv2.countNonZero(won) if won.size else 0
    if area == 0:
        return _NOTHING
    x, y, width, height = cv2.boundingRect(won)
    mask = won[y : y + height, x : x + width].copy()
    mask.flags.writeable = False
    return Share((region[1].start + x, region[0].start + y, width, height), mask, area, area)
