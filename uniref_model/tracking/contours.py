"""Contours that follow colour: the network's mask weighed against what its own inside and outside look like.

A small network knows where an object is better than where it ends. Pixels surely inside and surely outside
its mask give two colour histograms; in the band between them, Bayes' rule adds the log ratio of the two to
the network's log odds. Where both look alike the ratio is near one and the network's answer stands; outside
the band nothing changes. This is the colour term of GrabCut (Rother et al., SIGGRAPH 2004), once, without
its graph cut.
"""

from __future__ import annotations

import cv2
import numpy as np

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


def follow_colour(image: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """image uint8 [H,W,3] and mask logits f32 [H,W] of it -> logits f32 [H,W].

    The input comes back unchanged where the mask or its surroundings are too small to have a colour.
    """
    inside = (logits > 0).astype(np.uint8)
    area = cv2.countNonZero(inside)
    if area < LEAST:
        return logits
    reach = max(2, round(min(REACH * np.sqrt(logits.size), REACH_OF_OBJECT * np.sqrt(area))))
    window = _window(inside, 3 * reach)
    inside, colours, known = inside[window], image[window], logits[window]
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    core = cv2.erode(inside, disc, borderType=cv2.BORDER_REPLICATE)
    if cv2.countNonZero(core) < LEAST:
        core = inside
    near = cv2.dilate(inside, disc)
    if near.size - cv2.countNonZero(near) < LEAST:
        return logits
    band = (near > core) if core is not inside else near > 0
    ratio = _log_ratio(colours, core > 0, near == 0)
    odds = cv2.blur(np.clip(known, -CERTAIN, CERTAIN) + WEIGHT * ratio, (3, 3))
    result = logits.copy()
    result[window][band] = odds[band]
    return result


def _log_ratio(colours: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Log of how much likelier each pixel's colour is inside than outside, smoothed, f32 [h,w]."""
    cell = (colours >> 4).astype(np.int32)
    code = (cell[..., 0] * BINS + cell[..., 1]) * BINS + cell[..., 2]
    share = [_histogram(code[where]) + FLOOR for where in (inside, outside)]
    return cv2.blur(np.log(share[0] / share[1])[code], (3, 3))


def _histogram(code: np.ndarray) -> np.ndarray:
    """Shares of the BINS ** 3 colours, each spread over its neighbours along each channel."""
    counts = np.bincount(code, minlength=BINS**3).astype(np.float32)
    shares = (counts / max(len(code), 1)).reshape(BINS, BINS, BINS)
    for axis in range(3):
        shares = np.moveaxis(shares, axis, 0)
        low, high = np.concatenate((shares[:1], shares[:-1])), np.concatenate((shares[1:], shares[-1:]))
        shares = np.moveaxis(0.25 * low + 0.5 * shares + 0.25 * high, 0, axis)
    return shares.ravel()


def _window(inside: np.ndarray, margin: int) -> tuple[slice, slice]:
    x, y, width, height = cv2.boundingRect(inside)
    return (
        slice(max(y - margin, 0), min(y + height + margin, inside.shape[0])),
        slice(max(x - margin, 0), min(x + width + margin, inside.shape[1])),
    )
