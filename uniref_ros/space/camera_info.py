"""Depth images and camera infos, and which belong to an image. Uses attributes of messages only, no ROS."""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import Any

from uniref_model.limits import check_count, check_name, quoted
from uniref_ros.space.surface import GeometryError, Intrinsics

_POLYNOMIAL = ("", "plumb_bob", "rational_polynomial")
_COEFFICIENTS = (4, 5, 8, 12, 14)
"""Lengths of a polynomial distortion that OpenCV takes."""
_MOST_COEFFICIENTS = 64  # of a distortion, zeros that some drivers append and all
_SHORTEST, _FARTHEST = 1e-3, 1e7
"""px. No camera has a shorter focal length, nor one or a principal point beyond: rays would be no float32."""


class DepthRing:
    """The last depth images, and the one nearest in time to the image in hand. Constant memory, safe between
    threads."""

    def __init__(self, size: int = 10) -> None:
        """size: depth images kept. They may be older than the image in hand by so many; newer ones are
        compared as they come, so that a slow network does not make them miss it."""
        self._held: deque[Any] = deque(maxlen=size)
        self._wanted: float | None = None  # the stamp of the image in hand, s
        self._best: Any = None
        self._lock = threading.Lock()

    def put(self, message: Any) -> None:
        """Keep a depth image."""
        with self._lock:
            self._held.append(message)
            self._compare(message)

    def expect(self, stamp: Any) -> None:
        """An image with this stamp (builtin_interfaces/Time) is in hand from now on."""
        with self._lock:
            self._wanted, self._best = seconds(stamp), None
            for message in self._held:
                self._compare(message)

    def nearest(self) -> tuple[Any, float] | None:
        """The depth image nearest in time to the image in hand, the newer of two, and by how many seconds it
        is later (negative: earlier). None when there is none."""
        with self._lock:
            if self._best is None or self._wanted is None:
                return None
            return self._best, seconds(self._best.header.stamp) - self._wanted

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._held.clear()
            self._wanted = self._best = None

    def _compare(self, message: Any) -> None:
        wanted = self._wanted
        if wanted is None:
            return
        distances = [
            abs(seconds(one.header.stamp) - wanted) for one in (message, self._best) if one is not None
        ]
        if distances[0] == min(distances):
            self._best = message


def seconds(stamp: Any) -> float:
    """A builtin_interfaces/Time as seconds."""
    return stamp.sec + stamp.nanosec * 1e-9


def check_info(info: Any) -> None:
    """Refuse a sensor_msgs/CameraInfo that is too large to be looked at for every image. Raises
    GeometryError."""
    check_count(len(info.d), "distortion coefficients of a camera info", _MOST_COEFFICIENTS, GeometryError)
    check_name(info.distortion_model, "the distortion model of a camera info", GeometryError)


def intrinsics_of(info: Any, *, rectified: bool) -> Intrinsics:
    """The camera that a sensor_msgs/CameraInfo describes, with its binning and region of interest applied.

    rectified: the image is, so that P holds for it; else K and the distortion D do. Raises GeometryError when
    it describes none.
    """
    fx, fy, cx, cy = _matrix(info, rectified)
    x, y = max(info.binning_x, 1), max(info.binning_y, 1)
    roi = info.roi
    width, height = (roi.width or info.width) // x, (roi.height or info.height) // y
    if not width or not height:
        raise GeometryError(f"the camera info is for {info.width}x{info.height} pixels")
    # Binning keeps the corner of the image, which is half a pixel before the first pixel's centre.
    cx, cy = (cx - roi.x_offset + 0.5) / x - 0.5, (cy - roi.y_offset + 0.5) / y - 0.5
    if max(abs(cx), abs(cy)) > _FARTHEST:
        raise GeometryError(
            f"the camera info's region of interest begins at ({roi.x_offset}, {roi.y_offset}) of "
            f"{info.width}x{info.height} pixels"
        )
    distortion, fisheye = ((), False) if rectified else _distortion(info)
    return Intrinsics(fx / x, fy / y, cx, cy, (height, width), distortion, fisheye)


def _matrix(info: Any, rectified: bool) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy."""
    p, k = list(info.p), list(info.k)
    values = (p[0], p[5], p[2], p[6]) if rectified and p[0] else (k[0], k[4], k[2], k[5])
    if not all(_SHORTEST <= value <= _FARTHEST for value in values[:2]):  # false for not-a-number
        raise GeometryError(
            f"the camera info's focal lengths are {values[0]:g} and {values[1]:g}: is the camera calibrated?"
        )
    if not all(abs(value) <= _FARTHEST for value in values[2:]):
        raise GeometryError(
            f"the camera info's principal point is ({values[2]:g}, {values[3]:g}): is the camera calibrated?"
        )
    return values


def _distortion(info: Any) -> tuple[tuple[float, ...], bool]:
    """Coefficients as OpenCV takes them, and whether they are the equidistant model's."""
    values, model = tuple(info.d), info.distortion_model
    if not any(values):
        return (), False
    if not all(map(math.isfinite, values)):
        raise GeometryError("the camera info's distortion is not finite")
    if model in _POLYNOMIAL and (fitting := _without_zeros(values, _COEFFICIENTS)):
        return fitting, False
    if model == "equidistant" and (fitting := _without_zeros(values, (4,))):
        return fitting, True
    raise GeometryError(
        f"distortion model {quoted(model)} with {len(values)} coefficients is not known; expected plumb_bob, "
        "rational_polynomial or equidistant, or a rectified image (parameter image_rectified)"
    )


def _without_zeros(values: tuple[float, ...], lengths: tuple[int, ...]) -> tuple[float, ...]:
    """The coefficients cut to the longest of these lengths beyond which there are only zeros, which some
    drivers append; empty when there is none."""
    fitting = (n for n in sorted(lengths, reverse=True) if n <= len(values) and not any(values[n:]))
    return values[: next(fitting, 0)]
