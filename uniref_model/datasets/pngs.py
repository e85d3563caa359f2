"""Label images on disk: palette PNGs as DAVIS and YouTube-VOS publish them, and 0/255 masks.

Pillow is used because OpenCV replaces palette indices by colours on reading and cannot write palettes.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from .. import pictures
from .errors import DatasetError
from .names import as_dataset_error


def davis_palette() -> list[int]:
    """The 256-colour palette of DAVIS and PASCAL VOC, flat R,G,B: the bits of the index dealt to the three
    channels."""
    colours = np.zeros((256, 3), np.uint8)
    index = np.arange(256)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours.ravel().tolist()


def read_labels(path: Path) -> np.ndarray:
    """Label image uint8 [h,w] of a palette or grey PNG, as the commands read them. Raises DatasetError."""
    if not path.exists():
        raise DatasetError(f"missing file {path}")
    with as_dataset_error():
        return pictures.read_labels(path)


def read_palette(path: Path) -> list[int]:
    """The palette of a label PNG, 768 values; the DAVIS one when it has none (grey)."""
    palette = _open(path, ("P", "L"))[1]
    return palette + [0] * (768 - len(palette)) if palette else davis_palette()


def read_image(path: Path) -> np.ndarray:
    """RGB image uint8 [h,w,3]. Raises DatasetError when it is missing or unreadable."""
    return _open(path, ())[0]


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from an image's header. Raises DatasetError when it is missing or unreadable."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, UnidentifiedImageError) as error:
        raise _unreadable(path, error) from error


def write_labels(path: Path, labels: np.ndarray, palette: list[int]) -> None:
    """Write a label image (integers 0..255, [h,w]) as a palette PNG. Raises ValueError for a label over
    255."""
    if labels.size and int(labels.max()) > 255:
        raise ValueError(f"{path}: label {int(labels.max())} does not fit an 8-bit PNG")
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(palette)
    _save(path, image)


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write a bool [h,w] mask as a grey PNG of 0 and 255."""
    _save(path, Image.fromarray(mask.astype(np.uint8) * 255))


def _save(path: Path, image: Image.Image) -> None:
    # a stopped run must not leave half a file under the final name
    partial = path.with_name(f".{path.name}.partial")
    image.save(partial, format="PNG")
    os.replace(partial, path)


def _open(path: Path, modes: tuple[str, ...]) -> tuple[np.ndarray, list[int] | None]:
    """Pixels and palette; `modes` are the Pillow modes accepted as they are, none means: convert to RGB."""
    try:
        with Image.open(path) as image:
            if modes and image.mode not in modes:
                raise DatasetError(
                    f"{path} is a {image.mode} image, expected a palette or grey PNG of labels"
                )
            return np.array(image if modes else image.convert("RGB")), image.getpalette()
    except (OSError, UnidentifiedImageError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DatasetError:
    if not path.exists():
        return DatasetError(f"missing file {path}")
    return DatasetError(f"{path} is not a readable image: {error}")
