"""Where the followed objects were in the last images: a click is understood in the image it was made in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from uniref_model.requests.stamps import nanoseconds
from uniref_ros.msg import TrackedObject, TrackedObjectArray

_KEPT = 90  # images: three seconds of a fast camera
_CLEARANCE = 0.25  # of the mask's longer side: how far round a click that is "not that" no other click is put


@dataclass(frozen=True, eq=False)
class Seen:
    """An object in one image. mask: uint8 [h,w], 255 on the object, at (left, top) of the image."""

    id: str
    label: str
    prompt: str
    left: int
    top: int
    mask: np.ndarray

    def covers(self, x: float, y: float) -> bool:
        """Whether this pixel of the image is on it."""
        column, row = int(x) - self.left, int(y) - self.top
        height, width = self.mask.shape
        return 0 <= column < width and 0 <= row < height and bool(self.mask[row, column])

    def middle_away_from(self, x: float, y: float) -> tuple[float, float] | None:
        """The place on it farthest from its edges that is not near (x, y), in pixels of the image; None when
        all of it is near."""
        rest = cv2.copyMakeBorder(self.mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        radius = max(2, round(_CLEARANCE * max(self.mask.shape)))
        cv2.circle(rest, (int(x) - self.left + 1, int(y) - self.top + 1), radius, 0, -1)
        depth = cv2.distanceTransform(rest, cv2.DIST_L2, 3)
        _, deepest, _, (column, row) = cv2.minMaxLoc(depth)
        return (self.left + column - 1 + 0.5, self.top + row - 1 + 0.5) if deepest > 0 else None


class Sight:
    """The objects of one camera's last images, by stamp. Constant memory: so many images, and their masks."""

    def __init__(self) -> None:
        self._images: deque[tuple[int, list[TrackedObject]]] = deque(maxlen=_KEPT)

    def add(self, message: TrackedObjectArray) -> None:
        """Keep what was seen in one image."""
        seen = [item for item in message.objects if item.mask.width]
        self._images.append((nanoseconds(message.header.stamp), seen))

    def at(self, stamp: Any, x: float, y: float) -> Seen | None:
        """The object at this pixel of the image with this stamp, None when there is none or it is not kept.
        stamp: builtin_interfaces/Time."""
        wanted = nanoseconds(stamp)
        for held, objects in reversed(tuple(self._images)):
            if held == wanted:
                found = [seen for seen in map(_seen, objects) if seen.covers(x, y)]
                return found[0] if found else None
        return None


def _seen(item: TrackedObject) -> Seen:
    mask = np.frombuffer(item.mask.data, np.uint8).reshape(item.mask.height, item.mask.step)
    return Seen(
        item.id,
        item.label,
        item.prompt,
        item.box.x_offset,
        item.box.y_offset,
        np.ascontiguousarray(mask[:, : item.mask.width]),
    )
