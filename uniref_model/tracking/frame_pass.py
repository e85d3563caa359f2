"""One frame through the network, for all objects together.

Nothing of an object changes until the network has answered for every one of them, except that a given
reference is applied, which is complete in itself: so an error in the middle of a frame costs that frame and
no object.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from time import perf_counter

import cv2
import numpy as np

from ..errors import MaskError
from ..prompts import Prompt
from ..runtime.base import MaskReference, Prediction, Runtime
from .aggregate import Aggregator, Claim, Share
from .clicks import Pointing
from .config import TrackerConfig
from .frame_fit import FrameGeometry, Region, sigmoid, upsample_logits
from .objects import GIVEN_ANCHOR, Target, Verdict
from .rules import Row, Rules, rules_for
from .types import Found, FrameNote, TrackState
from .views import FittedFrame, fit_and_encode, overlap

TIMINGS = ("prepare", "encode_image", "given", "segment", "merge", "encode_reference")
"""Keys of the timings, in order."""

SAME_OBJECT = 0.5
"""IoU from which words (or a view) alone and the tracked mask are about the same thing."""

SURE_SCORE = 0.7
"""Of what is tracked, from which a view that does not find it there says that it looks new."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Answer:
    """What this frame says about one object. found: by what. claim: None when it is absent. anchor_score: to
    be noted if this frame becomes its first reference. verdict: of the check that was made. view_scores: as
    in `Target`."""

    score: float
    found: Found
    claim: Claim | None = None
    anchor_score: float = GIVEN_ANCHOR
    verdict: Verdict | None = None
    view_scores: dict[int, float] = field(default_factory=dict)


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

    @cached_property
    def rules(self) -> Rules:
        return rules_for(self.config)

    def run(self, image: np.ndarray, targets: Sequence[Target], size: tuple[int, int]) -> dict[str, Share]:
        """image uint8 [h,w,3], objects in order of slot -> shares by id of the objects seen. size: as of
        `Tracker.step`."""
        if not targets:
            return {}
        self._last = perf_counter()
        view = self._encode(image, size)
        answers = self._apply_given(targets, view, image)
        targets = [target for target in targets if target not in self.dropped]
        others = [target for target in targets if target.id not in answers]
        answers |= self._ask(others, view)
        shares = self._merge(targets, answers, view)
        references = self._encode_references(others, answers, shares, view)
        for target in targets:  # nothing of an object has changed until here, and nothing fails from here on
            answer = answers[target.id]
            target.looks_new, target.view_scores = False, answer.view_scores
            target.anchored = target.anchored and target not in others
            if answer.verdict is not None:
                target.take(answer.verdict)
            if target.id in shares:
                reference = references.get(target.id)
                target.see(
                    answer.score,
                    reference,
                    anchor_score=answer.anchor_score,
                    anchor_after=self.rules.anchor_after,
                    found=answer.found,
                )
            else:
                target.miss(answer.score, self.config)
        return shares

    def _encode(self, image: np.ndarray, size: tuple[int, int]) -> FittedFrame:
        """As `fit_and_encode`, timed."""
        geometry = FrameGeometry.fit(size, self.runtime.size, self.runtime.spec.resize)
        small = geometry.image_to_model(image, self.runtime.spec.mean)
        self._lap("prepare")
        features = self.runtime.encode_fitted(small, (geometry.height, geometry.width))
        self._lap("encode_image")
        return FittedFrame(features, geometry)

    def _part(self, image: np.ndarray, size: tuple[int, int], region: Region) -> FittedFrame:
        """A region of a frame of `size` (h, w), encoded; image: the frame or a smaller picture of it."""
        rows, columns = (
            slice(span.start * had // side, max(-(-span.stop * had // side), span.start * had // side + 1))
            for span, had, side in zip(region, image.shape, size, strict=False)
        )
        part = np.ascontiguousarray(image[rows, columns])
        shown = region[0].stop - region[0].start, region[1].stop - region[1].start
        return fit_and_encode(self.runtime, part, shown)

    def _apply_given(
        self, targets: Sequence[Target], view: FittedFrame, image: np.ndarray
    ) -> dict[str, _Answer]:
        answers: dict[str, _Answer] = {}
        for target in targets:
            if target.given is None:
                continue
            try:
                answer = self._take(target, target.given, view, image)
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

    def _take(self, target: Target, given: Prompt, view: FittedFrame, image: np.ndarray) -> _Answer | None:
        """Anchor an object; its answer for this frame, or None when the reference belongs to an earlier
        one."""
        if given.image is not None:
            image = given.image
            given.check(image.shape[:2])
            view = fit_and_encode(self.runtime, image)
        else:
            given.check(view.geometry.frame)
        if given.mask is not None:
            score, mask = 1.0, self.rules.mask_to_model(given.mask, view.geometry)
            claim = self.rules.claim_given(target.slot, given.mask, mask)
        else:
            score, probability = self._cut_out(target, given, view, image)
            mask = (probability > 0.5).astype(np.float32)
            claim = Claim(target.slot, probability)
        reference = self.runtime.encode_reference(view.features, mask[None])[0]
        target.anchor(reference, in_this_frame=given.image is None)
        return _Answer(score, Found("prompt"), claim) if given.image is None else None

    def _cut_out(
        self, target: Target, given: Prompt, view: FittedFrame, image: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """Score and probability f32 [H,W] of what is clicked or boxed. Raises MaskError for nothing."""
        pointing = Pointing(
            self.runtime,
            self.config.threshold("mask"),
            self._probability,
            lambda region: self._part(image, view.geometry.frame, region),
        )
        found = pointing.mask_for(given, view, target.language)
        if found is None:
            what = f"points {given.points}" if given.points else f"box {given.box}"
            raise MaskError(f"nothing that stands out was found at the {what}")
        probability, score = found
        return score, probability

    def _ask(self, targets: list[Target], view: FittedFrame) -> dict[str, _Answer]:
        """Look for every object in one batch."""
        rows = self.rules.plan_rows(targets, self.index, self.runtime.buckets)
        predictions = self.runtime.segment(view.features, [row.references for row in rows]) if rows else []
        pairs: dict[str, list[tuple[Row, Prediction]]] = {target.id: [] for target in targets}
        for row, prediction in zip(rows, predictions, strict=True):
            pairs[row.target.id].append((row, prediction))
        answers = {target.id: self._judge(target, pairs[target.id], view) for target in targets}
        self._lap("segment")
        return answers

    def _judge(self, target: Target, pairs: list[tuple[Row, Prediction]], view: FittedFrame) -> _Answer:
        """The surest of an object's rows, measured against the threshold of its kind. Rows with a view count
        when the views agree."""
        asked = {row.view.number: one.score for row, one in pairs if row.view and row.asks_view_alone}
        scores = target.view_scores | asked if target.state is not TrackState.TRACKED else {}
        trusted = target.known.agree(scores, self.config.threshold("view"))
        finding = [pair for pair in pairs if not pair[0].check and (trusted or pair[0].view is None)]
        if not finding:
            return _Answer(fmean(scores.values()) if scores else 0.0, Found(), view_scores=scores)
        row, prediction = max(finding, key=self._sureness)
        verdict = None
        for checked, check in pairs:
            # Who asked for a new anchor says that what is tracked is right: no check knows better.
            if checked.check and not target.reanchor:
                verdict = self._weigh(target, (row, prediction), (checked, check))
                if verdict.moves:
                    row, prediction = checked, check
        if self._sureness((row, prediction)) <= 1.0:
            return _Answer(prediction.score, row.found, verdict=verdict, view_scores=scores)
        method = self.runtime.spec.upsample_for(row.references.language is not None)
        logits = upsample_logits(prediction.mask_logits, self.runtime.size, method)
        claim = Claim(target.slot, self._probability(logits, view))
        return _Answer(prediction.score, row.found, claim, prediction.score, verdict)

    def _probability(self, logits: np.ndarray, view: FittedFrame) -> np.ndarray:
        """Mask logits [H,W] -> probability, contours drawn as the rules say."""
        return sigmoid(self.rules.draw(logits, view.features.image))

    def _sureness(self, pair: tuple[Row, Prediction]) -> float:
        """Score over threshold: above 1 the object is there."""
        row, prediction = pair
        threshold = self.config.threshold(self.rules.seen_by(row))
        return prediction.score / max(threshold, 1e-6)

    def _weigh(
        self, target: Target, tracked: tuple[Row, Prediction], check: tuple[Row, Prediction]
    ) -> Verdict:
        """What words or a view alone say, against what is tracked.

        Agreement asks for a new anchor at the same place, which needs no patience.
        """
        seen, answered = (self._sureness(pair) > 1.0 for pair in (tracked, check))
        (_, by_references), (asked, alone) = tracked, check
        same = seen and overlap(by_references.mask_logits > 0, alone.mask_logits > 0) >= SAME_OBJECT
        judged = asked.view is not None and seen and by_references.score >= SURE_SCORE
        agrees = answered and same if judged else None
        # Where a view found it, views are no surer of the right place than they were then: as sure will do.
        margin = 0.0 if target.found.view and asked.view is not None else self.config.reanchor_margin
        if not answered or alone.score < target.anchor_score + margin:
            return Verdict(view_agrees=agrees)
        if same:
            return Verdict(renewal=alone.score, view_agrees=agrees)
        surer_checks = target.surer_checks + 1
        if surer_checks < self.config.reanchor_after:
            return Verdict(surer_checks, view_agrees=agrees)
        return Verdict(moves=True, view_agrees=agrees)

    def _merge(
        self, targets: Sequence[Target], answers: dict[str, _Answer], view: FittedFrame
    ) -> dict[str, Share]:
        claims = {target.id: claim for target in targets if (claim := answers[target.id].claim) is not None}
        shares = self.aggregator.merge(list(claims.values()), view.geometry, whole=self.rules.whole_merge)
        self._lap("merge")
        return {name: share for name, share in zip(claims, shares, strict=True) if share.area}

    def _encode_references(
        self,
        targets: Sequence[Target],
        answers: dict[str, _Answer],
        shares: dict[str, Share],
        view: FittedFrame,
    ) -> dict[str, MaskReference]:
        """This frame's references by id, of the objects seen well enough to keep one."""
        masks: dict[str, np.ndarray] = {}
        for target in targets:
            answer = answers[target.id]
            needed = target.needs_reference(self.config, answer.verdict, answer.found)
            share = shares.get(target.id)
            if share is None or share.box is None or not needed:
                continue
            mask = self.rules.share_to_model(share.mask, share.box, view.geometry)
            if self.rules.is_well_seen(share, cv2.countNonZero(mask)):
                masks[target.id] = mask
        references: list[MaskReference] = []
        if masks:
            stack = np.stack(list(masks.values())).astype(np.float32)
            references = self.runtime.encode_reference(view.features, stack)
        self._lap("encode_reference")
        return dict(zip(masks, references, strict=True))

    def _lap(self, step: str) -> None:
        now = perf_counter()
        self.timings[step] += 1000 * (now - self._last)
        self._last = now
