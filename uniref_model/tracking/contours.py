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
_OUTSIDE, _INSIDE, _BETWEEN = 0, _CELLS, 2 * _CELLS
"""Where the histogram of each side begins."""

_SIDES = np.array([_OUTSIDE, _BETWEEN, _INSIDE])
"""By how many of the grown and the shrunk mask hold a pixel."""


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
    core = _shrunk(inside[near], reach)
    grown = band = _grown(inside[near], reach)
    if cv2.countNonZero(core) < LEAST:
        core = inside[near]
    else:
        band = grown - core
    if inside[window].size - cv2.countNonZero(grown) < LEAST:
        return logits
    code = _codes(image[window])
    side = np.full(code.shape, _OUTSIDE, code.dtype)
    side[inner] = _SIDES[grown + core]
    ratio = cv2.blur(_log_ratio(side + code)[code[inner]], (_BLUR, _BLUR))
    odds = cv2.blur(np.clip(logits[near], -CERTAIN, CERTAIN) + WEIGHT * ratio, (_BLUR, _BLUR))
    result = logits.copy()
    np.copyto(result[near], odds, where=band.view(bool))
    return result


@functools.lru_cache(maxsize=32)
def _rectangles(reach: int) -> list[np.ndarray]:
    """Structuring elements whose union is OpenCV's ellipse of 2 * reach + 1: some rectangles are faster than
    one large disc, and give the same."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    half = [int(row.sum()) // 2 for row in disc[reach:]]  # widths, from the middle down
    sides = [(2 * wide + 1, 2 * high + 1) for high, wide in enumerate(half) if wide not in half[high + 1 :]]
    return [cv2.getStructuringElement(cv2.MORPH_RECT, side) for side in sides]


def _grown(mask: np.ndarray, reach: int) -> np.ndarray:
    return functools.reduce(cv2.max, (cv2.dilate(mask, one) for one in _rectangles(reach)))


def _shrunk(mask: np.ndarray, reach: int) -> np.ndarray:
    border = cv2.BORDER_REPLICATE
    return functools.reduce(cv2.min, (cv2.erode(mask, one, borderType=border) for one in _rectangles(reach)))


def _codes(colours: np.ndarray) -> np.ndarray:
    """uint8 [h,w,3] -> the histogram's cell of each pixel, int [h,w]."""
    cells = colours >> 4  # 256 / BINS
    code = cells[..., 0].astype(np.intp)
    for channel in (1, 2):
        code *= BINS
        code += cells[..., channel]
    return code


def _log_ratio(places: np.ndarray) -> np.ndarray:
    """Log of how much likelier each colour is inside than outside, f32 [BINS ** 3]. places: of pixels, in the
    histograms of all sides, one behind the other."""
    counts = np.bincount(places.ravel(), minlength=3 * _CELLS)[: 2 * _CELLS].reshape(2, -1)
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
