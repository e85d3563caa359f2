"""`Prompt`: what a person says or draws to point at one object; the soft masks that clicks and boxes become.

Training and the tracker draw with these same functions, so that the network sees in use what it saw in
training. A real mask is 0 or 1 nearly everywhere; a box is a flat 0.5 and a click a smooth bump, so the three
cannot be confused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import ImageError, MaskError, PromptError
from .limits import MAX_POINTS, MAX_TEXT, check_count, check_text


@dataclass(frozen=True, eq=False)
class Prompt:
    """One object: words, one of mask, points or box, or both; checked and copied when made.

    text: one line of at most MAX_TEXT characters. mask: bool or uint8 [h,w], non-zero = object; kept as bool.
    points: (x, y) in pixels, with labels 1 (on the object, the default) or 0 (not on it). box: (x, y, width,
    height) in pixels. image: the frame these belong to when that is not the next one, uint8 RGB [h,w,3].
    Raises PromptError (the words, or nothing given), MaskError, ImageError, LimitError.
    """

    text: str | None = None
    mask: np.ndarray | None = None
    points: Sequence[tuple[float, float]] | None = None
    labels: Sequence[int] | None = None
    box: Sequence[float] | None = None
    image: np.ndarray | None = None

    def __post_init__(self) -> None:
        drawn = [name for name in ("mask", "points", "box") if getattr(self, name) is not None]
        if len(drawn) > 1:
            raise PromptError(f"a prompt has one of mask, points and box, found {' and '.join(drawn)}")
        if self.labels is not None and self.points is None:
            raise PromptError("labels belong to points, found none")
        if self.text is None and not self.drawn:
            raise PromptError("a prompt needs words, a mask, points or a box, found none")
        if self.image is not None and not self.drawn:
            raise PromptError("an image belongs to a mask, points or a box, found none")
        if self.mask is not None:
            check_mask(self.mask)
            self._keep(mask=self.mask != 0)
        if self.points is not None:
            points, labels = check_points(self.points, self.labels)
            self._keep(points=points, labels=labels)
        if self.box is not None:
            self._keep(box=check_box(self.box))
        if self.text is not None:
            self._keep(text=check_text(self.text, "the prompt", MAX_TEXT, PromptError))
        if self.image is not None:
            check_image(self.image)
            self._keep(image=self.image.copy())
            self.check(self.image.shape[:2])

    @property
    def drawn(self) -> bool:
        """Whether it has a mask, points or a box."""
        return self.mask is not None or self.points is not None or self.box is not None

    def check(self, size: tuple[int, int]) -> None:
        """Raise MaskError unless it fits a frame of (h, w)."""
        if self.mask is not None:
            check_mask(self.mask, size)
        for x, y in self.points or ():
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

    def _keep(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


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


def check_points(
    points: Sequence[tuple[float, float]], labels: Sequence[int] | None
) -> tuple[tuple[tuple[float, float], ...], tuple[int, ...]]:
    """Clicks and one label each. Raises MaskError: none given, more than MAX_POINTS, labels that do not
    match, no click on the object."""
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
    return numbers, tuple(chosen)


def check_box(box: Sequence[float]) -> tuple[float, ...]:
    """A box (x, y, width, height). Raises MaskError when it has no area."""
    numbers = tuple(float(value) for value in box)
    if len(numbers) != 4 or not np.isfinite(numbers).all() or numbers[2] < 1 or numbers[3] < 1:
        raise MaskError(f"a box is (x, y, width, height) with at least one pixel, found {numbers}")
    return numbers


POINT_SIGMA = 0.02
"""Width of a click's bump, as a part of sqrt(H * W): about 7 pixels at 256x448."""

BOX_VALUE = 0.5


def draw_points(
    points: Sequence[tuple[float, float]], labels: Sequence[int], size: tuple[int, int]
) -> np.ndarray:
    """Soft mask f32 [H,W] of clicks (x, y) in pixels of that size; label 1 raises a bump of 1, label 0
    presses one down."""
    height, width = size
    sigma = POINT_SIGMA * float(np.sqrt(height * width))
    mask = np.zeros(size, np.float32)
    for wanted in (1, 0):  # presses last, so that a press beside a bump always shows
        for (x, y), label in zip(points, labels, strict=True):
            if int(label) == wanted:
                bump = _bump(x, y, sigma, size)
                mask = np.maximum(mask, bump) if wanted else mask * (1 - bump)
    return mask


def draw_box(box: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
    """Soft mask f32 [H,W] of a box (x, y, width, height) in pixels of that size: 0.5 inside, 0 outside."""
    height, width = size
    x, y, w, h = box
    mask = np.zeros(size, np.float32)
    left, top = max(round(x), 0), max(round(y), 0)
    right, bottom = min(round(x + w), width), min(round(y + h), height)
    mask[top : max(bottom, top + 1), left : max(right, left + 1)] = BOX_VALUE
    return mask


def _bump(x: float, y: float, sigma: float, size: tuple[int, int]) -> np.ndarray:
    rows = np.exp(-0.5 * ((np.arange(size[0], dtype=np.float32) + 0.5 - y) / sigma) ** 2)
    columns = np.exp(-0.5 * ((np.arange(size[1], dtype=np.float32) + 0.5 - x) / sigma) ** 2)
    return rows[:, None] * columns[None, :]
