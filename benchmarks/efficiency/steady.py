"""Our runtimes for the cost benchmark: computed in full, answered with fixed masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from uniref_model.runtime import FrameFeatures, ObjectReferences, Prediction, Runtime, load_runtime


class SteadyRuntime(Runtime):
    """Another runtime whose predictions, once computed, are replaced by the masks of `hold`.

    Speed is then that of objects which stay in view, whatever the weights are worth.
    """

    def __init__(self, inner: Runtime) -> None:
        self._inner = inner
        self.name, self.spec, self.size, self.buckets = inner.name, inner.spec, inner.size, inner.buckets
        self._logits: list[np.ndarray] = []

    def hold(self, masks: Sequence[np.ndarray]) -> None:
        """The answers from now on: bool [h,w], one an object, in order of slot."""
        height, width = self.size
        shrunk = [
            cv2.resize(mask.astype(np.float32), (width // 4, height // 4), interpolation=cv2.INTER_AREA)
            for mask in masks
        ]
        self._logits = [16.0 * mask - 8.0 for mask in shrunk]

    def encode_text(self, text: str):
        return self._inner.encode_text(text)

    def encode_image(self, image: np.ndarray) -> FrameFeatures:
        return self._inner.encode_image(image)

    def encode_fitted(self, image: np.ndarray, shown: tuple[int, int]) -> FrameFeatures:
        return self._inner.encode_fitted(image, shown)

    def encode_reference(self, frame: FrameFeatures, masks: np.ndarray):
        return self._inner.encode_reference(frame, masks)

    def segment(self, frame: FrameFeatures, objects: Sequence[ObjectReferences]) -> list[Prediction]:
        found = self._inner.segment(frame, objects)
        return [
            replace(item, score=1.0, mask_logits=logits)
            for item, logits in zip(found, self._logits, strict=True)
        ]

    def close(self) -> None:
        self._inner.close()


def load_ours(key: str, size: tuple[int, int], device: str, threads: int) -> Runtime:
    """ "nano_onnx", "nano_torch" or "r50_torch" (random weights)."""
    if key == "nano_onnx":
        return load_runtime("uniref_nano", size=size, runtime="onnxruntime", threads=threads, device=device)
    from uniref_model.runtime.pytorch import TorchRuntime

    if key == "nano_torch":
        from uniref_model.runtime import find_model

        model = find_model("uniref_nano") / "uniref_nano.safetensors"
    else:
        from uniref_model.network.config import ModelConfig
        from uniref_model.network.model import UniRef

        model = UniRef(ModelConfig.from_name("uniref_r50"), with_text=False).eval()
    return TorchRuntime(model, size=size, threads=threads, device=device)
