"""The network behind one small interface: `load_runtime` picks a model, a size and a runtime."""

from __future__ import annotations

from pathlib import Path

from ..errors import RuntimeUnavailable
from .base import (
    FrameFeatures,
    LanguageReference,
    MaskReference,
    ModelSpec,
    ObjectReferences,
    Prediction,
    Runtime,
)
from .files import find_model, shipped_models

__all__ = [
    "FrameFeatures",
    "LanguageReference",
    "MaskReference",
    "ModelSpec",
    "ObjectReferences",
    "Prediction",
    "Runtime",
    "available_runtimes",
    "find_model",
    "load_runtime",
    "shipped_models",
]

RUNTIMES = ("onnxruntime",)
"""Runtimes by preference: "auto" takes the first that works here."""


def load_runtime(
    model: str | Path = "uniref_nano",
    size: str | tuple[int, int] | None = None,
    runtime: str = "auto",
    threads: int | None = None,
    device: str = "cpu",
) -> Runtime:
    """Load an exported model.

    Args:
        model: a name from `shipped_models()`, or a path to a folder with model.json.
        size: "256x448" (height x width); None takes the model's default.
        runtime: "auto" or one of `RUNTIMES`.
        threads: CPU threads; None chooses.
        device: "cpu" or "cuda".
    Raises ModelFileError or RuntimeUnavailable; each names what was asked for and what there is.
    """
    if runtime not in ("auto", *RUNTIMES):
        raise RuntimeUnavailable(f"no runtime {runtime!r}, expected auto or one of {', '.join(RUNTIMES)}")
    from .onnx_runtime import OnnxRuntime

    return OnnxRuntime(model, size=size, threads=threads, device=device)


def available_runtimes() -> dict[str, str]:
    """Every runtime with its version when it works here, else "unavailable: " and why."""
    try:
        import onnxruntime
    except ImportError as error:
        return {"onnxruntime": f"unavailable: {error}"}
    providers = ", ".join(
        name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()
    )
    return {"onnxruntime": f"{onnxruntime.__version__} ({providers})"}
