"""Asks the questions about stills through the tracker, as a person would."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ...datasets.errors import DatasetError
from ...datasets.plain import mask_of
from ...runtime.base import Runtime
from ...tracking import Tracker, TrackerConfig, TrackState
from ..clips import tight_box
from ..metrics import score_mask
from .questions import NEGATIVE, Question, generator

RIGHT_IOU = 0.5


@dataclass(frozen=True)
class Answer:
    """What came of a question: whether something was found, the score, and the IoU with what was meant."""

    question: Question
    answered: bool
    score: float
    j: float

    @property
    def right(self) -> bool:
        """Found with an IoU over 0.5; for what is not there: not found."""
        if self.question.kind in NEGATIVE:
            return not self.answered
        return self.answered and self.j > RIGHT_IOU


@dataclass(frozen=True, eq=False)
class AnswerPicture:
    """What a question was asked of: image uint8 [h,w,3], the mask that came, what was meant, bool [h,w]."""

    image: np.ndarray
    mask: np.ndarray
    truth: np.ndarray


def ask_all(
    runtime: Runtime,
    asked: Sequence[Question],
    complain: Callable[[str], None],
    config: TrackerConfig,
) -> Iterator[tuple[Answer, AnswerPicture]]:
    """The answers in order, and for looking at them what was shown; a picture that cannot be read is named
    and left out."""
    for question in asked:
        try:
            answer = _ask(runtime, question, config)
        except DatasetError as error:
            complain(str(error))
            continue
        yield answer


def _ask(runtime: Runtime, question: Question, config: TrackerConfig) -> tuple[Answer, AnswerPicture]:
    image, labels = question.picture.read()
    truth = np.zeros(labels.shape, bool) if question.item is None else mask_of(labels, question.item)
    tracker = Tracker(runtime, config)
    if question.kind == "mask":  # the still with its mask, then seen a little later from elsewhere
        tracker.add_mask(truth)
        tracker.step(image)
        image, truth = _seen_again(image, truth, generator(question))
    else:
        _refer(tracker, question, truth)
    frame = tracker.step(image)
    found = next(iter(frame.objects), None)
    answered = found is not None and found.state is TrackState.TRACKED
    mask = frame.label_image > 0
    j = score_mask(mask, truth).j if truth.any() else 0.0
    score = 0.0 if found is None else float(found.score)
    return Answer(question, answered, score, j), AnswerPicture(image, mask & answered, truth)


def _refer(tracker: Tracker, question: Question, truth: np.ndarray) -> None:
    """Give the tracker the question's reference for the frame that comes next."""
    if question.text:
        tracker.add_text(question.text)
    elif question.view is not None:
        picture, item = question.view
        image, labels = picture.read()
        tracker.add_mask(mask_of(labels, item), image=image)
    elif question.kind == "box":
        tracker.add_box(tight_box(truth))
    elif question.kind == "click":
        tracker.add_points([_deepest(truth)])
    else:
        tracker.add_points([_anywhere(truth, generator(question))])


def _deepest(mask: np.ndarray) -> tuple[float, float]:
    """The pixel (x, y) furthest inside, where a careful person clicks."""
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(column), float(row)


def _anywhere(mask: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Any pixel of the object, but for its rim."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    rows, columns = np.nonzero(inner if inner.any() else mask)
    pick = int(rng.integers(len(rows)))
    return float(columns[pick]), float(rows[pick])


def _seen_again(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The picture from a little elsewhere, in other light; the object stays in it."""
    height, width = mask.shape
    matrix = cv2.getRotationMatrix2D(
        (width / 2, height / 2), float(rng.uniform(-8, 8)), float(rng.uniform(0.85, 1.15))
    )
    matrix[:, 2] += rng.uniform(-0.06, 0.06, 2) * (width, height)
    moved = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    again = cv2.warpAffine(mask.astype(np.uint8), matrix, (width, height), flags=cv2.INTER_NEAREST) > 0
    lit = np.clip(moved * np.float32(rng.uniform(0.8, 1.2)), 0, 255).astype(np.uint8)
    return (lit, again) if again.sum() > 0.5 * mask.sum() else (image, mask)
