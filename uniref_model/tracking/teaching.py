"""Teaching: from a picture and something that points at a thing in it to a view that is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import KnownObjectError, MaskError
from ..known_objects import KnownObject, KnownObjects, View, check_known_name, check_view
from ..limits import quoted
from ..prompts import Prompt
from ..runtime.base import ObjectReferences, Prediction, Runtime
from .config import TrackerConfig
from .tracker import Tracker
from .views import EncodedView, FittedFrame, ViewBank, fit_and_encode, overlap

KNOWN_SCORE, KNOWN_OVERLAP = 0.8, 0.75
"""A view whose score and IoU in another picture reach these finds the thing there already."""

_STRIDE = 4  # of the network's mask logits


@dataclass(frozen=True)
class _Finding:
    """What one view makes of a picture whose mask is known."""

    number: int
    score: float
    iou: float

    @property
    def sure(self) -> bool:
        return self.score >= KNOWN_SCORE and self.iou >= KNOWN_OVERLAP


class Teacher:
    """Adds views to known objects, if they say something new, and chooses which one goes when there are too
    many. Safe between threads; it works in the thread that asks."""

    def __init__(
        self,
        runtime: Runtime,
        bank: ViewBank | KnownObjects,
        config: Callable[[], TrackerConfig] = TrackerConfig,
    ) -> None:
        """config: gives the options by which clicks and boxes become masks."""
        self.bank = ViewBank(runtime, bank) if isinstance(bank, KnownObjects) else bank
        self._runtime, self._config = runtime, config

    @property
    def known(self) -> KnownObjects:
        return self.bank.known

    def teach(self, name: str, image: np.ndarray, prompt: Prompt, *, replace: bool = False) -> KnownObject:
        """Keep what the prompt's mask, points or box mean in the picture as a view. Returns the object.

        image: uint8 RGB [h,w,3]. replace: instead of the views there are. Raises KnownObjectError with the
        reason (a bad name; the view shows nothing, everything, two things, or says nothing new), MaskError,
        ImageError, SourceError.
        """
        name = check_known_name(name)
        mask = self._mask_of(image, prompt)
        check_view(image, mask)
        item = None if replace else self.known.find(name)
        drop = None
        if item is not None:
            views = self.bank.encode(item, item.views).views
            self._refuse_what_is_known(item, self._find(image, mask, views))
            if len(item.views) >= self.known.max_views:
                drop = self._least_useful(item, views)
        return self.known.teach(name, image, mask, replace=replace, drop=drop)

    def _mask_of(self, image: np.ndarray, prompt: Prompt) -> np.ndarray:
        """What is drawn, as a mask bool [h,w]: asked of a tracker that does nothing else."""
        prompt.check(image.shape[:2])
        if prompt.mask is not None:
            return prompt.mask
        tracker = Tracker(self._runtime, self._config())
        tracker.add(Prompt(points=prompt.points, labels=prompt.labels, box=prompt.box))
        frame = tracker.step(image)
        if not frame.label_image.any():
            raise MaskError("; ".join(note.message for note in frame.notes) or "nothing was found there")
        return frame.label_image > 0

    def _refuse_what_is_known(self, item: KnownObject, findings: Sequence[_Finding]) -> None:
        best = max((one for one in findings if one.sure), key=lambda one: one.score, default=None)
        if best is not None:
            raise KnownObjectError(
                f"this view of {quoted(item.name)} says nothing new: view {best.number} finds it here already"
                f" (score {best.score:.2f}, overlap {best.iou:.2f})"
            )

    def _least_useful(self, item: KnownObject, views: Sequence[EncodedView]) -> int:
        """The number of the view whose picture the other views know best; one that cannot be read, if any."""
        readable = {view.number for view in views}
        for view in item.views:
            if view.number not in readable:
                return view.number
        return max(item.views, key=lambda view: self._redundancy(view, views)).number

    def _redundancy(self, view: View, views: Sequence[EncodedView]) -> float:
        others = [other for other in views if other.number != view.number]
        image, mask = self.known.read(view)
        return max((one.score * one.iou for one in self._find(image, mask, others)), default=0.0)

    def _find(self, image: np.ndarray, mask: np.ndarray, views: Sequence[EncodedView]) -> list[_Finding]:
        if not views:
            return []
        frame = fit_and_encode(self._runtime, image)
        rows = [ObjectReferences(first=view.reference) for view in views]
        answers = self._runtime.segment(frame.features, rows)
        return [
            _Finding(view.number, answer.score, _agreement(answer, mask, frame))
            for view, answer in zip(views, answers, strict=True)
        ]


def _agreement(answer: Prediction, mask: np.ndarray, frame: FittedFrame) -> float:
    """IoU of an answer with a mask bool [h,w], where the logits are."""
    small = frame.geometry.mask_to_model(mask)
    centres = slice(_STRIDE // 2, None, _STRIDE)
    return overlap(answer.mask_logits > 0, small[centres, centres] > 0)
