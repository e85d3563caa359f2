"""What `Tracker.step` answers with: plain immutable values that a node, a file writer or a person can use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from types import MappingProxyType

import numpy as np


class TrackState(str, Enum):
    """Where an object stands. The values are the words shown to people and used in JSON."""

    SEARCHING = "searching"
    """It has words (or a reference still to be applied) and has not been seen yet."""
    TRACKED = "tracked"
    """Seen in this frame, or not seen for fewer than `lost_after` frames."""
    LOST = "lost"
    """Not seen for `lost_after` frames; looked for in every frame."""


FOUND_BY = ("words", "view", "words_and_view", "first_frame", "prompt")
"""By what an object may have been found: its words, a view that it is known by, both together, its
first-frame reference (words beside it or not), or because a person pointed at it."""


@dataclass(frozen=True)
class Found:
    """By what an object was found: "" while it was not, else one of FOUND_BY. view: its number."""

    by: str = ""
    view: int = 0


EMPTY_MASK = np.zeros((0, 0), dtype=np.uint8)
EMPTY_MASK.flags.writeable = False


@dataclass(frozen=True, eq=False)
class TrackedObject:
    """One object in one frame.

    id: caller-chosen or "1", "2", …; never reused in a Tracker's life. slot: 1..max_objects, its value in the
    label image; slots are reused after a removal. label: short name for people. prompt: its words, "" when it
    was given by mask only.
    score: 0..1, this frame's answer, also when under the threshold (1.0 for a given mask). box: (x, y, width,
    height) in frame pixels, None when nothing is seen in this frame. area: pixels. mask: uint8 [height,width]
    of the box, 0 or 255, read-only, shape (0, 0) without a box. frames_tracked: frames it was seen in.
    frames_since_seen: 0 when seen now.
    known: the name of the known object whose views it is looked for with, "" for none. found: by what it was
    found when it was last SEARCHING or LOST (or moved). anchored: whether this frame became its first
    reference. looks_new: said once: it is tracked, and none of its views finds it there, so this frame shows
    it from another side.
    """

    id: str
    slot: int
    label: str
    prompt: str
    state: TrackState
    score: float = 0.0
    box: tuple[int, int, int, int] | None = None
    area: int = 0
    mask: np.ndarray = field(default_factory=lambda: EMPTY_MASK, repr=False)
    frames_tracked: int = 0
    frames_since_seen: int = 0
    known: str = ""
    found: Found = Found()
    anchored: bool = False
    looks_new: bool = False


@dataclass(frozen=True)
class FrameNote:
    """Something a person should know, said once: a prompt that was cut, a reference that could not be used.

    level: "warning" (it works, but not quite as asked) or "error" (the request was dropped). object_id: ""
        for the frame.
    """

    object_id: str
    level: str
    message: str


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """One stepped frame: index counts from 0, size (h, w) in pixels, objects in order of slot, whose masks
    share no pixel.

    timings: milliseconds by step ("prepare", "encode_image", "given", "segment", "merge", "encode_reference",
    "total"; a step that did not run is 0).
    notes: what went wrong or was changed, each said in one frame only.
    """

    index: int
    size: tuple[int, int]
    objects: tuple[TrackedObject, ...]
    timings: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[FrameNote, ...] = ()

    @cached_property
    def label_image(self) -> np.ndarray:
        """uint16 [h,w], 0 background, else an object's slot. Made when it is first asked for, then kept."""
        labels = np.zeros(self.size, np.uint16)
        for item in self.objects:
            if item.box is not None:
                x, y, width, height = item.box
                np.copyto(labels[y : y + height, x : x + width], item.slot, where=item.mask != 0)
        return labels

    def object(self, object_id: str) -> TrackedObject | None:
        """The object with this id, or None."""
        return next((item for item in self.objects if item.id == object_id), None)
