"""One frame through the network, for all objects together.

Nothing of an object changes until the network has answered for every one of them, except that a given
reference is applied, which is complete in itself: so an error in the middle of a frame costs that frame and
no object.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from ..errors import MaskError
from ..prompts import Prompt
from ..runtime.base import FrameFeatures, MaskReference, Prediction, Runtime
from .aggregate import Aggregator, Claim, Share
from .clicks import mask_for
from .config import TrackerConfig
from .contours import follow_colour
from .frame_fit import FrameGeometry, sigmoid, upsample_logits
from .objects import GIVEN_ANCHOR, Row, Target, Verdict, plan_rows
from .types import FrameNote

TIMINGS = ("prepare", "encode_image", "given", "segment", "merge", "encode_reference")
"""Keys of the timings, in order."""

SAME_OBJECT = 0.5
"""IoU from which words alone and the tracked mask are about the same thing."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _View:
    """A frame at model size, encoded."""

    features: FrameFeatures
    geometry: FrameGeometry


@dataclass(frozen=True, eq=False)
class _Answer:
    """What this frame says about one object: probability f32 [H,W], or a given mask [h,w]; neither when it is
    absent.

    anchor_score: to be noted if this frame becomes its first reference. verdict: of the check that was made.
    """

    score: float
    anchor_score: float = GIVEN_ANCHOR
    probability: np.ndarray | None = None
    given: np.ndarray | None = None
    verdict: Verdict | None = None

    def claim(self, slot: int) -> Claim | None:
        if self.probability is None and self.given is None:
            return None
        return Claim(slot, self.probability, self.given)


@dataclass(eq=False)
class FramePass:
    """Runs one frame: `run` moves the objects' states; timings (ms), notes and dropped (objects whose given
    reference could not be used and that have no words to go by) are then filled in."""

    runtime: Runtime
    config: TrackerConfig
    aggregator: Aggregator
    index: int
    timings: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TIMINGS, 0.0))
    notes: list[FrameNote] = field(default_factory=list)
    dropped: list[Target] = field(default_factory=list)
    _last: float = field(default_factory=perf_counter)

    def run(self, image: np.ndarray, targets: Sequence[Target]) -> tuple[np.ndarray, dict[str, Share]]:
        """image uint8 [h,w,3], objects in order of slot -> labels uint16 [h,w], shares by id of the objects
        seen."""
        self._last = perf_counter()
        view = self._encode(image)
        answers = self._apply_given(targets, view)
        targets = [target for target in targets if target not in self.dropped]
        others = [target for target in targets if target.id not in answers]
        answers |= self._ask(others, view)
        labels, shares = self._merge(targets, answers, view)
        references = self._encode_references(others, answers, labels, shares, view)
        for target in targets:  # nothing of an object has changed until here, and nothing fails from here on
            answer = answers[target.id]
            if answer.verdict is not None:
                target.take(answer.verdict)
            if target.id in shares:
                reference = references.get(target.id)
                target.see(answer.score, reference, anchor_score=answer.anchor_score, config=self.config)
            else:
                target.miss(answer.score, self.config)
        return labels, shares

    def _encode(self, image: np.ndarray) -> _View:
        geometry, small = self._fit(image)
        self._lap("prepare")
        features = self.runtime.encode_fitted(small, (geometry.height, geometry.width))
        self._lap("encode_image")
        return _View(features, geometry)

    def _fit(self, image: np.ndarray) -> tuple[FrameGeometry, np.ndarray]:
        spec = self.runtime.spec
        geometry = FrameGeometry.fit(image.shape[:2], self.runtime.size, spec.resize)
        return geometry, geometry.image_to_model(image, spec.mean)

    def _apply_given(self, targets: Sequence[Target], view: _View) -> dict[str, _Answer]:
        answers: dict[str, _Answer] = {}
        for target in targets:
            if target.given is None:
                continue
            try:
                answer = self._take(target, target.given, view)
            except Exception as error:
                # Whatever one object's reference does must not stop the others, nor be tried again in every
                # frame.
                if not isinstance(error, MaskError):
                    _log.exception("the reference of object %r failed", target.id)
                self._refuse(target, error)
                continue
            if answer is not None:
                answers[target.id] = answer
        self._lap("given")
        return answers

    def _refuse(self, target: Target, error: Exception) -> None:
        target.given = None
        if target.language is None:
            self.dropped.append(target)
        outcome = "it was dropped" if target.language is None else "it is looked for by its words"
        self.notes.append(
            FrameNote(
                target.id, "error", f"the reference of object {target.id!r} was not used, {outcome}: {error}"
            )
        )

    def _take(self, target: Target, given: Prompt, view: _View) -> _Answer | None:
        """Anchor an object; its answer for this frame, or None when the reference belongs to an earlier
        one."""
        earlier = given.image is not None
        if earlier:
            given.check(given.image.shape[:2])
            geometry, small = self._fit(given.image)
            shown = geometry.height, geometry.width
            view = _View(self.runtime.encode_fitted(small, shown), geometry)
        else:
            given.check(view.geometry.frame)
        if given.mask is not None:
            mask = self._mask_to_model(given.mask, view)
            # The authors merge it as it is at model size, soft at the edges; ours stands to the pixel.
            as_given = {"probability": mask} if self.config.as_authors else {"given": given.mask}
            answer = _Answer(1.0, **as_given)
        else:
            answer = self._cut_out(target, given, view)
            mask = (answer.probability > 0.5).astype(np.float32)
        target.anchor(self.runtime.encode_reference(view.features, mask[None])[0])
        return None if earlier else answer

    def _cut_out(self, target: Target, given: Prompt, view: _View) -> _Answer:
        found = mask_for(
            given,
            view.features,
            view.geometry,
            self.runtime,
            target.language,
            self.config.mask_threshold,
            lambda logits: self._probability(logits, view),
        )
        if found is None:
            what = f"points {given.points}" if given.points else f"box {given.box}"
            raise MaskError(f"nothing that stands out was found at the {what}")
        probability, score = found
        return _Answer(score, probability=probability)

    def _ask(self, targets: list[Target], view: _View) -> dict[str, _Answer]:
        """Look for every object in one batch."""
        rows = plan_rows(targets, self.index, self.runtime.buckets, self.config)
        predictions = self.runtime.segment(view.features, [row.references for row in rows]) if rows else []
        pairs: dict[str, list[tuple[Row, Prediction]]] = {target.id: [] for target in targets}
        for row, prediction in zip(rows, predictions, strict=True):
            pairs[row.target.id].append((row, prediction))
        answers = {target.id: self._judge(target, pairs[target.id], view) for target in targets}
        self._lap("segment")
        return answers

    def _judge(self, target: Target, pairs: list[tuple[Row, Prediction]], view: _View) -> _Answer:
        """The surest of an object's rows, measured against the threshold of its kind."""
        row, prediction = max((pair for pair in pairs if not pair[0].check), key=self._sureness)
        verdict = None
        for checked, check in pairs:
            # Who asked for a new anchor says that what is tracked is right: no check knows better.
            if checked.check and not target.reanchor:
                verdict = self._weigh(target, row, prediction, check)
                if verdict.moves:
                    row, prediction = checked, check
        if self._sureness((row, prediction)) <= 1.0:
            return _Answer(prediction.score, verdict=verdict)
        method = self.runtime.spec.upsample_for(row.references.language is not None)
        logits = upsample_logits(prediction.mask_logits, self.runtime.size, method)
        probability = self._probability(logits, view)
        return _Answer(prediction.score, prediction.score, probability, verdict=verdict)

    def _probability(self, logits: np.ndarray, view: _View) -> np.ndarray:
        """Mask logits [H,W] -> probability, contours drawn as configured; the authors' masks stay theirs."""
        if self.config.contours == "colour" and not self.config.as_authors:
            logits = follow_colour(view.features.image, logits)
        return sigmoid(logits)

    def _sureness(self, pair: tuple[Row, Prediction]) -> float:
        """Score over threshold: above 1 the object is there."""
        row, prediction = pair
        by_words = row.references.language is not None
        threshold = self.config.language_threshold if by_words else self.config.mask_threshold
        return prediction.score / max(threshold, 1e-6)

    def _weigh(self, target: Target, row: Row, tracked: Prediction, check: Prediction) -> Verdict:
        """What words alone say, against what is tracked.

        Agreement asks for a new anchor at the same place, which needs no patience.
        """
        surer = check.score >= target.anchor_score + self.config.reanchor_margin
        if not surer or check.score <= self.config.language_threshold:
            return Verdict()
        seen = self._sureness((row, tracked)) > 1.0
        if seen and _overlap(tracked.mask_logits > 0, check.mask_logits > 0) >= SAME_OBJECT:
            return Verdict(renewal=check.score)
        surer_checks = target.surer_checks + 1
        if surer_checks < self.config.reanchor_after:
            return Verdict(surer_checks)
        return Verdict(moves=True)

    def _merge(
        self, targets: Sequence[Target], answers: dict[str, _Answer], view: _View
    ) -> tuple[np.ndarray, dict[str, Share]]:
        claims = {target.id: answers[target.id].claim(target.slot) for target in targets}
        claims = {name: claim for name, claim in claims.items() if claim is not None}
        labels, shares = self.aggregator.merge(
            list(claims.values()), view.geometry, whole=self.config.as_authors
        )
        self._lap("merge")
        return labels, {name: share for name, share in zip(claims, shares, strict=True) if share.area}

    def _encode_references(
        self,
        targets: Sequence[Target],
        answers: dict[str, _Answer],
        labels: np.ndarray,
        shares: dict[str, Share],
        view: _View,
    ) -> dict[str, MaskReference]:
        """This frame's references by id, of the objects seen well enough to keep one."""
        masks: dict[str, np.ndarray] = {}
        for target in targets:
            verdict = answers[target.id].verdict
            if target.id not in shares or not target.needs_reference(self.config, verdict):
                continue
            mask = self._mask_to_model(labels == target.slot, view)
            if target.is_well_seen(shares[target.id], int(np.count_nonzero(mask)), self.config):
                masks[target.id] = mask
        references: list[MaskReference] = []
        if masks:
            references = self.runtime.encode_reference(view.features, np.stack(list(masks.values())))
        self._lap("encode_reference")
        return dict(zip(masks, references, strict=True))

    def _mask_to_model(self, mask: np.ndarray, view: _View) -> np.ndarray:
        geometry = view.geometry
        return geometry.mask_to_model_floor(mask) if self.config.as_authors else geometry.mask_to_model(mask)

    def _lap(self, step: str) -> None:
        now = perf_counter()
        self.timings[step] += 1000 * (now - self._last)
        self._last = now


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """IoU of two boolean maps, 0 when both are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0
