"""Shrinking a frame by averaging, on as many threads as OpenCV may use.

OpenCV shares a resize among its threads by what comes out, a thread for every 65,536 pixels: to the size of a
small model one of them shrinks the largest frame alone. Here a frame is cut into bands that begin at a
pixel's edge in both sizes, so that every pixel is weighed as it is without: the result is the same.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np

MOST_BANDS = 4
"""More take the cores of a whole robot for a fraction of a millisecond."""

LEAST_PIXELS = 2**17
"""Of the frame, in a band: about a third of a millisecond, several times what handing it over costs."""


def shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [h,w,c] -> uint8 [height,width,c] as cv2.INTER_AREA does it. size: (height, width), neither
    larger than the image's."""
    blocks = math.gcd(image.shape[0], size[0])
    edges = _edges(blocks, image.shape[0] * image.shape[1])
    if len(edges) == 2:
        return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    small = np.empty((*size, *image.shape[2:]), image.dtype)
    tall, low = image.shape[0] // blocks, size[0] // blocks

    def fill(start: int, stop: int) -> None:
        band, place = image[start * tall : stop * tall], small[start * low : stop * low]
        cv2.resize(band, (place.shape[1], place.shape[0]), dst=place, interpolation=cv2.INTER_AREA)

    others = [_helpers(os.getpid()).submit(fill, *span) for span in pairwise(edges[1:])]
    fill(*edges[:2])
    for other in others:
        other.result()
    return small


def _edges(blocks: int, pixels: int) -> list[int]:
    """Where bands begin and end. blocks: of rows, each as high as an edge in both sizes allows."""
    bands = max(1, min(MOST_BANDS, cv2.getNumThreads(), pixels // LEAST_PIXELS, blocks))
    return [band * blocks // bands for band in range(bands + 1)]


@lru_cache(maxsize=1)
def _helpers(process: int) -> ThreadPoolExecutor:
    """Threads for the bands but one. process: its id, as threads are not there any more after a fork."""
    return ThreadPoolExecutor(MOST_BANDS - 1, thread_name_prefix="uniref shrinking")
