"""`runtime: auto`: the best runtime that works here and passes its checks, and why it was taken."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import cast

from ..errors import ModelFileError, RuntimeUnavailable
from .base import Runtime

_log = logging.getLogger(__name__)

Progress = Callable[[str], None]


def choose_runtime(
    model: str | Path,
    size: str | tuple[int, int] | None,
    threads: int | None,
    device: str,
    progress: Progress | None = None,
) -> Runtime:
    """TensorRT where there is a GPU and its engines pass the gate, else ONNX Runtime on CUDA, else on the
    CPU.

    device: "auto", "cpu" (nothing else is tried) or "cuda" (the CPU alone is refused). ONNX Runtime's own
    TensorRT provider is not used: its engines pass no gate. Whatever a candidate on the GPU fails with, the
    next one is tried; only errors in the model's files pass through. For device "cuda" RuntimeUnavailable
    says what was tried.
    """
    from .onnx import load_onnx

    if device == "cpu":
        return _chosen(load_onnx(model, size=size, threads=threads), "the CPU was asked for", progress)
    reasons: list[str] = []
    engines, whole = _engines(model, size, threads, progress, reasons)
    if engines is not None and whole:
        return _chosen(engines, f"{engines.describe()['engines']} engines agree with ONNX Runtime", progress)
    try:
        on_gpu = load_onnx(model, size=size, threads=threads, device="cuda")
    except ModelFileError:
        raise
    except Exception as error:
        reasons.append(_reason("ONNX Runtime on CUDA", error))
    else:
        if engines is not None:
            engines.close()
        return _chosen(on_gpu, "; ".join(reasons), progress)
    if engines is not None:  # part of the work on the GPU is better than none
        return _chosen(engines, "; ".join(reasons), progress)
    if device == "cuda":
        raise RuntimeUnavailable(f"no runtime works on a GPU here: {'; '.join(reasons)}")
    return _chosen(load_onnx(model, size=size, threads=threads), "; ".join(reasons), progress)


def _engines(
    model: str | Path,
    size: str | tuple[int, int] | None,
    threads: int | None,
    progress: Progress | None,
    reasons: list[str],
) -> tuple[Runtime | None, bool]:
    """A TensorRT runtime with at least one engine, or None, and whether it runs all graphs; reasons hears why
    not."""
    from .trt.backend import TensorRtBackend, load_tensorrt

    try:
        runtime = load_tensorrt(model, size=size, threads=threads, progress=progress)
    except ModelFileError:
        raise
    except Exception as error:
        reasons.append(_reason("TensorRT", error))
        return None, False
    backend = cast(TensorRtBackend, runtime.backend)
    if backend.replaced:
        listed = ", ".join(f"{graph} ({reason})" for graph, reason in backend.replaced.items())
        reasons.append(f"TensorRT cannot run all graphs: {listed}")
    if backend.engines:
        return runtime, not backend.replaced
    runtime.close()
    return None, False


def _reason(what: str, error: Exception) -> str:
    """Why a candidate is passed over; one that fails in a way nobody foresaw leaves its trace in the log."""
    if isinstance(error, RuntimeUnavailable):
        return str(error)
    _log.warning("%s failed, the next runtime is tried", what, exc_info=error)
    return f"{what} failed: {type(error).__name__}: {error}"


def _chosen(runtime: Runtime, reason: str, progress: Progress | None) -> Runtime:
    runtime.choice = f"automatically: {reason}"
    text = f"runtime {runtime.name} on {runtime.describe().get('device', 'cpu')}, chosen {runtime.choice}"
    _log.info("%s", text)
    if progress is not None:
        progress(text)
    return runtime
