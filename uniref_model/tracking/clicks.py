"""From clicks or a box to a mask: asked of the network, or cut out by colour (OpenCV GrabCut) where it cannot
answer."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ..prompts import Prompt, draw_box, draw_points
from ..runtime.base import FrameFeatures, LanguageReference, ObjectReferences, Runtime
from .frame_fit import FrameGeometry, sigmoid, upsample_logits

GRABCUT_ROUNDS = 4

_POINT_REACH = 0.25
"""Half the window in which GrabCut looks round a click, as a part of the model image's height and width."""

POINTED = 0.25
"""Part of the threshold that suffices where somebody points: that something is there is beyond doubt, and on
real pictures an unsure answer of the network is still right more often than one by colours."""


def mask_for(
    given: Prompt,
    frame: FrameFeatures,
    geometry: FrameGeometry,
    runtime: Runtime,
    language: LanguageReference | None,
    threshold: float,
    finish: Callable[[np.ndarray], np.ndarray] = sigmoid,
) -> tuple[np.ndarray, float] | None:
    """Probability f32 [H,W] at model size and score of what is clicked or boxed; None when nothing is found.

    A model trained for it answers a soft mask on the same frame. Its answer counts if the score exceeds
    POINTED of `threshold` and the mask agrees with the clicks (or lies mostly in the box); else, and with
    other models, colours decide. finish: what turns the network's mask logits [H,W] into probabilities.
    """
    points = [geometry.point_to_model(x, y) for x, y in given.points or ()]
    labels = tuple(given.labels or ())
    box = _box_to_model(given, geometry)
    if runtime.spec.interactive:
        soft = draw_box(box, runtime.size) if box else draw_points(points, labels, runtime.size)
        reference = runtime.encode_reference(frame, soft[None])[0]
        answer = runtime.segment(frame, [ObjectReferences(language=language, first=reference)])[0]
        method = runtime.spec.upsample_for(language is not None)
        logits = upsample_logits(answer.mask_logits, runtime.size, method)
        probability = finish(logits)
        if answer.score > POINTED * threshold and _agrees(probability > 0.5, points, labels, box):
            return probability, answer.score
    mask = grabcut(frame.image, geometry, points, labels, box)
    return None if mask is None else (mask.astype(np.float32), 1.0)


def grabcut(
    image: np.ndarray,
    geometry: FrameGeometry,
    points: list[tuple[float, float]],
    labels: tuple[int, ...],
    box: tuple[float, float, float, float] | None,
) -> np.ndarray | None:
    """Binary mask [H,W] by colour, in model pixels; None when nothing is left. Deterministic."""
    trimap = np.full(image.shape[:2], cv2.GC_BGD, np.uint8)
    if box is not None:
        rows, columns = _window(box[0], box[1], box[0] + box[2], box[1] + box[3], image.shape)
        trimap[rows, columns] = cv2.GC_PR_FGD
    else:
        _seed_points(trimap, points, labels)
    outside = np.ones(trimap.shape, bool)
    outside[geometry.inside] = False
    trimap[outside] = cv2.GC_BGD
    if not (trimap == cv2.GC_PR_FGD).any() or not (trimap == cv2.GC_BGD).any():
        return None
    cv2.setRNGSeed(0)  # GrabCut starts its colour models from random centres
    try:
        bgr = np.ascontiguousarray(image[..., ::-1])
        models = np.zeros((1, 65)), np.zeros((1, 65))
        whole = 0, 0, 0, 0  # not read: the mask says where
        cv2.grabCut(bgr, trimap, whole, *models, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # colours too few to model: nothing to cut
        return None
    return _keep_wanted(np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD)), points, labels)


def _seed_points(trimap: np.ndarray, points: list[tuple[float, float]], labels: tuple[int, ...]) -> None:
    height, width = trimap.shape
    reach_x, reach_y = width * _POINT_REACH, height * _POINT_REACH
    radius = max(2, round(0.01 * float(np.sqrt(height * width))))
    positive = [point for point, label in zip(points, labels, strict=True) if label]
    for x, y in positive:
        rows, columns = _window(x - reach_x, y - reach_y, x + reach_x, y + reach_y, trimap.shape)
        trimap[rows, columns] = cv2.GC_PR_FGD
    for value, wanted in ((cv2.GC_FGD, 1), (cv2.GC_BGD, 0)):
        for (x, y), label in zip(points, labels, strict=True):
            if label == wanted:
                cv2.circle(trimap, (int(x), int(y)), radius, int(value), -1)


def _keep_wanted(
    mask: np.ndarray, points: list[tuple[float, float]], labels: tuple[int, ...]
) -> np.ndarray | None:
    """The connected pieces that hold a click, or the largest one for a box."""
    count, pieces, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return None
    clicked = {int(pieces[_pixel(p, mask.shape)]) for p, on in zip(points, labels, strict=True) if on} - {0}
    if not clicked:
        clicked = {1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))}
    return np.isin(pieces, list(clicked))


def _agrees(
    mask: np.ndarray,
    points: list[tuple[float, float]],
    labels: tuple[int, ...],
    box: tuple[float, float, float, float] | None,
) -> bool:
    area = int(np.count_nonzero(mask))
    if area == 0:
        return False
    if box is not None:
        inside = mask[_window(box[0], box[1], box[0] + box[2], box[1] + box[3], mask.shape)]
        return bool(np.count_nonzero(inside) >= 0.5 * area)
    return all(bool(mask[_pixel(p, mask.shape)]) == bool(on) for p, on in zip(points, labels, strict=True))


def _pixel(point: tuple[float, float], shape: tuple[int, ...]) -> tuple[int, int]:
    """(row, column) of a point (x, y), held inside the image."""
    return min(max(int(point[1]), 0), shape[0] - 1), min(max(int(point[0]), 0), shape[1] - 1)


def _window(
    left: float, top: float, right: float, bottom: float, shape: tuple[int, ...]
) -> tuple[slice, slice]:
    """Rows and columns of a box held inside the image, at least one pixel each."""
    y0, x0 = min(max(int(top), 0), shape[0] - 1), min(max(int(left), 0), shape[1] - 1)
    y1, x1 = min(max(round(bottom), y0 + 1), shape[0]), min(max(round(right), x0 + 1), shape[1])
    return slice(y0, y1), slice(x0, x1)


def _box_to_model(given: Prompt, geometry: FrameGeometry) -> tuple[float, float, float, float] | None:
    if given.box is None:
        return None
    x, y, width, height = given.box
    left, top = geometry.point_to_model(x, y)
    right, bottom = geometry.point_to_model(x + width, y + height)
    return left, top, right - left, bottom - top
