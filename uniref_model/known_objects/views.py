"""What makes a picture and a mask a view of one thing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..errors import KnownObjectError
from ..limits import MAX_VIEW_PIXELS
from ..pictures import write_png
from ..prompts import check_image, check_mask

LEAST_SHARE = 0.0005
"""Part of the picture that a view shows at least: 154 pixels of 640x480."""

MOST_SHARE = 0.9

_SECOND_SHARE = 0.25
"""A second piece of so much of the first one is a second thing, unless the gap between them is narrow."""

_GAP = 0.15
"""Of the mask's larger side: what lies in front of a thing (a finger, a cable) may cut it so wide."""


def check_view(image: np.ndarray, mask: np.ndarray) -> None:
    """Refuse what does not show one thing.

    image: uint8 RGB [h,w,3]. mask: bool or uint8 [h,w], non-zero = object. Raises KnownObjectError: it shows
    nothing, (nearly) everything, or two things; ImageError, MaskError for other types and shapes.
    """
    check_image(image)
    check_mask(mask, image.shape[:2]) if np.any(mask) else _refuse_nothing()
    area, whole = int(np.count_nonzero(mask)), mask.size
    if area < max(1.0, LEAST_SHARE * whole):
        raise KnownObjectError(
            f"the view shows next to nothing: {area} pixels of {mask.shape[1]}x{mask.shape[0]}, expected at "
            f"least {LEAST_SHARE:.2%} of the picture"
        )
    if area > MOST_SHARE * whole:
        raise KnownObjectError(
            f"the view shows everything: the mask covers {area / whole:.0%} of the picture, expected at most "
            f"{MOST_SHARE:.0%}"
        )
    pieces = _pieces(mask)
    if len(pieces) > 1 and pieces[1] >= _SECOND_SHARE * pieces[0]:
        raise KnownObjectError(
            f"the view shows two things: pieces of {pieces[0]} and {pieces[1]} pixels lie apart, expected one"
        )


def _refuse_nothing() -> None:
    raise KnownObjectError("the view shows nothing: the mask is empty")


def _pieces(mask: np.ndarray) -> list[int]:
    """Pixels of the mask's pieces, the largest first; what a narrow gap parts is one piece."""
    binary = (mask != 0).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(binary)
    crop = binary[y : y + height, x : x + width]
    reach = max(1, round(_GAP * max(width, height) / 2))
    grown = cv2.dilate(np.pad(crop, reach), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    labels = cv2.connectedComponents(grown)[1][reach : reach + height, reach : reach + width]
    return sorted(np.bincount(labels[crop > 0])[1:].tolist(), reverse=True)


def as_kept(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Picture and mask (0 and 255) as they are kept: at most MAX_VIEW_PIXELS."""
    height, width = mask.shape
    white = np.where(mask != 0, 255, 0).astype(np.uint8)
    scale = min(1.0, (MAX_VIEW_PIXELS / (height * width)) ** 0.5)
    if scale == 1.0:
        return image, white
    size = max(1, int(width * scale)), max(1, int(height * scale))
    shrunk = cv2.resize(white, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.where(shrunk > 127, 255, 0).astype(
        np.uint8
    )


def thumbnail(image: np.ndarray, mask: np.ndarray, side: int = 160) -> np.ndarray:
    """A small picture of what a view shows, uint8 RGB [h,w,3], its longer side at most `side`: cut out round
    the object, with everything else dimmed."""
    x, y, width, height = cv2.boundingRect((mask != 0).astype(np.uint8))
    margin = max(4, round(0.2 * max(width, height)))
    rows = slice(max(0, y - margin), y + height + margin)
    columns = slice(max(0, x - margin), x + width + margin)
    crop, shown = image[rows, columns], mask[rows, columns] != 0
    dimmed = np.where(shown[..., None], crop, crop // 3 + 20).astype(np.uint8)
    scale = min(1.0, side / max(shown.shape))
    size = max(1, round(shown.shape[1] * scale)), max(1, round(shown.shape[0] * scale))
    return cv2.resize(dimmed, size, interpolation=cv2.INTER_AREA)


def contact_sheet(views: Sequence[tuple[np.ndarray, np.ndarray]], path: Path, side: int = 240) -> None:
    """Write the thumbnails of views (picture, mask) beside one another as one PNG. Raises SourceError."""
    small = [thumbnail(image, mask, side) for image, mask in views]
    sheet = np.full((side, (side + 4) * len(small), 3), 255, np.uint8)
    for index, picture in enumerate(small):
        height, width = picture.shape[:2]
        left = index * (side + 4) + (side - width) // 2
        sheet[(side - height) // 2 :][:height, left : left + width] = picture
    write_png(path, cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
