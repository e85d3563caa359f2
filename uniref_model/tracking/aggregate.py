"""Several objects' probabilities into one label a pixel: the soft aggregation of the authors'
`inference_vos_3f`.

background = product over objects of (1 - p); a pixel goes to the largest of background and every p, ties to
the lower slot (background is 0). Nothing is renormalised, and scores play no part. Only the region each
object can claim is
computed: outside it p is under `MIN_CLAIM` and background wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .frame_fit import FrameGeometry
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
    """Merges claims in one pass, in three arrays that are made once per frame size, however many objects
    there are."""

    def __init__(self) -> None:
        self._allocate((0, 0))

    def merge(
        self, claims: Sequence[Claim], geometry: FrameGeometry, whole: bool = False
    ) -> tuple[np.ndarray, list[Share]]:
        """uint16 [h,w] labels (a fresh array) and each claim's share, in the order of `claims`.

        whole: compute every pixel of every claim, and let predictions reach 1, as the authors do.
        """
        if self._best.shape != geometry.frame:
            self._allocate(geometry.frame)
        labels = np.zeros(geometry.frame, np.uint16)
        self._best.fill(0.0)
        self._background.fill(1.0)
        regions: dict[int, tuple[slice, slice]] = {}
        claimed: dict[int, int] = {}
        for index in sorted(range(len(claims)), key=lambda index: claims[index].slot):
            region = regions[index] = self._read(claims[index], geometry, whole)
            values, best = self._values[region], self._best[region]
            labels[region][values > best] = claims[index].slot
            np.maximum(best, values, out=best)
            self._background[region] *= 1.0 - values
            claimed[index] = int(np.count_nonzero(values > 0.5))
        for region in regions.values():
            labels[region][self._best[region] <= self._background[region]] = 0
        shares = [_share(labels, claim.slot, regions[i], claimed[i]) for i, claim in enumerate(claims)]
        return labels, shares

    def _allocate(self, size: tuple[int, int]) -> None:
        self._best, self._background, self._values = (np.zeros(size, np.float32) for _ in range(3))

    def _read(self, claim: Claim, geometry: FrameGeometry, whole: bool) -> tuple[slice, slice]:
        """Put a claim's frame-size probability into `_values` and answer the region that matters."""
        if claim.exact:
            region = _bounds(claim.mask)
            self._values[region] = claim.mask[region] != 0
            return region
        if whole:
            geometry.probability_to_frame(claim.mask, out=self._values)
            return slice(0, geometry.frame[0]), slice(0, geometry.frame[1])
        rows, columns = _bounds(claim.mask > MIN_CLAIM)
        if rows.start == rows.stop:
            return rows, columns
        geometry.probability_to_frame(claim.mask, out=self._values)
        region = geometry.region_to_frame(rows, columns)
        np.minimum(self._values[region], _BELOW_ONE, out=self._values[region])
        return region


def _bounds(mask: np.ndarray) -> tuple[slice, slice]:
    """Smallest rows and columns that hold every true pixel; empty slices when there is none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _share(labels: np.ndarray, slot: int, region: tuple[slice, slice], claimed: int) -> Share:
    won = (labels[region] == slot).view(np.uint8)
    area = cv2.countNonZero(won) if won.size else 0
    if area == 0:
        return Share(None, EMPTY_MASK, 0, claimed)
    x, y, width, height = cv2.boundingRect(won)
    mask = won[y : y + height, x : x + width] * np.uint8(255)
    mask.flags.writeable = False
    return Share((region[1].start + x, region[0].start + y, width, height), mask, area, claimed)
