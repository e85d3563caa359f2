"""Runtimes made of other runtimes, for what the benchmarks need and a robot does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from uniref_model.profiling.wrapped import Wrapped
from uniref_model.runtime import (
    FrameFeatures,
    ObjectReferences,
    Prediction,
    Runtime,
    find_model,
    load_runtime,
)


class SteadyRuntime(Wrapped):
    """Computes every prediction and answers with the masks of `hold` instead.

    Speed is then that of objects which stay in view, whatever the weights are worth.
    """

    def __init__(self, inner: Runtime) -> None:
        super().__init__(inner)
        self._logits: list[np.ndarray] = []

    def hold(self, masks: Sequence[np.ndarray]) -> None:
        """The answers from now on: bool [h,w], one an object, in order of slot."""
        height, width = self.size
        shrunk = [
            cv2.resize(mask.astype(np.float32), (width // 4, height // 4), interpolation=cv2.INTER_AREA)
            for mask in masks
        ]
        self._logits = [16.0 * mask - 8.0 for mask in shrunk]

    def segment(self, frame: FrameFeatures, objects: Sequence[ObjectReferences]) -> list[Prediction]:
        found = super().segment(frame, objects)
        return [
            replace(item, score=1.0, mask_logits=logits)
            for item, logits in zip(found, self._logits, strict=True)
        ]


def nano_weights() -> Path:
    """The shipped nano model's PyTorch weights."""
    return find_model("uniref_nano") / "uniref_nano.safetensors"


def open_nano(size: tuple[int, int], threads: int, device: str, fusion: str) -> Runtime:
    """The shipped nano model in PyTorch, fusing as told."""
    return load_runtime(nano_weights(), size, "torch", threads, device, fusion=fusion)
