"""sensor_msgs images to and from numpy, on a robot: what `uniref_model.image_messages` decodes, and what
cv_bridge, which not every ROS installation can import, knows besides."""

from __future__ import annotations

import array
from typing import Any

import cv2
import numpy as np

from uniref_model.errors import ImageError
from uniref_model.image_messages import (
    IMAGE_ENCODINGS,
    MASK_ENCODINGS,
    EncodingError,
    TornImageError,
    compressed_to_rgb,
    decoded,
    depth_samples,
    image_fields,
    metres,
    one_object,
    reduced_to_rgb,
    to_mask,
)
from uniref_model.image_messages import to_rgb as known_to_rgb
from uniref_model.limits import MAX_PIXELS, quoted

__all__ = [
    "IMAGE_ENCODINGS",
    "MASK_ENCODINGS",
    "EncodingError",
    "TornImageError",
    "compressed_to_rgb",
    "decoded",
    "depth_samples",
    "fill_image",
    "fill_jpeg",
    "metres",
    "one_object",
    "reduced_to_rgb",
    "to_mask",
    "to_rgb",
]


_LONGEST_JPEG = 65_500  # pixels of a side, of libjpeg's


def to_rgb(message: Any, limit: int = MAX_PIXELS) -> np.ndarray:
    """As `image_messages.to_rgb`; cv_bridge, where it is installed, is asked for other encodings."""
    try:
        return known_to_rgb(message, limit)
    except EncodingError as refusal:
        return _by_cv_bridge(message, refusal)


def _by_cv_bridge(message: Any, refusal: EncodingError) -> np.ndarray:
    """What cv_bridge makes of an encoding that is not known here. Raises ImageError."""
    try:
        from cv_bridge import CvBridge
    except ImportError:
        raise refusal from None
    try:
        pixels = CvBridge().imgmsg_to_cv2(message, "rgb8")
    except Exception as error:  # of cv_bridge or of Boost, and what it raises depends on its version
        raise ImageError(f"{refusal}; cv_bridge says: {quoted(error, 200)}") from error
    return np.ascontiguousarray(pixels)


def fill_image(message: Any, pixels: np.ndarray, encoding: str, header: Any) -> Any:
    """Put uint8 or uint16 pixels [h,w] or [h,w,c] into a sensor_msgs/Image and return it.

    `encoding` must fit dtype and channels. Through array.array: assigning an ndarray or bytes to `data` makes
    rclpy check every element, which takes most of a second at 1080p.
    """
    fields = image_fields(pixels, encoding)
    data = fields.pop("data")
    for name, value in fields.items():
        setattr(message, name, value)
    message.header, message.data = header, _bytes(data)
    return message


def fill_jpeg(message: Any, rgb: np.ndarray, quality: int, header: Any) -> Any:
    """Compress RGB pixels uint8 [h,w,3] into a sensor_msgs/CompressedImage and return it. quality: 1 to
    100. Raises ImageError."""
    if max(rgb.shape[:2]) > _LONGEST_JPEG:  # OpenCV would write that to the terminal, for every image
        size = f"{rgb.shape[1]}x{rgb.shape[0]}"
        raise ImageError(f"an image of {size} pixels is no JPEG: expected at most {_LONGEST_JPEG} a side")
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ImageError(f"an image of shape {rgb.shape} could not be compressed as JPEG")
    message.header = header
    message.format = "rgb8; jpeg compressed bgr8"
    message.data = _bytes(data)
    return message


def _bytes(values: np.ndarray) -> array.array:
    data = array.array("B")
    if values.size:  # an empty memoryview cannot be cast
        data.frombytes(values.data.cast("B"))
    return data
