"""Masks as COCO writes them, polygons and run lengths, looked at before they are drawn: COCO's own rasteriser
believes every number, and one corner far away costs more memory than there is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import RuntimeUnavailable
from ..limits import LimitError, check_pixels, shown
from .errors import DatasetError

_CHARACTERS = 7
"""Of one number of a run-length text, at most: 5 bits each."""


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """COCO polygons or run lengths as a bool [h,w] mask, polygons by COCO's own rasteriser.

    Raises DatasetError for anything else, and for what does not fit the size, before it costs anything;
    RuntimeUnavailable without pycocotools, which polygons need.
    """
    try:
        check_pixels(size[1], size[0], "an outline's picture")
    except LimitError as error:
        raise DatasetError(str(error)) from error
    if isinstance(segmentation, dict):
        return _of_runs(segmentation, size)
    if not isinstance(segmentation, list) or not all(_is_polygon(part) for part in segmentation):
        raise DatasetError(f"an outline is neither polygons nor run lengths: {shown(segmentation)}")
    if not segmentation:
        raise DatasetError("an outline has no polygon")
    _check_length(segmentation, size)
    return _of_polygons(segmentation, size)


def _of_runs(value: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    stated, counts = value.get("size"), value.get("counts")
    if not isinstance(stated, list) or stated != list(size):
        raise DatasetError(f"a run-length mask of {shown(stated)}, expected {list(size)}")
    pixels = size[0] * size[1]
    if isinstance(counts, (str, bytes)):
        counts = list(_numbers_in(counts, pixels))
    elif not isinstance(counts, list) or not all(type(count) is int for count in counts):
        raise DatasetError(f"run lengths are {shown(counts)}, expected whole numbers or COCO's text of them")
    if any(not 0 <= count <= pixels for count in counts) or sum(counts) != pixels:
        raise DatasetError(f"run lengths {shown(counts)} do not cover the {pixels} pixels of {list(size)}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(size[1], size[0]).T


def _numbers_in(text: str | bytes, pixels: int) -> Iterator[int]:
    """The run lengths in COCO's text: five bits a character, from the fourth on as a difference to the last
    but one."""
    data = text.encode("ascii", "replace") if isinstance(text, str) else text
    if len(data) > _CHARACTERS * (pixels + 2):
        raise DatasetError(f"run lengths of {len(data)} characters for {pixels} pixels")
    before: list[int] = []
    value = bits = 0
    for character in data:
        code = character - 48
        if not 0 <= code < 64 or bits >= 5 * _CHARACTERS:
            raise DatasetError(f"{shown(text)} is no text of run lengths")
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << bits
        value += before[-2] if len(before) > 2 else 0
        before = [*before[-2:], value]
        yield value
        value = bits = 0
    if bits:
        raise DatasetError(f"{shown(text)} ends within a run length")


def _is_polygon(part: Any) -> bool:
    return (
        isinstance(part, list)
        and len(part) >= 6
        and len(part) % 2 == 0
        and all(type(value) in (int, float) and abs(value) < 2**31 for value in part)  # no NaN either
    )


def _check_length(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> None:
    """Refuse lines longer than any outline within the picture can be: each of their pixels is stored."""
    height, width = size
    steps = (np.diff(np.reshape(part + part[:2], (-1, 2)), axis=0) for part in polygons)
    length = math.fsum(float(np.abs(step).max(1).sum()) for step in steps)
    most = 2 * (height + 1) * (width + 1) + 8 * (height + width)
    if length > most:
        raise DatasetError(f"an outline is {length:.0f} pixels long, more than fits into {width}x{height}")


def _of_polygons(polygons: list[list[float]], size: tuple[int, int]) -> np.ndarray:
    try:
        from pycocotools import mask as coco
    except ImportError as error:
        raise RuntimeUnavailable(f"outlines need pycocotools ({error}): pip install pycocotools") from error
    return coco.decode(coco.merge(coco.frPyObjects(polygons, *size))).astype(bool)
