"""The network behind one small interface: `load_runtime` picks a model, a size and a runtime."""

from __future__ import annotations

from .base import (
    FrameFeatures,
    LanguageReference,
    MaskReference,
    ModelSpec,
    ObjectReferences,
    Prediction,
    Runtime,
)

__all__ = [
    "FrameFeatures",
    "LanguageReference",
    "MaskReference",
    "ModelSpec",
    "ObjectReferences",
    "Prediction",
    "Runtime",
]
