"""`runtime: auto`: the best runtime that works here and passes its checks, and why it was taken."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import numpy as np

from ..errors import ModelFileError, RuntimeUnavailable
from .base import ObjectReferences, Runtime
from .checked import CheckedBackend, listed
from .graph_runtime import GraphRuntime
from .onnx import load_onnx

_log = logging.getLogger(__name__)

Progress = Callable[[str], None]

TRIAL_FRAMES = 15
"""Frames of the trial that decides between two runtimes, after two that do not count."""

WORTH_IT = 0.95
"""Part of the other's time that a runtime may take to be preferred: what is nearly equal stays with the one
that needs less memory."""


def choose_runtime(
    model: str | Path,
    size: str | tuple[int, int] | None,
    threads: int | None,
    device: str,
    precision: str = "auto",
    progress: Progress | None = None,
    *,
    timed: bool = True,
) -> Runtime:
    """TensorRT where there is a GPU and its engines pass the gate, else ONNX Runtime on CUDA, else OpenVINO
    where it is installed, passes the gate and is faster in a short trial, else ONNX Runtime on the CPU.

    device: "auto"; "cpu", "gpu" or "npu" (only what runs there is tried); "cuda" (the CPU alone is refused).
    timed: whether the trial is made; without, OpenVINO need not be faster.
    precision: "auto", or what a runtime has to compute in. ONNX Runtime's own TensorRT provider is not used:
    its engines pass no gate. Whatever a candidate fails with, the next one is tried; only errors in the
    model's files pass through. RuntimeUnavailable says what was tried, where the CPU will not do.
    """
    choice = _Choice(model, size, threads, device, precision, progress, timed)
    if device == "cpu":
        choice.reasons.append("the CPU was asked for")
    if device in ("auto", "cuda") and (found := choice.nvidia()):
        return found
    if device != "cuda" and (found := choice.openvino()):
        return found
    if device in ("auto", "cpu") and precision in ("auto", "fp32"):
        return choice.taken(load_onnx(model, size=size, threads=threads))
    what = {"cuda": "a GPU", "auto": "any device"}.get(device, f"the device {device!r}")
    kind = "" if precision == "auto" else f" in {precision}"
    raise RuntimeUnavailable(f"no runtime works on {what} here{kind}: {'; '.join(choice.reasons)}")


@dataclass
class _Choice:
    """What is looked for, as in `choose_runtime`; reasons: why not what was tried so far."""

    model: str | Path
    size: str | tuple[int, int] | None
    threads: int | None
    device: str
    precision: str
    progress: Progress | None
    timed: bool
    reasons: list[str] = field(default_factory=list)

    def nvidia(self) -> Runtime | None:
        engines = self._engines()
        if engines is not None and not _checked(engines).replaced:
            return self.taken(engines, f"{_checked(engines).engines} engines agree with ONNX Runtime")
        on_gpu = None
        if self.precision in ("auto", "fp32"):
            on_gpu = self._tried("ONNX Runtime on CUDA", self._load_on_cuda)
        if on_gpu is not None and engines is not None:
            engines.close()
        found = on_gpu or engines  # part of the work on the GPU is better than none
        return None if found is None else self.taken(found)

    def openvino(self) -> Runtime | None:
        found = self._tried("OpenVINO", self._load_openvino)
        if found is None:
            return None
        backend = _checked(found)
        if backend.replaced:
            self.reasons.append(f"OpenVINO cannot run all graphs: {', '.join(backend.replaced)}")
        elif not self.timed:
            return self.taken(found, "OpenVINO agrees with ONNX Runtime; neither was timed")
        elif self.device in ("auto", "cpu") and self.precision in ("auto", "fp32"):
            part = trial(found, backend.reference)
            told = f"OpenVINO takes {part:.2f} of ONNX Runtime's time on the CPU in {TRIAL_FRAMES} frames"
            self.reasons.append(told)
            if part <= WORTH_IT:
                return self.taken(found)
        else:
            return self.taken(found, f"{backend.device} was asked for")
        found.close()
        return None

    def taken(self, runtime: Runtime, reason: str = "") -> Runtime:
        runtime.choice = f"automatically: {reason or '; '.join(self.reasons)}"
        text = f"runtime {runtime.name} on {runtime.describe().get('device', 'cpu')}, chosen {runtime.choice}"
        _log.info("%s", text)
        if self.progress is not None:
            self.progress(text)
        return runtime

    def _engines(self) -> Runtime | None:
        """A TensorRT runtime with at least one engine."""
        runtime = self._tried("TensorRT", self._load_tensorrt)
        if runtime is None:
            return None
        if replaced := _checked(runtime).replaced:
            self.reasons.append(f"TensorRT cannot run all graphs: {listed(replaced)}")
        if _checked(runtime).engines:
            return runtime
        runtime.close()
        return None

    def _load_on_cuda(self) -> Runtime:
        return load_onnx(self.model, size=self.size, threads=self.threads, device="cuda")

    def _load_tensorrt(self) -> Runtime:
        from .trt.backend import load_tensorrt

        return load_tensorrt(
            self.model,
            size=self.size,
            threads=self.threads,
            precision=self.precision,
            progress=self.progress,
        )

    def _load_openvino(self) -> Runtime:
        from .openvino import load_openvino

        return load_openvino(
            self.model,
            size=self.size,
            threads=self.threads,
            device=self.device,
            precision=self.precision,
            progress=self.progress,
        )

    def _tried(self, what: str, load: Callable[[], Runtime]) -> Runtime | None:
        """What `load` gives, or None; one that fails in a way nobody foresaw leaves its trace in the log."""
        try:
            return load()
        except ModelFileError:
            raise
        except RuntimeUnavailable as error:
            self.reasons.append(str(error))
        except Exception as error:
            _log.warning("%s failed, the next runtime is tried", what, exc_info=error)
            self.reasons.append(f"{what} failed: {type(error).__name__}: {error}")
        return None


def _checked(runtime: Runtime) -> CheckedBackend:
    return cast(CheckedBackend, cast(GraphRuntime, runtime).backend)


def trial(one: Runtime, other: Runtime, frames: int = TRIAL_FRAMES) -> float:
    """What part of the other's time `one` takes: the median over frames with one object, turn by turn, so
    that whatever else the machine does burdens both."""
    steps = [_steps(runtime) for runtime in (one, other)]
    parts = []
    for index in range(2 + frames):
        times = {place: next(steps[place]) for place in ((0, 1) if index % 2 else (1, 0))}
        parts.append(times[0] / times[1])
    return float(np.median(parts[2:]))


def _steps(runtime: Runtime) -> Any:
    """Seconds of one frame after the other."""
    image = np.random.default_rng(0).integers(0, 256, (*runtime.size, 3), np.uint8)
    mask = np.zeros((1, *runtime.size), np.float32)
    mask[:, runtime.size[0] // 4 : runtime.size[0] // 2, runtime.size[1] // 4 : runtime.size[1] // 2] = 1
    (first,) = (previous,) = runtime.encode_reference(runtime.encode_image(image), mask)
    while True:
        start = perf_counter()
        frame = runtime.encode_image(image)
        runtime.segment(frame, [ObjectReferences(first=first, previous=previous)])
        (previous,) = runtime.encode_reference(frame, mask)
        yield perf_counter() - start
