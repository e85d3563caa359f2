"""Runtimes round other runtimes, and one without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TypeVar

import cv2
import numpy as np

from ..runtime import (
    FrameFeatures,
    LanguageReference,
    MaskReference,
    ModelSpec,
    ObjectReferences,
    Prediction,
    Runtime,
)

T = TypeVar("T")


class Wrapped(Runtime):
    """Passes everything on to another runtime."""

    def __init__(self, inner: Runtime) -> None:
        self._inner = inner
        self.name, self.spec, self.size, self.buckets = inner.name, inner.spec, inner.size, inner.buckets

    def encode_text(self, text: str) -> LanguageReference:
        return self._inner.encode_text(text)

    def encode_image(self, image: np.ndarray) -> FrameFeatures:
        return self._inner.encode_image(image)

    def encode_fitted(self, image: np.ndarray, shown: tuple[int, int]) -> FrameFeatures:
        return self._inner.encode_fitted(image, shown)

    def encode_reference(self, frame: FrameFeatures, masks: np.ndarray) -> list[MaskReference]:
        return self._inner.encode_reference(frame, masks)

    def segment(self, frame: FrameFeatures, objects: Sequence[ObjectReferences]) -> list[Prediction]:
        return self._inner.segment(frame, objects)

    def close(self) -> None:
        self._inner.close()


class Timed(Wrapped):
    """Sums up the time of what is asked for every frame."""

    def __init__(self, inner: Runtime) -> None:
        super().__init__(inner)
        self._spent = 0.0

    def take(self) -> float:
        """Milliseconds since this was asked last."""
        spent, self._spent = self._spent, 0.0
        return spent

    def encode_fitted(self, image: np.ndarray, shown: tuple[int, int]) -> FrameFeatures:
        return self._clock(lambda: super(Timed, self).encode_fitted(image, shown))

    def encode_reference(self, frame: FrameFeatures, masks: np.ndarray) -> list[MaskReference]:
        return self._clock(lambda: super(Timed, self).encode_reference(frame, masks))

    def segment(self, frame: FrameFeatures, objects: Sequence[ObjectReferences]) -> list[Prediction]:
        return self._clock(lambda: super(Timed, self).segment(frame, objects))

    def _clock(self, work: Callable[[], T]) -> T:
        start = perf_counter()
        try:
            return work()
        finally:
            self._spent += 1000 * (perf_counter() - start)


class Instant(Runtime):
    """Answers at once, always with the masks that it was told: what is left is the work round a network."""

    name = "instant"

    def __init__(self, spec: ModelSpec, size: tuple[int, int], masks: Sequence[np.ndarray]) -> None:
        """masks: bool [h,w], one an object, in order of slot."""
        self.spec, self.size, self._frames = spec, size, 0
        self._logits = [16.0 * _quarter(mask, size) - 8.0 for mask in masks]

    def encode_text(self, text: str) -> LanguageReference:
        one = np.ones(1, np.float32)
        return LanguageReference(one[None], one, one)

    def encode_image(self, image: np.ndarray) -> FrameFeatures:
        self._frames += 1
        return FrameFeatures(image, self._frames)

    def encode_reference(self, frame: FrameFeatures, masks: np.ndarray) -> list[MaskReference]:
        return [MaskReference((), (), (), frame=frame.number) for _ in masks]

    def segment(self, frame: FrameFeatures, objects: Sequence[ObjectReferences]) -> list[Prediction]:
        return [
            Prediction(1.0, np.zeros(4, np.float32), logits)
            for _, logits in zip(objects, self._logits, strict=True)
        ]

    def close(self) -> None:
        """Nothing is held."""


def _quarter(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(mask.astype(np.float32), (size[1] // 4, size[0] // 4), interpolation=cv2.INTER_AREA)
