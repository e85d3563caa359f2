"""`Tracker`: give it words, masks, clicks or boxes, then call `step` with every frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..runtime.base import Runtime
from .config import TrackerConfig
from .types import TrackedFrame, TrackedObject


class Tracker:
    """Follows up to `max_objects` objects through frames, in constant memory.

    Requests (`add_*`, `remove`, `clear`, `reanchor`) may come from any thread and take effect with the next
    `step`; they never wait for a frame being computed. `step` itself must be called from one thread at a
    time.
    """

    def __init__(self, runtime: Runtime, config: TrackerConfig | None = None) -> None:
        raise NotImplementedError

    @property
    def config(self) -> TrackerConfig:
        raise NotImplementedError

    def configure(self, **changes: Any) -> TrackerConfig:
        """Change options between frames. Raises ValueError naming the bad one; nothing changes then."""
        raise NotImplementedError

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """(height, width) of the last stepped frame; masks, clicks and boxes are checked against it at
        once."""
        raise NotImplementedError

    @property
    def objects(self) -> tuple[TrackedObject, ...]:
        """Every object known now, as of the last frame; those just added are SEARCHING."""
        raise NotImplementedError

    def add_text(self, prompt: str, *, object_id: str | None = None, label: str | None = None) -> str:
        """Look for words. Returns the id. Raises PromptError, CapacityError, ObjectIdError."""
        raise NotImplementedError

    def add_mask(
        self,
        mask: np.ndarray,
        *,
        image: np.ndarray | None = None,
        object_id: str | None = None,
        label: str | None = None,
        prompt: str | None = None,
    ) -> str:
        """Follow what a mask (bool or uint8 [h,w], non-zero = object) covers in the next stepped frame.

        image: the frame the mask belongs to, when that is an earlier one (uint8 RGB [h,w,3]); the object is
        then looked for in the next frame like any other. prompt: words for the same object, used together
        with the mask. Returns the id. Raises MaskError, ImageError, PromptError, CapacityError,
        ObjectIdError.
        """
        raise NotImplementedError

    def add_points(
        self,
        points: Sequence[tuple[float, float]],
        labels: Sequence[int] | None = None,
        *,
        image: np.ndarray | None = None,
        object_id: str | None = None,
        label: str | None = None,
        prompt: str | None = None,
    ) -> str:
        """Follow what clicks (x, y) in pixels point at in the next stepped frame; labels 1 = on it, 0 = not
        on it.

        Answered in that same frame. Options, return value and errors as in `add_mask`.
        """
        raise NotImplementedError

    def add_box(
        self,
        box: tuple[float, float, float, float],
        *,
        image: np.ndarray | None = None,
        object_id: str | None = None,
        label: str | None = None,
        prompt: str | None = None,
    ) -> str:
        """Follow what a box (x, y, width, height) in pixels holds in the next stepped frame. Otherwise as
        `add_points`."""
        raise NotImplementedError

    def reanchor(self, object_id: str) -> None:
        """Make the next frame in which the object is seen well its first reference. Raises ObjectIdError."""
        raise NotImplementedError

    def remove(self, object_id: str) -> None:
        """Forget one object. Raises ObjectIdError when there is none with this id."""
        raise NotImplementedError

    def clear(self) -> list[str]:
        """Forget all objects; returns their ids in order of slot."""
        raise NotImplementedError

    def step(self, image: np.ndarray) -> TrackedFrame:
        """Follow all objects into the next frame, uint8 [h,w,3] RGB. Raises ImageError; objects are then as
        before."""
        raise NotImplementedError
