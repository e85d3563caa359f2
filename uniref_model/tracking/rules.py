"""By which rules objects are followed: `Streaming`, made for cameras, or `Authors`, as the video protocols
behind the authors' numbers (`inference_vos_3f`, `inference_rvos_vl`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..runtime.base import ObjectReferences
from .aggregate import Claim, Share
from .config import TrackerConfig
from .contours import follow_colour
from .frame_fit import FrameGeometry
from .objects import Target
from .types import Found, TrackState
from .views import EncodedView

MIN_SHARE = 0.5
"""Part of its own pixels an object must keep in the merge for the mask to become its reference: an object
that another one covers would otherwise learn to look like the other."""


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a segment batch: which object, looked for with what. check: words or a view alone, beside
    the tracked answer. view: the one that is asked."""

    target: Target
    references: ObjectReferences
    check: bool = False
    view: EncodedView | None = None

    @property
    def asks_view_alone(self) -> bool:
        """Whether the answer is the view's own."""
        return self.view is not None and self.references.language is None

    @property
    def asks_words_alone(self) -> bool:
        """Whether no mask says what is looked for."""
        return self.references.first is None and self.references.previous is None

    @property
    def found(self) -> Found:
        """By what this row finds its object."""
        if self.view is not None:
            return Found("view" if self.asks_view_alone else "words_and_view", self.view.number)
        return Found("words" if self.asks_words_alone else "first_frame")


class Rules(ABC):
    """What the protocols do differently; everything else is the same for both."""

    whole_merge: bool
    """`Aggregator.merge`: compute every pixel of every claim, and let predictions reach 1."""

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config

    @property
    @abstractmethod
    def anchor_after(self) -> int:
        """Frames in a row in which words alone must see an object before the last becomes its first
        reference."""

    @abstractmethod
    def plan_rows(self, targets: Sequence[Target], frame_index: int, buckets: tuple[int, ...]) -> list[Row]:
        """What to ask the network in this frame, at least one row for each object."""

    @abstractmethod
    def is_well_seen(self, share: Share, model_area: int) -> bool:
        """Whether this frame's mask may become a reference. model_area: its pixels at model size."""

    @abstractmethod
    def mask_to_model(self, mask: np.ndarray, geometry: FrameGeometry) -> np.ndarray:
        """bool or uint8 [h,w] -> f32 [H,W], as the network is given it for a reference."""

    @abstractmethod
    def share_to_model(
        self, part: np.ndarray, box: tuple[int, int, int, int], geometry: FrameGeometry
    ) -> np.ndarray:
        """uint8 [H,W], as `mask_to_model` of what an object got. part, box: as in `Share`."""

    @abstractmethod
    def claim_given(self, slot: int, mask: np.ndarray, model_mask: np.ndarray) -> Claim:
        """What a mask that a person gave claims of its frame. mask: bool [h,w]. model_mask: f32 [H,W]."""

    def seen_by(self, row: Row) -> str:
        """Which threshold a row's score has to exceed, "mask", "language" or "view"."""
        return "mask" if row.references.language is None else "language"

    def draw(self, logits: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Mask logits [H,W] with their contours as configured. image: uint8 [H,W,3]."""
        return logits


class Streaming(Rules):
    """Made for cameras.

    Known objects (`Target.known`) are looked for by words and a view together where others are by words
    alone. Tracked objects are asked for by words (if any) and references together. Lost objects take
    turns, so that one row finds them either way: with words, words alone in even frames (a stale mask
    must not veto what the words see) and words with the first reference in odd ones; without words, the
    first reference alone, then all references. A batch is padded to the next bucket anyway; the spare
    rows go to views of known objects that are not tracked, one view a row, in turn; then to the other
    turn of lost objects, then to `check` rows (see `Tracker`). Where no row is spare, views are given the
    next bucket, and one check is made every `recheck_every` frames.
    """

    whole_merge = False

    @property
    def anchor_after(self) -> int:
        return self.config.anchor_after

    def plan_rows(self, targets: Sequence[Target], frame_index: int, buckets: tuple[int, ...]) -> list[Row]:
        config = self.config
        rows = [_in_turn(target, frame_index, config) for target in targets]
        due = config.recheck_every > 0 and frame_index % config.recheck_every == 0
        checkable = [target for target in targets if _checkable(target, config)]
        doubted = [target for target in checkable if target.known.views and target.surer_checks]
        if doubted:  # a view has just found it elsewhere: what the next ones say is not waited for
            rows.append(_check(doubted[frame_index % len(doubted)]))
        elif due and checkable:
            rows.append(_check(checkable[frame_index // config.recheck_every % len(checkable)]))
        if rows and rows[-1].check:
            checkable = [target for target in checkable if target is not rows[-1].target]
        spare = _padded(len(rows), buckets) - len(rows)
        sought = [item for item in targets if item.known.views and item.state is not TrackState.TRACKED]
        if sought and not spare:
            spare = _padded(len(rows) + 1, buckets) - len(rows)
        extra = _view_rows(sought, frame_index, spare)
        extra += [
            _in_turn(target, frame_index + 1, config)
            for target in targets
            if _takes_turns(target, config) and _has_other_turn(target, config)
        ]
        turn = frame_index % len(checkable) if checkable else 0
        extra += [_check(target) for target in checkable[turn:] + checkable[:turn]]
        return rows + extra[:spare]

    def is_well_seen(self, share: Share, model_area: int) -> bool:
        return model_area >= self.config.min_area and share.area >= MIN_SHARE * share.claimed

    def seen_by(self, row: Row) -> str:
        if row.asks_words_alone:
            return "language"
        elsewhere = row.view is not None or row.target.state is TrackState.SEARCHING
        return "view" if elsewhere else "mask"

    def mask_to_model(self, mask: np.ndarray, geometry: FrameGeometry) -> np.ndarray:
        return geometry.mask_to_model(mask)

    def share_to_model(
        self, part: np.ndarray, box: tuple[int, int, int, int], geometry: FrameGeometry
    ) -> np.ndarray:
        return geometry.part_to_model(part, box)

    def claim_given(self, slot: int, mask: np.ndarray, model_mask: np.ndarray) -> Claim:
        return Claim(slot, mask, exact=True)  # to the pixel

    def draw(self, logits: np.ndarray, image: np.ndarray) -> np.ndarray:
        return follow_colour(image, logits) if self.config.contours == "colour" else logits


class Authors(Rules):
    """As the authors' code does with recorded videos: every object is asked for once, with all it has but
    views, seen or not, and any part that it gets of the merged frame renews its previous reference."""

    whole_merge = True
    anchor_after = 1

    def plan_rows(self, targets: Sequence[Target], frame_index: int, buckets: tuple[int, ...]) -> list[Row]:
        return [Row(target, target.references(self.config)) for target in targets]

    def is_well_seen(self, share: Share, model_area: int) -> bool:
        return True

    def mask_to_model(self, mask: np.ndarray, geometry: FrameGeometry) -> np.ndarray:
        return geometry.mask_to_model_floor(mask)

    def share_to_model(
        self, part: np.ndarray, box: tuple[int, int, int, int], geometry: FrameGeometry
    ) -> np.ndarray:
        return geometry.part_to_model_floor(part, box)

    def claim_given(self, slot: int, mask: np.ndarray, model_mask: np.ndarray) -> Claim:
        return Claim(slot, model_mask)  # at model size, so soft at the edges


def rules_for(config: TrackerConfig) -> Rules:
    """The rules of `config.reference_protocol`."""
    return {"streaming": Streaming, "authors": Authors}[config.reference_protocol](config)


def _in_turn(target: Target, turn: int, config: TrackerConfig) -> Row:
    """What an object is looked for with; lost ones take turns."""
    first, previous = target.mask_references(config)
    if _takes_turns(target, config) and target.language is not None:
        if turn % 2 == 0:
            return _by_words(target, turn // 2)
        return Row(target, ObjectReferences(target.language, first or previous))
    if _takes_turns(target, config) and turn % 2 == 0:
        return Row(target, ObjectReferences(first=first or previous))
    if first is None and previous is None:
        return _by_words(target, turn)
    return Row(target, target.references(config))


def _by_words(target: Target, turn: int) -> Row:
    """Words alone; of a known object with a view beside them: its name need mean nothing to the network."""
    if views := target.known.views:
        view = views[turn % len(views)]
        return Row(target, ObjectReferences(target.language, view.reference), view=view)
    return Row(target, ObjectReferences(target.language))


def _takes_turns(target: Target, config: TrackerConfig) -> bool:
    """LOST, or SEARCHING for as long with a reference of an earlier picture, which may be as stale."""
    unseen = target.state is TrackState.SEARCHING and target.frames_since_seen >= config.lost_after
    return target.state is TrackState.LOST or (unseen and target.first is not None)


def _view_rows(sought: Sequence[Target], frame_index: int, room: int) -> list[Row]:
    """The next so many views of these objects, first one of each, then another of each, and so on."""
    most = max((len(target.known.views) for target in sought), default=0)
    rows = [
        Row(target, ObjectReferences(first=view.reference), view=view)
        for turn in range(most)
        for target in sought
        for view in target.known.views[turn : turn + 1]
    ]
    room = min(room, len(rows))
    start = frame_index * room % len(rows) if rows else 0
    return (rows[start:] + rows[:start])[:room]


def _has_other_turn(target: Target, config: TrackerConfig) -> bool:
    first, previous = target.mask_references(config)
    if target.language is not None:
        return first is not None or previous is not None
    return first is not None and previous is not None


def _checkable(target: Target, config: TrackerConfig) -> bool:
    if config.reanchor_after == 0 or target.state is not TrackState.TRACKED or target.first is None:
        return False
    beatable = target.language is not None and target.anchor_score + config.reanchor_margin < 1.0
    return beatable or bool(target.known.views)


def _check(target: Target) -> Row:
    """By a view, where there are any: a person has shown what the name means."""
    if views := target.known.views:
        view = views[target.view_turn % len(views)]
        return Row(target, ObjectReferences(first=view.reference), check=True, view=view)
    return Row(target, ObjectReferences(language=target.language), check=True)


def _padded(count: int, buckets: tuple[int, ...]) -> int:
    """Rows the runtime will compute for `count` asked."""
    whole, rest = divmod(count, buckets[-1])
    return whole * buckets[-1] + (next(size for size in buckets if size >= rest) if rest else 0)
