"""References a person gives: a mask, clicks or a box, checked as early as the frame size is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ImageError, MaskError
from ..limits import MAX_POINTS, check_count


@dataclass(frozen=True, eq=False)
class Given:
    """One of mask (bool [h,w]), points with labels, or box (x, y, width, height); image: the frame it belongs
    to when that is not the next one, uint8 [h,w,3]."""

    mask: np.ndarray | None = None
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    image: np.ndarray | None = None

    def check(self, size: tuple[int, int]) -> None:
        """Raise MaskError unless it fits a frame of (h, w)."""
        if self.mask is not None:
            check_mask(self.mask, size)
        for x, y in self.points:
            if not (0 <= x < size[1] and 0 <= y < size[0]):
                raise MaskError(
                    f"the point ({x:g}, {y:g}) is outside the frame of {size[1]}x{size[0]} pixels"
                )
        if self.box is not None:
            x, y, width, height = self.box
            if x >= size[1] or y >= size[0] or x + width <= 0 or y + height <= 0:
                raise MaskError(
                    f"the box at ({x:g}, {y:g}) of {width:g}x{height:g} is outside the frame of "
                    f"{size[1]}x{size[0]} pixels"
                )


def check_image(image: np.ndarray) -> None:
    """Raise ImageError unless it is uint8 [h,w,3] with at least one pixel."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"an image must be a numpy array, found {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            f"an image must be uint8 of shape (height, width, 3), found {image.dtype} {image.shape}"
        )
    if image.size == 0:
        raise ImageError(f"the image has no pixels: shape {image.shape}")


def check_mask(mask: np.ndarray, size: tuple[int, int] | None = None) -> None:
    """Raise MaskError unless it is bool or uint8 [h,w] with an object in it, of the frame's (h, w) when that
    is known."""
    if not isinstance(mask, np.ndarray):
        raise MaskError(f"a mask must be a numpy array, found {type(mask).__name__}")
    if mask.dtype not in (np.bool_, np.uint8) or mask.ndim != 2:
        raise MaskError(
            f"a mask must be bool or uint8 of shape (height, width), found {mask.dtype} {mask.shape}"
        )
    if size is not None and mask.shape != tuple(size):
        raise MaskError(
            f"the mask has shape {mask.shape}, expected the frame's {tuple(size)} (height, width)"
        )
    if not mask.any():
        raise MaskError(f"the mask of shape {mask.shape} is empty: every pixel is zero")


def make_points(points: Sequence[tuple[float, float]], labels: Sequence[int] | None) -> Given:
    """Clicks as a reference. Raises MaskError: none given, more than MAX_POINTS, labels that do not match, no
    click on the object."""
    if len(points) == 0:
        raise MaskError("no points given")
    check_count(len(points), "points", MAX_POINTS, MaskError)
    if labels is not None and len(labels) not in (0, len(points)):
        raise MaskError(f"{len(points)} points but {len(labels)} labels, expected one each")
    chosen = [1] * len(points) if labels is None or len(labels) == 0 else [int(label) for label in labels]
    found = sorted(set(chosen))
    if not set(found) <= {0, 1} or 1 not in found:
        raise MaskError(
            f"point labels are {', '.join(map(str, found[:8]))}, expected 1 (on the object) at least once, "
            "and 0 (not on it)"
        )
    numbers = tuple((float(x), float(y)) for x, y in points)
    for point in numbers:
        if not np.isfinite(point).all():
            raise MaskError(f"points must be finite numbers, found {point}")
    return Given(points=numbers, labels=tuple(chosen))


def make_box(box: Sequence[float]) -> Given:
    """A box (x, y, width, height) as a reference. Raises MaskError when it has no area."""
    numbers = tuple(float(value) for value in box)
    if len(numbers) != 4 or not np.isfinite(numbers).all() or numbers[2] < 1 or numbers[3] < 1:
        raise MaskError(f"a box is (x, y, width, height) with at least one pixel, found {numbers}")
    return Given(box=numbers)
