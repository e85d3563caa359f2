"""`runtime: auto`: the best runtime that works here and passes its checks, and why it was taken."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from ..errors import RuntimeUnavailable
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
    TensorRT provider is not used: its engines pass no gate. Errors in the model's files pass through; for
    device "cuda" RuntimeUnavailable says what was tried.
    """
    from .onnx_runtime import OnnxRuntime

    if device == "cpu":
        return _chosen(OnnxRuntime(model, size=size, threads=threads), "the CPU was asked for", progress)
    reasons: list[str] = []
    engines = _engines(model, size, threads, progress, reasons)
    if engines is not None and not engines.replaced:
        return _chosen(engines, f"{engines.engines} engines agree with ONNX Runtime", progress)
    try:
        on_gpu = OnnxRuntime(model, size=size, threads=threads, device="cuda")
    except RuntimeUnavailable as error:
        reasons.append(str(error))
    else:
        if engines is not None:
            engines.close()
        return _chosen(on_gpu, "; ".join(reasons), progress)
    if engines is not None:  # part of the work on the GPU is better than none
        return _chosen(engines, "; ".join(reasons), progress)
    if device == "cuda":
        raise RuntimeUnavailable(f"no runtime works on a GPU here: {'; '.join(reasons)}")
    return _chosen(OnnxRuntime(model, size=size, threads=threads), "; ".join(reasons), progress)


def _engines(model, size, threads, progress, reasons: list[str]):
    """A TensorRT runtime with at least one engine, or None; reasons hears why not, or why not whole."""
    from .trt.runtime import TensorRtRuntime

    try:
        runtime = TensorRtRuntime(model, size=size, threads=threads, progress=progress)
    except RuntimeUnavailable as error:
        reasons.append(str(error))
        return None
    if runtime.replaced:
        reasons.append(
            "TensorRT cannot run all graphs: "
            + ", ".join(f"{graph} ({reason})" for graph, reason in runtime.replaced.items())
        )
    if runtime.engines:
        return runtime
    runtime.close()
    return None


def _chosen(runtime: Runtime, reason: str, progress: Progress | None) -> Runtime:
    runtime.choice = f"automatically: {reason}"
    text = f"runtime {runtime.name} on {runtime.describe().get('device', 'cpu')}, chosen {runtime.choice}"
    _log.info("%s", text)
    if progress is not None:
        progress(text)
    return runtime
