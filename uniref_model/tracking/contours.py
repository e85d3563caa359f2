"""Contours that follow colour: the network's mask weighed against what its own inside and outside look like.

A small network knows where an object is better than where it ends. Pixels surely inside and surely outside
its mask give two colour histograms; in the band between them, Bayes' rule adds the log ratio of the two to
the network's log odds. Where both look alike the ratio is near one and the network's answer stands; outside
the band nothing changes. This is the colour term of GrabCut (Rother et al., SIGGRAPH 2004), once, without
its graph cut.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

from .frame_fit import within

BINS = 16
"""Histogram bins a channel."""

WEIGHT = 1.5
"""Of the colour's log ratio beside the network's log odds."""

REACH, REACH_OF_OBJECT = 0.05, 0.3
"""Half the band's width, as a part of sqrt(H * W) and, for small objects, of the square root of the mask's
area, whichever is less."""

FLOOR = 2e-4
"""Share of a histogram that an unseen colour has; bounds the ratio."""

CERTAIN = 6.0
"""Log odds beyond which the network's answer is taken to be this sure in the band, and no surer."""

LEAST = 24
"""Pixels inside and outside without which there is nothing to compare."""

_BLUR = 3
"""Side of the box over which ratio and odds are averaged, in turn."""

_CELLS = BINS**3
_SIDES = 3
"""Outside, between and inside, by how many of the grown and the shrunk mask hold a pixel. Each has a
histogram, one behind the other."""


def follow_colour(image: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """image uint8 [H,W,3] and mask logits f32 [H,W] of it -> logits f32 [H,W].

    The input comes back unchanged where the mask or its surroundings are too small to have a colour.
    """
    inside = (logits > 0).view(np.uint8)
    area = cv2.countNonZero(inside)
    if area < LEAST:
        return logits
    reach = max(2, round(min(REACH * np.sqrt(logits.size), REACH_OF_OBJECT * np.sqrt(area))))
    window = _window(inside, 3 * reach)  # where colours are counted
    near = _window(inside, reach + _BLUR)  # where anything changes: the band, and what is averaged into it
    inner = within(near, window)
    grown, core = _grown_and_shrunk(inside[near], reach)
    band = grown
    if cv2.countNonZero(core) < LEAST:
        core = inside[near]
    else:
        band = grown - core
    if inside[window].size - cv2.countNonZero(grown) < LEAST:
        return logits
    places = _codes(image[window])
    code = places[inner].copy()
    places[inner] += (grown + core) * np.uint16(_CELLS)
    ratio = cv2.blur(_log_ratio(places).take(code), (_BLUR, _BLUR))
    odds = cv2.blur(np.clip(logits[near], -CERTAIN, CERTAIN) + WEIGHT * ratio, (_BLUR, _BLUR))
    result = logits.copy()
    np.copyto(result[near], odds, where=band.view(bool))
    return result


@functools.lru_cache(maxsize=32)
def _steps(reach: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """How OpenCV's ellipse of 2 * reach + 1 is put together of lines: it is the union of rectangles, from the
    tallest to the widest. The first line of a step is what its rectangle is wider by than the one before,
    the second what it is taller by than the next one."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    half = [int(row.sum()) // 2 for row in disc[reach:]]  # widths, from the middle down
    corners = [(wide, high) for high, wide in enumerate(half) if wide not in half[high + 1 :]][::-1]
    widths, heights = zip((0, 0), *corners, (0, 0), strict=True)
    return [
        (_line(2 * wider + 1, 1), _line(1, 2 * taller + 1))
        for wider, taller in zip(np.diff(widths[:-1]), -np.diff(heights[1:]), strict=True)
    ]


def _line(width: int, height: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_RECT, (width, height))


def _grown(mask: np.ndarray, reach: int) -> np.ndarray:
    """uint8 [h,w] or [h,w,c], by the disc: several short lines are faster than it, and give the same."""
    wide, grown = mask, np.zeros_like(mask)
    for wider, taller in _steps(reach):
        wide = cv2.dilate(wide, wider)
        grown = cv2.dilate(cv2.max(grown, wide), taller)
    return grown


def _grown_and_shrunk(mask: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [h,w] of 0 and 1, twice. What shrinks is what is left when the outside grows: both are channels
    of one picture, as OpenCV takes longer to begin than to do it."""
    grown, outside = cv2.split(_grown(cv2.merge((mask, 1 - mask)), reach))
    return grown, 1 - outside


def _codes(colours: np.ndarray) -> np.ndarray:
    """uint8 [h,w,3] -> the histogram's cell of each pixel, uint16 [h,w]."""
    red, green, blue = cv2.split(colours >> 4)  # 256 / BINS
    return np.multiply(red, BINS**2, dtype=np.uint16) + (green * np.uint8(BINS) + blue)


def _log_ratio(places: np.ndarray) -> np.ndarray:
    """Log of how much likelier each colour is inside than outside, f32 [BINS ** 3]. places: of pixels, in the
    histograms of all sides."""
    counts = np.bincount(places.ravel(), minlength=_SIDES * _CELLS).reshape(_SIDES, -1)[::2]
    shares = counts.astype(np.float32) / np.maximum(counts.sum(1, keepdims=True), 1).astype(np.float32)
    outside, inside = _spread(shares.reshape(2, BINS, BINS, BINS)).reshape(2, -1) + np.float32(FLOOR)
    return np.log(inside / outside)


def _spread(shares: np.ndarray) -> np.ndarray:
    """f32 [N,BINS,BINS,BINS]: each colour's share spread over its neighbours along each channel."""
    for axis in (1, 2, 3):
        shares = shares.swapaxes(axis, 0)
        low, high = np.concatenate((shares[:1], shares[:-1])), np.concatenate((shares[1:], shares[-1:]))
        shares = (0.25 * low + 0.5 * shares + 0.25 * high).swapaxes(0, axis)
    return shares


def _window(inside: np.ndarray, margin: int) -> tuple[slice, slice]:
    x, y, width, height = cv2.boundingRect(inside)
    return (
        slice(max(y - margin, 0), min(y + height + margin, inside.shape[0])),
        slice(max(x - margin, 0), min(x + width + margin, inside.shape[1])),
    )
