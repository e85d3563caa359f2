"""Label images as palette PNGs, as DAVIS and YouTube-VOS publish them, and masks of 0 and 255.

Pillow is used because OpenCV cannot write palettes. It is imported when something is written, since
`uniref track` does without it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import SourceError

if TYPE_CHECKING:
    from PIL import Image


def pillow() -> Any:
    """The module PIL.Image. Raises SourceError."""
    try:
        from PIL import Image
    except ImportError as error:
        raise SourceError(f"label images with a palette need Pillow ({error}): pip install pillow") from error
    return Image


def davis_palette() -> list[int]:
    """The 256-colour palette of DAVIS and PASCAL VOC, flat R,G,B: the bits of the index dealt to the three
    channels."""
    colours = np.zeros((256, 3), np.uint8)
    index = np.arange(256)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours.ravel().tolist()


def write_labels(path: Path, labels: np.ndarray, palette: list[int]) -> None:
    """Write a label image (integers 0..255, [h,w]) as a palette PNG. Raises ValueError for a label over
    255."""
    if labels.size and int(labels.max()) > 255:
        raise ValueError(f"{path}: label {int(labels.max())} does not fit an 8-bit PNG")
    image = pillow().fromarray(labels.astype(np.uint8))
    image.putpalette(palette)
    _save(path, image)


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write a bool [h,w] mask as a grey PNG of 0 and 255."""
    _save(path, pillow().fromarray(mask.astype(np.uint8) * 255))


def _save(path: Path, image: Image.Image) -> None:
    # a stopped run must not leave half a file under the final name
    partial = path.with_name(f".{path.name}.partial")
    image.save(partial, format="PNG")
    os.replace(partial, path)
