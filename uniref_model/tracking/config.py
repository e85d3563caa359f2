"""The tracker's options, checked when made."""

from __future__ import annotations

from dataclasses import dataclass

PROTOCOLS = ("streaming", "authors")
REFERENCES = ("first", "previous", "first+previous")
CONTOURS = ("model", "network", "colour")
THRESHOLDS = ("mask_threshold", "language_threshold", "view_threshold")
MAX_LABEL = 255
"""Highest slot: label images are written as 8-bit PNGs."""


@dataclass(frozen=True)
class TrackerConfig:
    """How objects live. Every field may change while tracking (`Tracker.configure`), `max_objects` only
    upwards of use.

    max_objects: one more is refused with CapacityError.
    references: mask references used, "first", "previous" or "first+previous".
    mask_threshold: a score must exceed it for what is followed, or was, to count as seen. None takes the
        model's own (model.json), here and below.
    language_threshold: the same where words alone say what is looked for.
    view_threshold: the same where an object is not followed yet and a mask of another picture says what it
        is: another thing there is taken for it more easily than what was seen a frame ago is lost.
    lost_after: frames unseen until TRACKED becomes LOST.
    min_area: a mask of fewer pixels of the model-size frame is shown but never becomes a reference.
    anchor_after: frames in a row in which words alone must see an object before the last of them becomes its
        first reference.
    reanchor_margin: how much surer words alone must be than they were at the anchor, while disagreeing with
        the tracked mask.
    reanchor_after: for how many such checks in a row, until the object is anchored anew. 0 never re-anchors.
    recheck_every: frames between checks that are made even when they cost an extra row. 0: only free ones.
    contours: "network" takes masks as the network draws them, "colour" lets their contours follow the
        image's colours (`contours.follow_colour`), "model" does what the model's model.json recommends.
    reference_protocol: "authors" follows the video protocols behind the authors' numbers (`inference_vos_3f`,
        `inference_rvos_vl`): an object keeps all its references whether it is seen or not, any part it gets
        of the merged frame renews the previous one, and min_area, anchor_after and the re-anchoring options
        play no part. "streaming" is made for cameras: see README.
    """

    max_objects: int = 8
    references: str = "first+previous"
    mask_threshold: float | None = None
    language_threshold: float | None = None
    view_threshold: float | None = None
    lost_after: int = 5
    min_area: int = 16
    anchor_after: int = 1
    reanchor_margin: float = 0.2
    reanchor_after: int = 3
    recheck_every: int = 15
    contours: str = "model"
    reference_protocol: str = "streaming"

    def threshold(self, by: str) -> float:
        """The score that counts as seen, by "mask", "language" or "view". Only for options that have the
        model's (`Tracker.config`)."""
        value = {
            "mask": self.mask_threshold,
            "language": self.language_threshold,
            "view": self.view_threshold,
        }[by]
        assert value is not None
        return value

    def __post_init__(self) -> None:
        if self.references not in REFERENCES:
            raise ValueError(f"references is {self.references!r}, expected one of {', '.join(REFERENCES)}")
        if self.reference_protocol not in PROTOCOLS:
            raise ValueError(
                f"reference_protocol is {self.reference_protocol!r}, expected one of {', '.join(PROTOCOLS)}"
            )
        if self.contours not in CONTOURS:
            raise ValueError(f"contours is {self.contours!r}, expected one of {', '.join(CONTOURS)}")
        if not 1 <= self.max_objects <= MAX_LABEL:
            raise ValueError(f"max_objects is {self.max_objects}, expected 1 to {MAX_LABEL}")
        for name, low in (
            ("lost_after", 1),
            ("min_area", 1),
            ("anchor_after", 1),
            ("reanchor_after", 0),
            ("recheck_every", 0),
        ):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {low}")
        for name in (*THRESHOLDS, "reanchor_margin"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is {value}, expected 0 to 1")
