"""Label images on disk: palette PNGs as DAVIS and YouTube-VOS publish them, and 0/255 masks.

Pillow is used because OpenCV replaces palette indices by colours on reading.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from .. import pictures
from ..errors import SourceError
from ..label_pngs import davis_palette
from ..limits import LimitError
from ..picture_size import check_picture
from ..reading import read_bytes
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
    with _opened(path) as image:
        if image.mode not in ("P", "L"):
            raise DatasetError(f"{path} is a {image.mode} image, expected a palette or grey PNG of labels")
        image.load()
        palette = image.getpalette()
    return palette + [0] * (768 - len(palette)) if palette else davis_palette()


def read_image(path: Path) -> np.ndarray:
    """RGB image uint8 [h,w,3]. Raises DatasetError when it is missing or unreadable."""
    with _opened(path) as image:
        return np.array(image.convert("RGB"))


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from an image's header. Raises DatasetError when it is missing or unreadable."""
    with _opened(path) as image:
        return image.height, image.width


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image, of which no pixel is decoded yet, when it states no more than is allowed. Raises
    DatasetError, also for what goes wrong within."""
    if not path.exists():
        raise DatasetError(f"missing file {path}")
    try:
        data = read_bytes(path, ordinary=True)
        check_picture(data, "it")
        with Image.open(io.BytesIO(data)) as image:
            yield image
    # Pillow's decoders raise more than OSError at what is damaged, and an error of its own at what is huge
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, LimitError, SourceError) as error:
        raise DatasetError(f"{path} is not a readable image: {error}") from error
