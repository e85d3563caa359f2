"""How much the tracker keeps from frame to frame: known beforehand, the same after any number of frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..runtime import MaskReference, Runtime


@dataclass(frozen=True)
class StateBytes:
    """Bytes kept between frames.

    object: an object's values in its first and its previous frame, and its encoded prompt. first_frame: keys
        of a first frame, once for all objects anchored in it. camera: keys of the previous frame, once for
        all objects seen in it.
    """

    object: int
    first_frame: int
    camera: int

    def total(self, objects: int, first_frames: int | None = None) -> int:
        """At most, for so many objects of one camera anchored in so many frames (in one each if None)."""
        frames = objects if first_frames is None else first_frames
        # An object that is not seen keeps the previous frame in which it was: then that frame is its own.
        return objects * self.object + frames * self.first_frame + objects * self.camera

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def state_bytes(runtime: Runtime) -> StateBytes:
    """Measured on one reference; shapes are static, so every other is as large."""
    frame = runtime.encode_image(np.zeros((*runtime.size, 3), np.uint8))
    mask = np.zeros((1, *runtime.size), np.float32)
    mask[:, : runtime.size[0] // 2] = 1
    (reference,) = runtime.encode_reference(frame, mask)
    values = _bytes(_of_object(reference))
    keys = _bytes((*reference.keys, *reference.embeds))
    words = runtime.spec.max_words * (runtime.spec.hidden + 1) + runtime.spec.hidden
    return StateBytes(object=2 * values + 4 * words, first_frame=keys, camera=keys)


def held_bytes(references: Iterable[MaskReference]) -> int:
    """What these references keep alive, arrays that they share counted once."""
    arrays = {
        id(array): array
        for reference in references
        for array in (*reference.keys, *_of_object(reference), *reference.embeds)
    }
    return _bytes(arrays.values())


def _of_object(reference: MaskReference) -> tuple[Any, ...]:
    """The arrays of a reference that are the object's own."""
    return reference.values if reference.look is None else (*reference.values, reference.look)


def _bytes(arrays: Iterable[Any]) -> int:
    return sum(int(array.nbytes) for array in arrays)
