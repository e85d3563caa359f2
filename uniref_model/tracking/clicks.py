"""From clicks or a box to a mask: asked of the network, twice where the thing is small, or cut out by colour
(OpenCV GrabCut) where it cannot answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..prompts import Prompt, draw_box, draw_points
from ..runtime.base import LanguageReference, ObjectReferences, Runtime
from .frame_fit import FrameGeometry, Region, upsample_logits
from .views import FittedFrame

GRABCUT_ROUNDS = 4

_POINT_REACH = 0.25
"""Half the window in which GrabCut looks round a click, as a part of the model image's height and width."""

POINTED = 0.25
"""Part of the threshold that suffices where somebody points: that something is there is beyond doubt, and on
real pictures an unsure answer of the network is still right more often than one by colours."""

SURROUNDINGS = 1.6
"""How far the network looks in its second, closer look, in sizes of what it found in the first, or of the
box. On the validation tenth of real pictures 2.6 more clicks in 100 were right for it, and 3.6 more boxes."""

CLOSEST = 0.25
"""Smallest part of the frame's sides that is looked at closer: what is smaller shows hardly more."""

UNSURE = 0.5
"""The part round clicks of which the first look says nothing: as large as the thing may be."""

WORTHWHILE = 0.9
"""Largest part of the frame's sides of which a closer look shows more than the first did."""


@dataclass(frozen=True)
class Pointed:
    """Clicks (x, y), each with its label, or a box (x, y, width, height), in pixels of the model's image."""

    points: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]
    box: tuple[float, float, float, float] | None

    @classmethod
    def at(cls, given: Prompt, geometry: FrameGeometry, corner: tuple[int, int] = (0, 0)) -> Pointed:
        """What is given for a frame, on a part of it that begins at `corner` (x, y) and has this geometry."""

        def place(x: float, y: float) -> tuple[float, float]:
            return geometry.point_to_model(x - corner[0], y - corner[1])

        box = None
        if given.box is not None:
            x, y, width, height = given.box
            left, top = place(x, y)
            right, bottom = place(x + width, y + height)
            box = left, top, right - left, bottom - top
        points = tuple(place(x, y) for x, y in given.points or ())
        return cls(points, tuple(given.labels or ()), box)

    def draw(self, size: tuple[int, int]) -> np.ndarray:
        """The soft mask f32 [H,W] by which the network is asked."""
        return draw_box(self.box, size) if self.box else draw_points(self.points, self.labels, size)

    def agrees(self, mask: np.ndarray) -> bool:
        """Whether a mask holds the clicks that are on the object and no other, or lies mostly in the box."""
        area = int(np.count_nonzero(mask))
        if area == 0:
            return False
        if self.box is not None:
            return bool(np.count_nonzero(mask[_box_window(self.box, mask.shape)]) >= 0.5 * area)
        clicks = zip(self.points, self.labels, strict=True)
        return all(bool(mask[_pixel(point, mask.shape)]) == bool(on) for point, on in clicks)


@dataclass(frozen=True, eq=False)
class _Asked:
    """What the network answered: probability f32 [H,W] at model size, score, whether it may be believed."""

    probability: np.ndarray
    score: float
    good: bool


@dataclass(frozen=True, eq=False)
class Pointing:
    """How clicks and boxes are answered.

    finish: what turns mask logits [H,W] of a view into probabilities. closer: encodes a part of the picture,
    given in pixels of the frame.
    """

    runtime: Runtime
    threshold: float
    finish: Callable[[np.ndarray, FittedFrame], np.ndarray]
    closer: Callable[[Region], FittedFrame]

    def mask_for(
        self, given: Prompt, view: FittedFrame, language: LanguageReference | None
    ) -> tuple[np.ndarray, float] | None:
        """Probability f32 [H,W] at model size and score of what is clicked or boxed; None when nothing is
        found.

        A model trained for it answers a soft mask on the same frame. Its answer counts if the score exceeds
        POINTED of the threshold and the mask agrees with the clicks (or lies mostly in the box). Where that
        is a small part of the frame it is asked again with that part alone, and the surer answer counts.
        Where neither does, and with other models, colours decide.
        """
        pointed = Pointed.at(given, view.geometry)
        if self.runtime.spec.interactive:
            answer = self._ask(pointed, view, language)
            region = _closer_region(given, answer, view.geometry)
            if region is not None:
                answer = self._look_again(given, answer, view, region, language)
            if answer.good:
                return answer.probability, answer.score
        mask = grabcut(view.features.image, view.geometry, pointed.points, pointed.labels, pointed.box)
        return None if mask is None else (mask.astype(np.float32), 1.0)

    def _ask(self, pointed: Pointed, view: FittedFrame, language: LanguageReference | None) -> _Asked:
        runtime = self.runtime
        reference = runtime.encode_reference(view.features, pointed.draw(runtime.size)[None])[0]
        answer = runtime.segment(view.features, [ObjectReferences(language=language, first=reference)])[0]
        method = runtime.spec.upsample_for(language is not None)
        probability = self.finish(upsample_logits(answer.mask_logits, runtime.size, method), view)
        good = answer.score > POINTED * self.threshold and pointed.agrees(probability > 0.5)
        return _Asked(probability, answer.score, good)

    def _look_again(
        self,
        given: Prompt,
        answer: _Asked,
        view: FittedFrame,
        region: Region,
        language: LanguageReference | None,
    ) -> _Asked:
        """The surer one of this answer and what a closer look at a part of the frame says."""
        part = self.closer(region)
        corner = region[1].start, region[0].start
        again = self._ask(Pointed.at(given, part.geometry, corner), part, language)
        cut = _is_cut_off(again.probability > 0.5, part.geometry, region, view.geometry.frame)
        if cut or not again.good or (answer.good and answer.score >= again.score):
            return answer
        whole = view.geometry.from_part(again.probability, part.geometry, corner)
        return _Asked(whole, again.score, bool((whole > 0.5).any()))


def _closer_region(given: Prompt, answer: _Asked, geometry: FrameGeometry) -> Region | None:
    """The part of the frame round a box, or round clicks and what was found there; None where it is nearly
    all of it. It has the frame's aspect."""
    if given.box is not None:
        x, y, width, height = given.box
        left, top, right, bottom = x, y, x + width, y + height
    else:
        clicked = [point for point, on in zip(given.points or (), given.labels or (), strict=True) if on]
        xs, ys = ([point[axis] for point in clicked] for axis in (0, 1))
        if answer.good and (found := geometry.probability_to_frame(answer.probability) > 0.5).any():
            x, y, width, height = cv2.boundingRect(found.astype(np.uint8))
            xs, ys = [*xs, x, x + width], [*ys, y, y + height]
        left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    height, width = geometry.frame
    part = max((right - left) / width, (bottom - top) / height)
    part = max(part * SURROUNDINGS, CLOSEST if answer.good or given.box is not None else UNSURE)
    if part > WORTHWHILE:
        return None
    return _span((top + bottom) / 2, part, height), _span((left + right) / 2, part, width)


def _is_cut_off(mask: np.ndarray, geometry: FrameGeometry, region: Region, frame: tuple[int, int]) -> bool:
    """Whether a mask [H,W] on a region of a frame reaches the region's edge, where the frame goes on."""
    shown = mask[geometry.inside]
    rows, columns = region
    return bool(
        (rows.start > 0 and shown[0].any())
        or (rows.stop < frame[0] and shown[-1].any())
        or (columns.start > 0 and shown[:, 0].any())
        or (columns.stop < frame[1] and shown[:, -1].any())
    )


def _span(middle: float, part: float, side: int) -> slice:
    """A part of a side's pixels round a middle, held inside."""
    length = max(round(part * side), 1)
    start = min(max(round(middle - length / 2), 0), side - length)
    return slice(start, start + length)


def grabcut(
    image: np.ndarray,
    geometry: FrameGeometry,
    points: Sequence[tuple[float, float]],
    labels: tuple[int, ...],
    box: tuple[float, float, float, float] | None,
) -> np.ndarray | None:
    """Binary mask [H,W] by colour, in model pixels; None when nothing is left. Deterministic."""
    trimap = np.full(image.shape[:2], cv2.GC_BGD, np.uint8)
    if box is not None:
        trimap[_box_window(box, image.shape)] = cv2.GC_PR_FGD
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


def _seed_points(trimap: np.ndarray, points: Sequence[tuple[float, float]], labels: tuple[int, ...]) -> None:
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
    mask: np.ndarray, points: Sequence[tuple[float, float]], labels: tuple[int, ...]
) -> np.ndarray | None:
    """The connected pieces that hold a click, or the largest one for a box."""
    count, pieces, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return None
    clicked = {int(pieces[_pixel(p, mask.shape)]) for p, on in zip(points, labels, strict=True) if on} - {0}
    if not clicked:
        clicked = {1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))}
    return np.isin(pieces, list(clicked))


def _pixel(point: tuple[float, float], shape: tuple[int, ...]) -> tuple[int, int]:
    """(row, column) of a point (x, y), held inside the image."""
    return min(max(int(point[1]), 0), shape[0] - 1), min(max(int(point[0]), 0), shape[1] - 1)


def _box_window(box: tuple[float, float, float, float], shape: tuple[int, ...]) -> tuple[slice, slice]:
    return _window(box[0], box[1], box[0] + box[2], box[1] + box[3], shape)


def _window(
    left: float, top: float, right: float, bottom: float, shape: tuple[int, ...]
) -> tuple[slice, slice]:
    """Rows and columns of a box held inside the image, at least one pixel each."""
    y0, x0 = min(max(int(top), 0), shape[0] - 1), min(max(int(left), 0), shape[1] - 1)
    y1, x1 = min(max(round(bottom), y0 + 1), shape[0]), min(max(round(right), x0 + 1), shape[1])
    return slice(y0, y1), slice(x0, x1)
