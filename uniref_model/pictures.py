"""Picture and mask files: their size is known before they are decoded, and a mask's form is never guessed.

A mask file is a label image (every value one object) or one object (a black and white mask, or the opaque
part of a cut-out). A palette PNG is a label image. A grey one is too, unless its values lie in rims a pixel
wide, as smoothing, resizing and JPEG leave them: then it is refused, and the error says what to do.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .errors import ImageError, MaskError, SourceError
from .limits import MAX_PIXELS
from .outputs import show, write_whole
from .picture_size import check_picture, picture_format
from .reading import read_bytes

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

IGNORE_LABEL = 255
"""In a label image with other labels: pixels that belong to nobody (the habit of DAVIS and YouTube-VOS)."""

MASK_FORMS = ("auto", "labels", "object")

_IN_RIMS = 0.8
"""Share of a value's pixels between a lower and a higher one from which it is no label."""


def natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key under which frame2 comes before frame10."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts if part]


def list_images(folder: Path) -> list[Path]:
    """The picture files of a folder in natural order, but for hidden ones (a Mac's `._` files are none)."""
    found = (p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    return sorted(found, key=natural)


def read_image(path: Path, max_pixels: int = MAX_PIXELS, *, turned: bool = True) -> np.ndarray:
    """uint8 RGB [h,w,3] of an image file. turned: as a camera's note of how it was held says.

    Raises SourceError, also for one that is cut short, and LimitError for one that is too large.
    """
    mode = cv2.IMREAD_COLOR if turned else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.cvtColor(_decode(_read(path, max_pixels), mode, path), cv2.COLOR_BGR2RGB)


@dataclass(frozen=True, eq=False)
class GivenMask:
    """An object of a mask file: bool [h,w] with an object in it, and its label, None where it has none."""

    mask: np.ndarray
    label: int | None


def read_masks(path: Path, form: str = "auto", max_pixels: int = MAX_PIXELS) -> list[GivenMask]:
    """The objects of a mask file, by label.

    form: "labels" (every value but 0 is one object, 255 beside others none), "object" (one object: what is at
    least half white, or half opaque), or "auto" (see above). Raises SourceError for a file that is no mask,
    MaskError for one that is empty or whose form cannot be told.
    """
    if form not in MASK_FORMS:
        raise MaskError(f"the mask's form is {form!r}, expected one of {', '.join(MASK_FORMS)}")
    data = _read(path, max_pixels)
    if form != "labels" and (opaque := _opaque(data, path)) is not None:
        return [GivenMask(_not_empty(opaque, path), None)]
    labels = _labels(data, path)
    if form == "object":
        return [GivenMask(_not_empty(labels > 127, path), None)]
    values = [int(value) for value in np.unique(labels) if value]
    if len(values) > 1 and form == "auto" and not _palette_bits(data):
        _check_labels(labels, values, path, lossy=picture_format(data) == "JPEG")
    if len(values) > 1:
        values = [value for value in values if value != IGNORE_LABEL]
    _not_empty(labels > 0, path)
    alone = values == [IGNORE_LABEL]
    return [GivenMask(labels == value, None if alone else value) for value in values]


def read_labels(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """uint8 [h,w]: values of a grey label image, indices of a palette PNG. Raises SourceError."""
    return _labels(_read(path, max_pixels), path)


def write_png(path: Path, image: np.ndarray, *, durable: bool = False) -> None:
    """uint8 [h,w] or BGR [h,w,3] as a PNG. durable: see `outputs.writing`. Raises SourceError."""
    good, data = cv2.imencode(".png", image)
    if not good:
        raise SourceError(f"cannot write {show(path)}: OpenCV makes no PNG of {image.dtype} {image.shape}")
    write_whole(path, data.tobytes(), durable=durable)


def _read(path: Path, max_pixels: int) -> bytes:
    """A picture file's bytes, when they are whole and state an allowed size."""
    try:
        data = read_bytes(path, ordinary=True)
    except OSError as error:
        raise SourceError(f"cannot read {show(path)}: {error.strerror or error}") from error
    try:
        check_picture(data, show(path), max_pixels)
    except ImageError as error:
        raise SourceError(str(error)) from error
    if _is_cut(data):
        raise SourceError(f"{show(path)} is cut short after {len(data)} bytes")
    return data


def _is_cut(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end; some OpenCVs decode such a file, half grey, without a word."""
    form = picture_format(data)
    if form == "JPEG":
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    return form == "PNG" and b"IEND" not in data


def _decode(data: bytes, mode: int, path: Path) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    if image is None:
        raise SourceError(f"{show(path)} is not an image that OpenCV can decode ({len(data)} bytes)")
    return image


def _labels(data: bytes, path: Path) -> np.ndarray:
    bits = _palette_bits(data)
    image = _decode(_drop_palette(data) if bits else data, cv2.IMREAD_UNCHANGED, path)
    if bits:
        image = image // (255 // (2**bits - 1))  # grey of few bits is decoded to the full range
    if image.dtype != np.uint8:
        raise SourceError(f"the mask {show(path)} has {image.dtype} pixels, expected an 8-bit image")
    if image.ndim == 3:
        if (image[..., :1] != image[..., :3]).any():
            raise SourceError(
                f"the mask {show(path)} is a colour image, expected one channel whose values are labels"
            )
        image = image[..., 0]
    return np.ascontiguousarray(image)


def _opaque(data: bytes, path: Path) -> np.ndarray | None:
    """Where a cut-out is opaque, bool [h,w]; None for a picture without alpha, or opaque all over."""
    if _palette_bits(data):
        return None
    image = _decode(data, cv2.IMREAD_UNCHANGED, path)
    if image.ndim != 3 or image.shape[2] not in (2, 4):
        return None
    alpha = image[..., -1]
    half = np.iinfo(image.dtype).max // 2 if image.dtype.kind == "u" else 0.5
    return None if (alpha > half).all() else alpha > half


def _check_labels(labels: np.ndarray, values: list[int], path: Path, *, lossy: bool) -> None:
    """Refuse values that are no labels: of a lossy format, or in rims, as smoothing and resizing leave them,
    where a pixel has a lower one on one side and a higher one on the other."""
    kernel = np.ones((3, 3), np.uint8)
    between = (cv2.erode(labels, kernel) < labels) & (labels < cv2.dilate(labels, kernel))
    thin = [value for value in values if between[labels == value].mean() > _IN_RIMS]
    if not thin and not lossy:
        return
    shown = ", ".join(map(str, thin[:5])) + (", …" if len(thin) > 5 else "")
    found = "in a JPEG, which changes values"
    if not lossy:
        found = f"of which {len(thin)} ({shown}) lie in thin rims"
    raise MaskError(
        f"the mask {show(path)} has {len(values)} values, {found}: say --mask-form object if it is one "
        "object that was smoothed or resized (half white counts), or --mask-form labels if each value is one"
    )


def _not_empty(mask: np.ndarray, path: Path) -> np.ndarray:
    if not mask.any():
        raise MaskError(f"the mask {show(path)} is empty: no pixel belongs to an object")
    return mask


_PNG_COLOUR_TYPE = 25  # offset: signature 8, chunk length 4, "IHDR" 4, width 4, height 4, bit depth 1


def _palette_bits(data: bytes) -> int:
    """Bits per index of a palette PNG, 0 for anything else."""
    is_palette = picture_format(data) == "PNG" and len(data) > 33 and data[_PNG_COLOUR_TYPE] == 3
    return data[_PNG_COLOUR_TYPE - 1] if is_palette else 0


def _drop_palette(data: bytes) -> bytes:
    """A palette PNG declared grey, so that OpenCV decodes its indices and not their colours."""
    header = data[12:_PNG_COLOUR_TYPE] + b"\0" + data[_PNG_COLOUR_TYPE + 1 : 29]
    parts = [data[:12], header, zlib.crc32(header).to_bytes(4, "big")]
    place = 33
    while place + 8 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] not in (b"PLTE", b"tRNS"):
            parts.append(data[place:end])
        place = end
    return b"".join(parts)
