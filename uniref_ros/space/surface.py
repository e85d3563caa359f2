"""Where a masked object is, from an aligned depth image. Numpy and OpenCV only, no ROS.

Frames are the camera's optical frame: x right, y down, z forward, metres. Pixel centres lie at whole numbers,
as in CameraInfo, so the left edge of an image is at -0.5.

An object's surface is what remains of its mask's depth pixels without

- jump edges: where the depth bends much more from pixel to pixel than is usual on this object, pixels mix
  object and background and lie in the air between them;
- everything outside the dominant mode of depth: of the runs of depth that hold pixels, parted by gaps, the
  one with the most pixels. So a mask that spills over onto the wall behind, or a hand in front, does no harm,
  while a long object seen end on keeps both its ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from uniref_model.errors import UniRefError

MIN_POINTS = 12
"""An object with fewer usable depth pixels has no position."""
MAX_PIXELS = 60_000
"""Depth pixels of a box looked at; of larger boxes every second (third, …) row and column is taken."""
ASPECT_TOLERANCE = 0.02
"""By how much (relative) two images' aspects may differ and still be one picture at two sizes."""

_STEEPEST = 1000.0  # x/z or y/z: further to the side no camera sees
_BEND_LEAST = 0.02  # m at 1 m, a bend of the depth over three pixels in a row that is never called an edge
_BEND_USUAL = 4.0  # times the object's own median of it
_BIN = 0.015  # width of a bin of the depth histogram, relative to the depth
_GAP = 3  # empty bins in a row that part two runs of depth
_SPARSE = 0.02  # a bin with less than this part of the fullest bin counts as empty
_TAIL = 0.5  # per cent of the points left out at either end of an extent
_RIM = 5  # px, side of the window in which a pixel at the mask's edge borrows its depth


class GeometryError(UniRefError, ValueError):
    """Depth, image and camera do not fit together."""


@dataclass(frozen=True)
class Intrinsics:
    """A camera: fx, fy, cx, cy in pixels of an image of `size` (h, w).

    distortion: OpenCV's coefficients, empty for an image without distortion. fisheye: they are the four of
    the equidistant model.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    size: tuple[int, int]
    distortion: tuple[float, ...] = ()
    fisheye: bool = False

    def scaled(self, size: tuple[int, int]) -> Intrinsics:
        """The same camera for its picture at another size (h, w). Raises GeometryError for another aspect."""
        check_aspect(self.size, size, "the camera info is for", "the image has")
        y, x = size[0] / self.size[0], size[1] / self.size[1]
        return replace(
            self,
            fx=self.fx * x,
            fy=self.fy * y,
            cx=(self.cx + 0.5) * x - 0.5,
            cy=(self.cy + 0.5) * y - 0.5,
            size=size,
        )

    def rays(self) -> np.ndarray:
        """x/z and y/z of every pixel, f32 [h,w,2]; NaN where the distortion cannot be inverted."""
        height, width = self.size
        x = (np.arange(width) - self.cx) / self.fx
        y = (np.arange(height) - self.cy) / self.fy
        rays = np.stack(np.meshgrid(x, y), axis=-1)
        return self._undistorted(rays).astype(np.float32) if any(self.distortion) else rays.astype(np.float32)

    def _undistorted(self, distorted: np.ndarray) -> np.ndarray:
        points = np.ascontiguousarray(distorted.reshape(-1, 1, 2))
        identity, coefficients = np.eye(3), np.array(self.distortion)
        zero = np.zeros(3)
        if self.fisheye:
            rays = cv2.fisheye.undistortPoints(points, identity, coefficients)
            again = cv2.fisheye.distortPoints(rays, identity, coefficients)
        else:
            criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 1e-9)
            rays = cv2.undistortPointsIter(points, identity, coefficients, np.eye(3), np.eye(3), criteria)
            there = cv2.convertPointsToHomogeneous(rays)
            again, _ = cv2.projectPoints(there, zero, zero, identity, coefficients)
        # Beyond the field that was calibrated the polynomials turn round, and the iteration ends anywhere.
        right = np.abs((again - points).reshape(-1, 2)) * (self.fx, self.fy) <= 0.5
        right &= np.abs(rays.reshape(-1, 2)) < _STEEPEST
        rays.reshape(-1, 2)[~right.all(axis=1)] = np.nan
        return rays.reshape(distorted.shape)


def check_aspect(one: tuple[int, int], other: tuple[int, int], name: str, other_name: str) -> None:
    """Raise GeometryError unless two sizes (h, w) can be of one picture."""
    ratio = (one[1] * other[0]) / (one[0] * other[1])
    if not 1 - ASPECT_TOLERANCE < ratio < 1 + ASPECT_TOLERANCE:
        raise GeometryError(
            f"{name} {one[1]}x{one[0]} pixels, {other_name} {other[1]}x{other[0]}: expected the same aspect"
        )


@dataclass(frozen=True, eq=False)
class DepthView:
    """An aligned depth image. depth: f32 [h,w], m, 0 where unknown. rays: f32 [h,w,2], see `Intrinsics.rays`.
    image: size (h, w) of the image that masks and colours belong to, the same picture at any size."""

    depth: np.ndarray = field(repr=False)
    rays: np.ndarray = field(repr=False)
    image: tuple[int, int]

    def __post_init__(self) -> None:
        if self.depth.shape != self.rays.shape[:2]:
            raise ValueError(f"depth {self.depth.shape} and rays {self.rays.shape[:2]} differ in size")
        check_aspect(self.depth.shape, self.image, "the depth image has", "the image")

    def image_rows(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the image in which the centres of these rows of the depth image lie."""
        return _corresponding(rows, self.depth.shape[0], self.image[0])

    def image_columns(self, columns: np.ndarray) -> np.ndarray:
        """As `image_rows`, for columns."""
        return _corresponding(columns, self.depth.shape[1], self.image[1])


def _corresponding(indices: np.ndarray, count: int, other: int) -> np.ndarray:
    return ((indices + 0.5) * (other / count)).astype(np.intp)


@dataclass(frozen=True, eq=False)
class Surface:
    """What is seen of one object in 3-D.

    centroid: f64 [3], mean of the surface points. low, high: f64 [3], corners of its box along the axes,
    outliers left out. count: depth pixels used.
    rows, columns: int [m], [n], the depth image's rows and columns that were looked at; of these, inside:
    bool [m,n], the surface; outline: bool [m,n], the surface with the mask's edge; depth: f32 [m,n], m, valid
    in the outline (at the edge borrowed from the surface beside it).
    """

    centroid: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: int
    rows: np.ndarray = field(repr=False)
    columns: np.ndarray = field(repr=False)
    inside: np.ndarray = field(repr=False)
    outline: np.ndarray = field(repr=False)
    depth: np.ndarray = field(repr=False)

    @property
    def extent(self) -> np.ndarray:
        """Size along each axis, f64 [3], m."""
        return self.high - self.low

    @property
    def step(self) -> int:
        """Every so many-th row and column of the depth image was looked at."""
        return int(self.rows[1] - self.rows[0]) if len(self.rows) > 1 else 1


def find_surface(
    view: DepthView, mask: np.ndarray, box: tuple[int, int, int, int], max_pixels: int = MAX_PIXELS
) -> Surface | None:
    """The surface of the object with this mask (uint8 [height,width] of the box, 0 elsewhere), None when too
    little of it has depth.

    box: (x, y, width, height) in pixels of the image. max_pixels: see `MAX_PIXELS`.
    """
    rows, columns = _grid(view, box, max_pixels)
    if not len(rows) or not len(columns):
        return None
    inside = _sample(mask, view.image_rows(rows) - box[1], view.image_columns(columns) - box[0])
    depth = view.depth[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    depth = np.ascontiguousarray(depth[:: _step(rows), :: _step(columns)])
    rays = view.rays[np.ix_(rows, columns)]
    seen = inside & (depth > 0) & np.isfinite(rays[..., 0])
    surface = seen & _smooth(depth, seen)
    if np.count_nonzero(surface) < MIN_POINTS:
        return None
    near, far = _dominant(depth[surface])
    surface &= (depth >= near) & (depth <= far)
    count = int(np.count_nonzero(surface))
    if count < MIN_POINTS:
        return None
    rim, filled = _rim(depth, surface, inside)
    rim &= np.isfinite(rays[..., 0])
    points = _lift(rays[surface], depth[surface])
    low, high = _bounds(points, _lift(rays[rim], filled[rim]))
    # The pixels at the ends reach half a pixel further than their centres.
    pixel = np.array([*_pixel_angle(view.rays, rows, columns), 0.0]) * np.median(points[:, 2])
    return Surface(
        centroid=points.mean(axis=0, dtype=np.float64),
        low=low - pixel / 2,
        high=high + pixel / 2,
        count=count,
        rows=rows,
        columns=columns,
        inside=surface,
        outline=surface | rim,
        depth=filled,
    )


def surface_points(view: DepthView, surface: Surface) -> np.ndarray:
    """The points of a surface, f32 [count,3], row by row."""
    rays = view.rays[np.ix_(surface.rows, surface.columns)]
    return _lift(rays[surface.inside], surface.depth[surface.inside])


def contours(view: DepthView, surface: Surface) -> list[np.ndarray]:
    """The closed outlines of a surface in space, each f32 [n,3], n at least 3; holes are left out."""
    found, _ = cv2.findContours(surface.outline.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    lines = []
    for contour in found:
        places = cv2.approxPolyDP(contour, 0.75, closed=True).reshape(-1, 2)
        if len(places) < 3:
            continue
        columns, rows = places.T
        rays = view.rays[surface.rows[rows], surface.columns[columns]]
        lines.append(_lift(rays, surface.depth[rows, columns]))
    return lines


def _grid(view: DepthView, box: tuple[int, int, int, int], max_pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the depth image that show the box and a margin, thinned when there are many."""
    height, width = view.depth.shape
    y, x = height / view.image[0], width / view.image[1]
    margin = _RIM // 2
    top, bottom = int(box[1] * y) - margin, int(np.ceil((box[1] + box[3]) * y)) + margin
    left, right = int(box[0] * x) - margin, int(np.ceil((box[0] + box[2]) * x)) + margin
    top, bottom, left, right = max(top, 0), min(bottom, height), max(left, 0), min(right, width)
    step = max(1, int(np.ceil(np.sqrt(max(bottom - top, 0) * max(right - left, 0) / max_pixels))))
    return np.arange(top, bottom, step), np.arange(left, right, step)


def _step(indices: np.ndarray) -> int:
    return int(indices[1] - indices[0]) if len(indices) > 1 else 1


def _sample(mask: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """bool [m,n]: the mask at these rows and columns, False outside of it."""
    here = (rows >= 0) & (rows < mask.shape[0])
    there = (columns >= 0) & (columns < mask.shape[1])
    sampled = np.zeros((len(rows), len(columns)), bool)
    sampled[np.ix_(here, there)] = mask[np.ix_(rows[here], columns[there])] > 0
    return sampled


def _smooth(depth: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """bool [m,n]: where the depth bends no more from pixel to pixel than is usual on this object.

    Measured on the inverse depth, which is linear across the image of a plane, however much it slants.
    """
    if not seen.any():
        return seen
    known = (depth > 0).astype(np.float32)
    inverse = np.divide(1.0, depth, out=np.zeros_like(depth), where=depth > 0)
    window = (3, 3)
    weight = cv2.boxFilter(known, -1, window, normalize=False)
    around = cv2.boxFilter(inverse, -1, window, normalize=False) / np.maximum(weight, 1.0)
    inverse = cv2.copyMakeBorder(np.where(known > 0, inverse, around), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    middle = 2 * inverse[1:-1, 1:-1]
    across = np.abs(inverse[1:-1, :-2] + inverse[1:-1, 2:] - middle)
    along = np.abs(inverse[:-2, 1:-1] + inverse[2:, 1:-1] - middle)
    # Noise grows with depth² far off, and with depth near by; so does what is allowed.
    bend = np.maximum(across, along) * np.minimum(depth, 1.0)
    return bend < max(_BEND_LEAST, _BEND_USUAL * float(np.median(bend[seen])))


def _dominant(depth: np.ndarray) -> tuple[float, float]:
    """Nearest and farthest depth of the run of depths with the most pixels. depth: f32 [n], m."""
    nearest = float(depth.min())
    # Bins grow with the depth, as the distance between two pixels on a surface and the sensor's noise do.
    bins = (np.log(depth / nearest) / _BIN).astype(np.intp)
    counts = np.bincount(bins)
    full = counts > _SPARSE * counts.max()
    places = np.flatnonzero(full)
    breaks = np.flatnonzero(np.diff(places) > _GAP)
    starts = places[np.concatenate(([0], breaks + 1))]
    stops = places[np.concatenate((breaks, [len(places) - 1]))]
    held = np.concatenate(([0], np.cumsum(counts)))
    best = int(np.argmax(held[stops + 1] - held[starts]))
    # One bin to either side: the ends of a rounded object are sparse.
    return nearest * np.exp((starts[best] - 1) * _BIN), nearest * np.exp((stops[best] + 2) * _BIN)


def _rim(depth: np.ndarray, surface: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the mask near the surface whose own depth is of no use, bool [m,n], and the depth with theirs
    filled in from the surface beside them, f32 [m,n]."""
    weight = cv2.boxFilter(surface.astype(np.float32), -1, (_RIM, _RIM), normalize=False)
    total = cv2.boxFilter(np.where(surface, depth, 0.0).astype(np.float32), -1, (_RIM, _RIM), normalize=False)
    rim = inside & ~surface & (weight > 0.5)
    filled = depth.copy()
    filled[rim] = total[rim] / weight[rim]
    return rim, filled


def _lift(rays: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """f32 [n,2] and [n] -> points f32 [n,3]."""
    points = np.empty((len(depth), 3), np.float32)
    points[:, :2] = rays * depth[:, None]
    points[:, 2] = depth
    return points


def _bounds(points: np.ndarray, rim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest coordinates, f64 [3], the outermost left out; the rim counts sideways."""
    ranks = (_TAIL, 100 - _TAIL)
    sideways = np.percentile(np.concatenate((points, rim))[:, :2], ranks, axis=0)
    forward = np.percentile(points[:, 2], ranks)
    low, high = (np.array([*sideways[end], forward[end]], np.float64) for end in (0, 1))
    return low, high


def _pixel_angle(rays: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[float, float]:
    """x/z and y/z from one looked-at pixel to the next, in the middle of the region."""
    row, column = rows[len(rows) // 2], columns[len(columns) // 2]
    up, left = max(row - _step(rows), 0), max(column - _step(columns), 0)
    angles = (rays[row, column, 0] - rays[row, left, 0], rays[row, column, 1] - rays[up, column, 1])
    x, y = (float(angle) if np.isfinite(angle) else 0.0 for angle in angles)
    return x, y
