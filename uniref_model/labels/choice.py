"""Which frames of a recording become part of a data set."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ..errors import UniRefError
from ..tracking import TrackedFrame

_SMALL = (64, 48)
"""Width and height at which two frames are compared."""


@dataclass(frozen=True)
class FrameChoice:
    """every: the first of so many frames. change: 0 to 1, how much a frame must differ from the last one that
    was taken (see `Chooser`); 0 takes all. score: 0 to 1, a frame in which any visible object scores less is
    left out, for its labels would be wrong more often. Raises UniRefError."""

    every: int = 1
    change: float = 0.0
    score: float = 0.0

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UniRefError(f"every is {self.every}, expected at least 1")
        for name in ("change", "score"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise UniRefError(f"{name} is {value}, expected 0 to 1")


class Chooser:
    """Decides frame by frame, for one camera; remembers one small picture.

    The change between two frames is the larger of two numbers: the mean difference of their pixels, as a part
    of the full range, and the part of the labelled area on which they do not agree (1 - IoU of the label
    images). So a still scene in which an object moves changes as well as a camera that turns.
    """

    def __init__(self, choice: FrameChoice) -> None:
        self._choice = choice
        self._count = 0
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def takes(self, image: np.ndarray, result: TrackedFrame) -> bool:
        """Whether this frame is one to keep. image: uint8 RGB [h,w,3]."""
        self._count += 1
        if (self._count - 1) % self._choice.every:
            return False
        if any(item.score < self._choice.score for item in result.objects if item.box is not None):
            return False
        if self._choice.change == 0:
            return True
        small = (
            cv2.resize(image, _SMALL, interpolation=cv2.INTER_AREA).astype(np.float32),
            cv2.resize(result.label_image, _SMALL, interpolation=cv2.INTER_NEAREST),
        )
        if self._last is not None and difference(self._last, small) < self._choice.change:
            return False
        self._last = small
        return True


def difference(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """0 to 1, see `Chooser`. Each: a picture f32 [h,w,3] of 0 to 255 and its labels [h,w]."""
    pixels = float(np.abs(one[0] - other[0]).mean()) / 255
    labelled = (one[1] > 0) | (other[1] > 0)
    if not labelled.any():
        return pixels
    return max(pixels, float((one[1] != other[1])[labelled].mean()))
