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

_HEADER = struct.Struct("<iff")  # form, quantisation A and B
_PNG = b"\x89PNG\r\n\x1a\n"
ENCODINGS = ("16UC1", "32FC1")


def encoding_of(message: Any) -> str:
    """The encoding of the depth image inside a sensor_msgs/CompressedImage. Looks at no pixel. Raises
    ImageError when it is no such message."""
    encoding = message.format.partition(";")[0].strip()
    if encoding not in ENCODINGS:
        raise ImageError(
            f"compressed depth of format {message.format!r}, expected one that begins with "
            f"{' or '.join(ENCODINGS)}"
        )
    start = bytes(message.data[_HEADER.size : _HEADER.size + len(_PNG)])
    if start != _PNG:
        raise ImageError(
            f"{len(message.data)} bytes of compressed depth (format {message.format!r}) without a PNG behind "
            f"the header of {_HEADER.size} bytes; expected compressedDepth with png, not rvl nor compressed"
        )
    return encoding


def depth_samples(message: Any) -> np.ndarray:
    """The samples of the depth image inside, u16 mm or f32 m (NaN where unknown) [height,width]. Raises
    ImageError."""
    encoding = encoding_of(message)
    data = np.frombuffer(message.data, np.uint8)
    try:
        pixels = cv2.imdecode(data[_HEADER.size :], cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(f"compressed depth could not be decoded: {error.err}") from error
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 2:
        found = "no picture" if pixels is None else f"{pixels.dtype} {pixels.shape}"
        raise ImageError(f"compressed depth holds {found}, expected 16 bits of one channel")
    if encoding == "16UC1":
        return pixels
    _, a, b = _HEADER.unpack_from(data)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.float32(a) / (pixels.astype(np.float32) - np.float32(b))
    depth[pixels == 0] = np.nan
    return depth
