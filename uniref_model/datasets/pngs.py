"""Label images on disk: palette PNGs as DAVIS and YouTube-VOS publish them, and 0/255 masks.

Pillow is used because OpenCV replaces palette indices by colours on reading.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from .. import pictures
from ..label_pngs import davis_palette
from .errors import DatasetError
from .names import as_dataset_error


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
