"""The network behind one small interface: `load_runtime` picks a model, a size and a runtime."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from ..errors import RuntimeUnavailable
from .base import (
    FrameFeatures,
    LanguageReference,
    MaskReference,
    ObjectReferences,
    Prediction,
    Runtime,
)
from .files import check_threads, find_model, shipped_models
from .spec import PRECISIONS, ModelSpec

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

RUNTIMES = ("onnxruntime", "openvino", "tensorrt", "torch")
"""Runtimes there are. "auto" takes torch for a .safetensors file, else the best that works (`choose`)."""

DEVICES = ("auto", "cpu", "cuda", "gpu", "npu")


def load_runtime(
    model: str | Path = "uniref_nano",
    size: str | tuple[int, int] | None = None,
    runtime: str = "auto",
    threads: int | None = None,
    device: str = "auto",
    *,
    precision: str = "auto",
    fusion: str | None = None,
    timed: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Runtime:
    """Load an exported model, or (torch) a .safetensors file.

    Args:
        model: a name from `shipped_models()`, a path to a folder with model.json, or a .safetensors file.
        size: "256x448" (height x width); None takes the model's default.
        runtime: "auto" or one of `RUNTIMES`.
        threads: CPU threads; None chooses.
        device: "cpu", "cuda", "gpu" or "npu" (Intel's, through OpenVINO), or "auto", which takes a GPU where
            it can be used; TensorRT always does.
        precision: "fp32", "fp16" or "bf16" where the runtime has the choice and what it computes passes the
            check against ONNX Runtime in float32; "auto" leaves it to the runtime.
        fusion: another way to fuse words and masks than the model's; torch only.
        timed: whether "auto" times what works, which may come out otherwise the next time; without, the same
            machine always gives the same runtime.
        progress: told in words what takes long (engines that are built and checked), from any thread.
    Raises ModelFileError, RuntimeUnavailable or LimitError; each names what was asked for and what there is.
    """
    check_threads(threads)
    if runtime not in ("auto", *RUNTIMES):
        raise RuntimeUnavailable(f"no runtime {runtime!r}, expected auto or one of {', '.join(RUNTIMES)}")
    if device not in DEVICES:
        raise RuntimeUnavailable(f"no device {device!r}, expected one of {', '.join(DEVICES)}")
    if precision not in ("auto", *PRECISIONS):
        known = ", ".join(PRECISIONS)
        raise RuntimeUnavailable(f"no precision {precision!r}, expected auto or one of {known}")
    if runtime == "torch" or (runtime == "auto" and Path(model).suffix == ".safetensors"):
        _check_fp32("PyTorch", precision)
        return _load_torch(model, size, threads, device, fusion)
    if fusion is not None:
        raise RuntimeUnavailable(
            f"fusion {fusion!r} can be chosen for .safetensors models only: an exported graph has its own "
            "built in"
        )
    if runtime == "tensorrt":
        from .trt.backend import load_tensorrt

        return load_tensorrt(model, size=size, threads=threads, precision=precision, progress=progress)
    if runtime == "openvino":
        from .openvino import load_openvino

        return load_openvino(
            model, size=size, threads=threads, device=device, precision=precision, progress=progress
        )
    if runtime == "auto":
        from .choose import choose_runtime

        return choose_runtime(model, size, threads, device, precision, progress, timed=timed)
    from .onnx import load_onnx

    _check_fp32("ONNX Runtime", precision)
    return load_onnx(model, size=size, threads=threads, device=device)


def _check_fp32(what: str, precision: str) -> None:
    if precision not in ("auto", "fp32"):
        raise RuntimeUnavailable(f"{what} computes in fp32, not in {precision}: OpenVINO and TensorRT may")


def _load_torch(
    model: str | Path,
    size: str | tuple[int, int] | None,
    threads: int | None,
    device: str,
    fusion: str | None,
) -> Runtime:
    try:
        from .pytorch import TorchRuntime

        return TorchRuntime(model, size=size, threads=threads, device=device, fusion=fusion)
    except ImportError as error:  # torch itself, or what the model is built of (timm, transformers)
        raise RuntimeUnavailable(
            f"the torch runtime needs PyTorch ({error}): from a checkout, pip install -e '.[train]'"
        ) from error


def available_runtimes() -> dict[str, str]:
    """Every runtime with its version when it works here, else "unavailable: " and why."""
    return {
        "onnxruntime": _onnxruntime_state(),
        "openvino": _openvino_state(),
        "tensorrt": _tensorrt_state(),
        "torch": _torch_state(),
    }


def _onnxruntime_state() -> str:
    try:
        import onnxruntime

        names = onnxruntime.get_available_providers()
    except Exception as error:  # a broken installation fails in many ways, and is what this is asked for
        return f"unavailable: {error}"
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in names)
    return f"{onnxruntime.__version__} ({providers})"


def _openvino_state() -> str:
    from .openvino import device_names

    try:
        return device_names()
    except Exception as error:  # as above
        return f"unavailable: {error}"


def _torch_state() -> str:
    """Its version as installed: importing it takes seconds."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "unavailable: PyTorch is not installed (only .safetensors models need it)"


def _tensorrt_state() -> str:
    from .trt.device import CudaDevice
    from .trt.library import load_library

    try:
        library = load_library()
        device = CudaDevice()
        gpu = device.facts()["gpu"]
        device.close()
    except Exception as error:  # as above
        return f"unavailable: {error}"
    return f"{library.name} {library.version} on {gpu}"
