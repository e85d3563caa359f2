"""Depth as compressed_depth_image_transport sends it: a PNG behind a header of twelve bytes.

For 16UC1 the PNG holds millimetres; for 32FC1 inverse depths of 16 bits, quantised with two numbers of the
header (`depthQuantA`, `depthQuantB` of that package's codec). Uses attributes of messages only, no ROS.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from uniref_model.errors import ImageError
from uniref_model.limits import MAX_PIXELS, quoted
from uniref_model.picture_size import check_picture, picture_format
from uniref_ros.conversion import decoded

_HEADER = struct.Struct("<iff")  # form, quantisation A and B
ENCODINGS = ("16UC1", "32FC1")


def encoding_of(message: Any, limit: int = MAX_PIXELS) -> str:
    """The encoding of the depth image inside a sensor_msgs/CompressedImage. Looks at no pixel. Raises
    ImageError when it is no such message, LimitError when it states more than `limit` pixels."""
    return _stated(message, limit)[0]


def _stated(message: Any, limit: int) -> tuple[str, tuple[int, int]]:
    """The encoding and the size (width, height)."""
    encoding = message.format.partition(";")[0].strip()
    if encoding not in ENCODINGS:
        raise ImageError(
            f"compressed depth of format {quoted(message.format)}, expected one that begins with "
            f"{' or '.join(ENCODINGS)}"
        )
    picture = memoryview(message.data)[_HEADER.size :]
    if picture_format(picture) != "PNG":
        raise ImageError(
            f"{len(message.data)} bytes of compressed depth (format {quoted(message.format)}) without a PNG "
            f"behind the header of {_HEADER.size} bytes; expected compressedDepth with png, not rvl nor "
            "compressed"
        )
    return encoding, check_picture(picture, "compressed depth", limit)


def depth_samples(message: Any, limit: int = MAX_PIXELS) -> np.ndarray:
    """The samples of the depth image inside, u16 mm or f32 m (NaN where unknown) [height,width]. Raises
    ImageError, LimitError."""
    encoding, size = _stated(message, limit)
    data = np.frombuffer(message.data, np.uint8)
    pixels = decoded(data[_HEADER.size :], cv2.IMREAD_UNCHANGED, size, "compressed depth")
    if pixels.dtype != np.uint16 or pixels.ndim != 2:
        found = f"{pixels.dtype} {pixels.shape}"
        raise ImageError(f"compressed depth holds {found}, expected 16 bits of one channel")
    if encoding == "16UC1":
        return pixels
    _, a, b = _HEADER.unpack_from(message.data)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.float32(a) / (pixels.astype(np.float32) - np.float32(b))
    depth[pixels == 0] = np.nan
    return depth
