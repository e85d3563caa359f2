"""sensor_msgs images to numpy and back, whatever made the messages: rclpy, rosbags, or a test.

The common encodings are decoded here, to the values cv_bridge gives. Only the attributes of the messages are
used, so a bag is decoded as the node decodes what it hears, without ROS.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from .errors import ImageError, MaskError
from .limits import MAX_PIXELS, check_pixels, quoted
from .picture_size import check_picture, picture_format


class EncodingError(ImageError):
    """An image of an encoding that is not known here."""


class TornImageError(ImageError):
    """An image that came without all its bytes: something between its publisher and us cut it."""


@dataclass(frozen=True)
class _Encoding:
    """How one encoding is stored. channels: samples a pixel, of `dtype`. code: OpenCV conversion to RGB, or
    None.

    rows: rows of data for 2 rows of image (planar 4:2:0 has 3). even: width (and, planar, height) must be
    even.
    """

    channels: int
    code: int | None
    dtype: str = "u1"
    rows: int = 2
    even: bool = False


def _encodings() -> dict[str, _Encoding]:
    table = {
        "rgb8": _Encoding(3, None),
        "bgr8": _Encoding(3, cv2.COLOR_BGR2RGB),
        "rgba8": _Encoding(4, cv2.COLOR_RGBA2RGB),
        "bgra8": _Encoding(4, cv2.COLOR_BGRA2RGB),
        "mono8": _Encoding(1, cv2.COLOR_GRAY2RGB),
        "rgb16": _Encoding(3, None, "u2"),
        "bgr16": _Encoding(3, cv2.COLOR_BGR2RGB, "u2"),
        "rgba16": _Encoding(4, cv2.COLOR_RGBA2RGB, "u2"),
        "bgra16": _Encoding(4, cv2.COLOR_BGRA2RGB, "u2"),
        "mono16": _Encoding(1, cv2.COLOR_GRAY2RGB, "u2"),
        # Type names without colour: OpenCV's own order is meant, as in cv_bridge.
        "8UC1": _Encoding(1, cv2.COLOR_GRAY2RGB),
        "8UC3": _Encoding(3, cv2.COLOR_BGR2RGB),
        "8UC4": _Encoding(4, cv2.COLOR_BGRA2RGB),
        "16UC1": _Encoding(1, cv2.COLOR_GRAY2RGB, "u2"),
        "yuv422": _Encoding(2, cv2.COLOR_YUV2RGB_UYVY, even=True),
        "uyvy": _Encoding(2, cv2.COLOR_YUV2RGB_UYVY, even=True),
        "yuv422_yuy2": _Encoding(2, cv2.COLOR_YUV2RGB_YUY2, even=True),
        "yuyv": _Encoding(2, cv2.COLOR_YUV2RGB_YUY2, even=True),
        "nv12": _Encoding(1, cv2.COLOR_YUV2RGB_NV12, rows=3, even=True),
        "nv21": _Encoding(1, cv2.COLOR_YUV2RGB_NV21, rows=3, even=True),
    }
    # OpenCV names a Bayer pattern by its second row, ROS by its first.
    for pattern, code in (
        ("rggb", cv2.COLOR_BayerBG2RGB),
        ("bggr", cv2.COLOR_BayerRG2RGB),
        ("gbrg", cv2.COLOR_BayerGR2RGB),
        ("grbg", cv2.COLOR_BayerGB2RGB),
    ):
        table[f"bayer_{pattern}8"] = _Encoding(1, code)
        table[f"bayer_{pattern}16"] = _Encoding(1, code, "u2")
    return table


_ENCODINGS = _encodings()

IMAGE_ENCODINGS: tuple[str, ...] = tuple(_ENCODINGS)
"""Encodings `to_rgb` accepts."""

MASK_ENCODINGS: tuple[str, ...] = ("mono8", "8UC1", "mono16", "16UC1")
"""Encodings `to_mask` accepts."""


def to_rgb(message: Any, limit: int = MAX_PIXELS) -> np.ndarray:
    """The pixels of a sensor_msgs/Image, uint8 [height,width,3] RGB.

    16-bit samples are scaled by 255/65535. The result may share memory with the message. Raises ImageError
    saying what was wrong and what is accepted, EncodingError for an unknown encoding, TornImageError for an
    image that lacks bytes, LimitError for more than `limit` pixels.
    """
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        name = quoted(message.encoding)
        check_pixels(message.width, message.height, f"an image of encoding {name}", limit)
        raise EncodingError(
            f"image encoding {name} is not supported, expected one of {', '.join(IMAGE_ENCODINGS)}"
        )
    if encoding.even and (message.width % 2 or (encoding.rows == 3 and message.height % 2)):
        raise ImageError(
            f"a {message.encoding} image of {message.width}x{message.height} pixels: expected even sizes"
        )
    return _coloured(_pixels(message, encoding, TornImageError, limit), encoding)


def _coloured(pixels: np.ndarray, encoding: _Encoding) -> np.ndarray:
    """Samples of an encoding as RGB, uint8 [h,w,3]."""
    if encoding.code is not None:
        pixels = cv2.cvtColor(pixels, encoding.code)
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=255 / 65535)
    return np.ascontiguousarray(pixels)


def compressed_to_rgb(message: Any, limit: int = MAX_PIXELS) -> np.ndarray:
    """The pixels of a sensor_msgs/CompressedImage (JPEG, PNG, whatever OpenCV and `picture_size` read), uint8
    [height,width,3] RGB.

    The message's `format` says what the pixels mean, as compressed_image_transport writes it: a Bayer mosaic
    that was compressed as it is, is demosaiced. EXIF rotation is ignored: masks must lie on the pixel grid
    the camera sent. Raises ImageError, TornImageError, LimitError when it states more than `limit` pixels.
    """
    return reduced_to_rgb(message, None, limit)[0]


def reduced_to_rgb(
    message: Any, least: tuple[int, int] | None, limit: int = MAX_PIXELS
) -> tuple[np.ndarray, tuple[int, int]]:
    """As `compressed_to_rgb`, of a JPEG at a half, quarter or eighth of its size, and (height, width) of the
    whole picture.

    libjpeg then computes only these pixels, each the mean of those that it stands for. least: (height, width)
    below which it is not reduced; nor is it where a side would not come out even, as then positions would
    not be the same. None: the whole picture.
    """
    what = f"a compressed image (format {quoted(message.format)})"
    data = np.frombuffer(message.data, dtype=np.uint8)
    if data.size == 0:
        raise ImageError(f"{what} without data")
    size = check_picture(data.data, what, limit)
    if _is_cut_jpeg(data):
        raise TornImageError(f"{data.size} bytes of {what}: the JPEG has no end")
    mosaic = _mosaic_in(message.format)
    whole = size[1], size[0]
    if mosaic is None:
        part = _reduction(whole, least) if picture_format(data.data) == "JPEG" else 1
        pixels = decoded(data, _REDUCED[part], (size[0] // part, size[1] // part), what)
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), whole
    samples = decoded(data, cv2.IMREAD_UNCHANGED, size, what)
    if samples.ndim != 2 or samples.dtype not in (np.uint8, np.uint16):
        channels = 1 if samples.ndim == 2 else samples.shape[2]
        raise ImageError(
            f"{what} holds {channels} channels of {samples.dtype}, expected a mosaic: one, of 8 or 16 bits"
        )
    return _coloured(samples, mosaic), whole


_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def _reduction(whole: tuple[int, int], least: tuple[int, int] | None) -> int:
    """By what both sides (height, width) may be divided and still be at least as long."""
    if least is None:
        return 1
    return max(
        part
        for part in _REDUCED
        if part == 1 or all(s % part == 0 and s // part >= e for s, e in zip(whole, least, strict=True))
    )


def _mosaic_in(form: str) -> _Encoding | None:
    """The Bayer encoding of the pixels in a compressed image of this format, None when they are none.

    The format is "jpeg", or "bayer_rggb8; jpeg compressed bgr8": the camera's encoding, the codec, and what
    was compressed; the last is missing where that is the camera's encoding. Raises ImageError for a mosaic
    that is not known.
    """
    source, _, codec = form.partition(";")
    pixels = codec.partition("compressed")[2].strip() or source.strip()
    if "bayer" not in pixels.lower():
        return None
    if not pixels.lower().startswith("bayer_") or pixels.lower() not in _ENCODINGS:
        patterns = ", ".join(name for name in _ENCODINGS if name.startswith("bayer_"))
        raise ImageError(f"a compressed image of format {quoted(form)}: expected one of {patterns}")
    return _ENCODINGS[pixels.lower()]


def decoded(data: np.ndarray, flags: int, size: tuple[int, int], what: str) -> np.ndarray:
    """What OpenCV makes of a picture file's bytes, without turning it. size: (width, height) that it states.
    Raises ImageError."""
    try:
        # IMREAD_UNCHANGED is all bits set, and turns nothing.
        picture = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except (cv2.error, MemoryError) as error:
        raise ImageError(f"{what} could not be decoded: {getattr(error, 'err', error)}") from error
    if picture is None:
        raise ImageError(f"{what} holds no picture that could be decoded ({data.size} bytes)")
    if (picture.shape[1], picture.shape[0]) != size:
        raise ImageError(f"{what} states {size} pixels and holds {picture.shape[1::-1]}")
    return picture


def _is_cut_jpeg(data: np.ndarray) -> bool:
    """Whether bytes uint8 [n] begin a JPEG that never ends. OpenCV decodes such a picture half, without a
    word. Cameras may put zeros or a few bytes of their own behind the end."""
    if data[:2].tobytes() != b"\xff\xd8":
        return False
    if b"\xff\xd9" in data[-1024:].tobytes():
        return False
    return b"\xff\xd9" not in data.tobytes().rstrip(b"\0")[-1024:]


_DEPTH = {
    "16UC1": _Encoding(1, None, "u2"),
    "mono16": _Encoding(1, None, "u2"),
    "32FC1": _Encoding(1, None, "f4"),
}


_FARTHEST = np.float32(1e6)  # m; of more, positions would be no float32


def metres(samples: np.ndarray) -> np.ndarray:
    """Depth samples, u16 mm or f32 m, as f32 m; 0 where unknown (0, not finite, negative, 65535 mm, and what
    is farther than any sensor sees)."""
    if samples.dtype == np.uint16:
        depth = samples.astype(np.float32) * np.float32(0.001)
        depth[samples == np.iinfo(np.uint16).max] = 0
        return depth
    return np.where((samples > 0) & (samples < _FARTHEST), samples, np.float32(0))  # not-a-number is neither


def depth_samples(message: Any, limit: int = MAX_PIXELS) -> np.ndarray:
    """The samples of a depth image as they are, u16 or f32 [height,width]. Raises ImageError, LimitError."""
    encoding = _DEPTH.get(message.encoding)
    if encoding is None:
        raise ImageError(
            f"depth encoding {quoted(message.encoding)} is not supported, expected one of {', '.join(_DEPTH)}"
        )
    return _pixels(message, encoding, ImageError, limit)


def to_mask(message: Any, limit: int = MAX_PIXELS) -> np.ndarray:
    """The values of a mask image, uint8 or uint16 [height,width]. Raises MaskError, LimitError."""
    if message.encoding not in MASK_ENCODINGS:
        raise MaskError(
            f"mask encoding {quoted(message.encoding)} is not supported, expected "
            f"{' or '.join(MASK_ENCODINGS)}"
        )
    return _pixels(message, _ENCODINGS[message.encoding], MaskError, limit)


def one_object(values: np.ndarray) -> np.ndarray:
    """The object of an 8-bit mask, bool [height,width]: what is not 0. values: uint8 [height,width].

    Such a mask holds 0 and one other value. With more it is a soft or antialiased mask or one of many
    objects, and which pixels are meant cannot be told from the values: MaskError says so.
    """
    mask = values != 0
    if (values[mask] != values.max()).any():
        raise MaskError(
            f"the 8-bit mask holds {len(np.unique(values[mask]))} values besides 0, expected one: threshold "
            "a soft mask at half, and send one of many objects as mono16, one value an object"
        )
    return mask


def _pixels(message: Any, encoding: _Encoding, torn: Callable[[str], Exception], limit: int) -> np.ndarray:
    """A view [rows,width(,channels)] of the message's samples in this machine's byte order, padding left
    out. Raises ImageError or MaskError, what `torn` makes when bytes are missing, and LimitError."""
    error = MaskError if torn is MaskError else ImageError
    width, height, name = message.width, message.height, message.encoding
    if width == 0 or height == 0:
        raise error(f"an image of {width}x{height} pixels: expected at least 1x1")
    dtype = np.dtype(encoding.dtype).newbyteorder(">" if message.is_bigendian else "<")
    row = width * encoding.channels * dtype.itemsize
    step = message.step or row  # some drivers leave it 0 when rows are not padded
    rows = height * encoding.rows // 2
    if step < row:
        raise error(f"image step is {step}, expected at least {row} for {width} pixels of {name}")
    if len(message.data) < rows * step:
        raise torn(
            f"{len(message.data)} bytes of image data, expected {rows * step} for {width}x{height} {name} "
            f"with step {step}"
        )
    check_pixels(width, height, f"an image of encoding {name}", limit)
    data = np.frombuffer(message.data, dtype=np.uint8, count=rows * step).reshape(rows, step)[:, :row]
    if dtype.itemsize > 1:
        data = np.ascontiguousarray(data).view(dtype).astype(dtype.newbyteorder("="), copy=False)
    return (
        data.reshape(rows, width) if encoding.channels == 1 else data.reshape(rows, width, encoding.channels)
    )


def image_fields(pixels: np.ndarray, encoding: str) -> dict[str, Any]:
    """The fields of a sensor_msgs/Image but its header, of uint8 or uint16 pixels [h,w] or [h,w,c]; data is
    uint8 [h*step]. `encoding` must fit dtype and channels."""
    pixels = np.ascontiguousarray(pixels)
    return {
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "encoding": encoding,
        "is_bigendian": int(sys.byteorder == "big"),
        "step": pixels.strides[0] if pixels.shape[0] else 0,
        "data": pixels.reshape(-1).view(np.uint8),
    }
