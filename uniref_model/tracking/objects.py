"""One object's life: what it is looked for with, and how a frame's answer moves it between SEARCHING, TRACKED
and LOST.

    SEARCHING --seen--> TRACKED --`lost_after` frames unseen--> LOST --seen--> TRACKED

Seen means: score over the threshold and at least one pixel left after merging. Unseen frames show no mask,
whatever the state. `first` is set once, where the object was anchored; `previous` moves to every frame in
which it is seen well, and no empty, tiny or mostly overlapped mask ever replaces it. Both live at model size,
so a frame of another size changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..prompts import Prompt
from ..runtime.base import LanguageReference, MaskReference, ObjectReferences
from .aggregate import Share
from .config import TrackerConfig
from .types import EMPTY_MASK, Found, TrackedObject, TrackState
from .views import NO_VIEWS, KnownViews

GIVEN_ANCHOR = 2.0
"""Anchor score of a reference a person gave: words never come to be surer than that."""


@dataclass(frozen=True)
class Verdict:
    """What comparing words alone with what is tracked says about an object's anchor.

    surer_checks: as in `Target`. renewal: the words mean the same thing and are surer than at the anchor: the
    score to note when it is renewed. moves: the object moves to where the words point. view_agrees: whether
    the view that was asked found what is tracked; None when no view was asked, or what is tracked is unsure.
    """

    surer_checks: int = 0
    renewal: float | None = None
    moves: bool = False
    view_agrees: bool | None = None


@dataclass(eq=False)
class Target:
    """An object's working state. Requests from other threads set only `reanchor`, `label` and `known`."""

    id: str
    slot: int
    label: str
    prompt: str
    language: LanguageReference | None = None
    given: Prompt | None = None
    reanchor: bool = False
    """A person asked that the next well seen frame becomes the first reference."""
    renewal: float | None = None
    """A check asked for the same: the anchor score to note then."""
    first: MaskReference | None = None
    previous: MaskReference | None = None
    anchor_score: float = 0.0
    state: TrackState = TrackState.SEARCHING
    score: float = 0.0
    frames_tracked: int = 0
    frames_since_seen: int = 0
    sightings: int = 0
    """Frames in a row seen by words alone, before the anchor."""
    surer_checks: int = 0
    """Checks in a row in which words alone were much surer, and of something else."""
    known: KnownViews = NO_VIEWS
    found: Found = field(default_factory=Found)
    anchored: bool = False
    """In the frame that was stepped last."""
    view_scores: dict[int, float] = field(default_factory=dict)
    """While it is looked for: the latest score of each view that was asked alone, by its number."""
    view_turn: int = 0
    """Checks made with a view: whose turn is next."""
    strange_checks: int = 0
    """Checks in a row, a view each, that did not find what is tracked."""
    looks_new: bool = False
    last: TrackedObject | None = None

    def mask_references(self, config: TrackerConfig) -> tuple[MaskReference | None, MaskReference | None]:
        """(first, previous) as configured. While both are the same frame only one is given: the result is
        equal."""
        first, previous = self.first, self.previous
        if previous is None or previous is first:
            return first, None
        if config.references == "first":
            return first, None
        return (None if config.references == "previous" else first), previous

    def references(self, config: TrackerConfig) -> ObjectReferences:
        """All that it may be looked for with: its words and its mask references."""
        return ObjectReferences(self.language, *self.mask_references(config))

    def see(
        self,
        score: float,
        reference: MaskReference | None,
        *,
        anchor_score: float,
        anchor_after: int,
        found: Found,
    ) -> None:
        """Take in a frame in which the object is seen. reference: this frame's, if it is good enough to keep.
        anchor_after: frames in a row in which words alone must see it before one becomes its first. found: by
        what, in this frame."""
        anew = self.finds_anchor(found)
        if self.state is not TrackState.TRACKED or self.first is None:
            self.found = found
        self.state, self.score, self.view_scores = TrackState.TRACKED, score, {}
        self.frames_tracked += 1
        self.frames_since_seen = 0
        if reference is None:
            self.sightings = 0
            return
        if self.first is None:
            self.sightings += 1
            if self.sightings < anchor_after and anchor_score < GIVEN_ANCHOR:
                return
        if self.first is None or self.wants_anchor or anew:
            checked = anchor_score if self.renewal is None else self.renewal
            self.anchor_score = GIVEN_ANCHOR if self.reanchor else checked
            self.first, self.surer_checks, self.anchored = reference, 0, True
            self.reanchor, self.renewal = False, None
        self.previous = reference

    def miss(self, score: float, config: TrackerConfig) -> None:
        """Take in a frame in which the object is not seen."""
        self.score = score
        self.sightings = 0
        self.frames_since_seen += 1
        if self.state is TrackState.TRACKED and self.frames_since_seen >= config.lost_after:
            self.state = TrackState.LOST

    def anchor(self, reference: MaskReference, *, in_this_frame: bool) -> None:
        """Take a reference given by a person."""
        self.given = None
        self.first = self.previous = reference
        self.anchor_score, self.anchored = GIVEN_ANCHOR, in_this_frame

    def finds_anchor(self, found: Found) -> bool:
        """Whether the frame that answered so is a new anchor: one of its views found it again, and no person
        said where it is."""
        sought = self.state is not TrackState.TRACKED
        return sought and found.view > 0 and self.anchor_score < GIVEN_ANCHOR

    @property
    def wants_anchor(self) -> bool:
        """Whether the next well seen frame is to become the first reference."""
        return self.reanchor or self.renewal is not None

    def needs_reference(self, config: TrackerConfig, verdict: Verdict | None, found: Found) -> bool:
        """Whether a reference made from this frame would be used; verdict, found: about to be taken in."""
        if verdict is not None and (verdict.moves or verdict.renewal is not None):
            return True
        if self.finds_anchor(found):
            return True
        return self.first is None or self.wants_anchor or config.references != "first"

    def take(self, verdict: Verdict) -> None:
        """Take in what a check said; where it moves the object, this frame becomes the anchor."""
        self.surer_checks = verdict.surer_checks
        if verdict.view_agrees is not None:
            self.view_turn += 1
            self.strange_checks = 0 if verdict.view_agrees else self.strange_checks + 1
            self.looks_new = self.strange_checks == len(self.known.views)
        if verdict.renewal is not None:
            self.renewal = verdict.renewal
        if verdict.moves:
            self.first = self.previous = None
            self.sightings = 0

    def public(self, share: Share | None) -> TrackedObject:
        """The frame's answer about this object; share: what it got of the frame, None when it was not
        seen."""
        share = share or Share(None, EMPTY_MASK, 0, 0)
        return TrackedObject(
            id=self.id,
            slot=self.slot,
            label=self.label,
            prompt=self.prompt,
            state=self.state,
            score=self.score,
            frames_tracked=self.frames_tracked,
            frames_since_seen=self.frames_since_seen,
            known=self.known.name,
            found=self.found,
            anchored=self.anchored,
            looks_new=self.looks_new,
            box=share.box,
            area=share.area,
            mask=share.mask,
        )
