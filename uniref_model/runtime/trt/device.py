"""The few calls of the CUDA runtime that running an engine needs, through cuda-python."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import RuntimeUnavailable


class CudaDevice:
    """The first GPU, and one stream on it. Raises RuntimeUnavailable when there is none."""

    def __init__(self) -> None:
        self._cuda = _import_runtime()
        count = self._call("cudaGetDeviceCount")
        if not count:
            raise RuntimeUnavailable("no CUDA GPU was found")
        self.stream: int = int(self._call("cudaStreamCreate"))

    def facts(self) -> dict[str, Any]:
        """What an engine depends on: GPU, its capability and sizes, the CUDA major version."""
        found = self._call("cudaGetDeviceProperties", 0)
        name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
        return {
            "gpu": name.rstrip("\0"),
            "capability": f"{found.major}.{found.minor}",
            "multiprocessors": int(found.multiProcessorCount),
            "l2_bytes": int(found.l2CacheSize),
            "memory_bytes": int(found.totalGlobalMem),
            "cuda_major": int(self._call("cudaRuntimeGetVersion")) // 1000,
        }

    def allocate(self, size: int) -> int:
        """Address of `size` bytes on the GPU."""
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        self._call("cudaFree", address)

    def upload(self, address: int, array: np.ndarray) -> None:
        """Queue a copy of a contiguous array to the GPU."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self.stream)

    def download(self, array: np.ndarray, address: int) -> None:
        """Queue a copy from the GPU into a contiguous array."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, self.stream)

    def wait(self) -> None:
        """Until everything queued is done."""
        self._call("cudaStreamSynchronize", self.stream)

    def close(self) -> None:
        self._call("cudaStreamDestroy", self.stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *values = getattr(self._cuda, name)(*arguments)
        if int(status) != 0:
            raise RuntimeUnavailable(f"{name} failed: {status}")
        return values[0] if values else None


def _import_runtime() -> ModuleType:
    for name in ("cuda.bindings.runtime", "cuda.cudart"):  # cuda-python from 12.6 on, and before
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError):
            continue
    raise RuntimeUnavailable("TensorRT needs the package cuda-python: pip install cuda-python")
