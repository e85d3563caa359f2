"""The few calls of the CUDA runtime that running an engine needs, through cuda-python."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import RuntimeUnavailable


class CudaDevice:
    """The first GPU, and one stream on it that does not wait for the default stream. Raises
    RuntimeUnavailable when there is none."""

    name = "cuda"

    def __init__(self) -> None:
        self._cuda = _import_runtime()
        try:
            count = self._call("cudaGetDeviceCount")
        except RuntimeUnavailable as error:  # without a driver even counting fails
            raise RuntimeUnavailable(f"no NVIDIA GPU with a driver was found ({error})") from error
        if not count:
            raise RuntimeUnavailable("no NVIDIA GPU was found")
        self._read: list[np.ndarray] = []  # by queued copies: kept until they are done
        self.stream: int | None = int(
            self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)
        )

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

    def host_array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """A zeroed array in page-locked memory, which the GPU copies from and to without a detour."""
        size = max(1, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        address = int(self._call("cudaHostAlloc", size, 0))
        memory: Any = (ctypes.c_byte * size).from_address(address)
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(memory, dtype, count).reshape(shape)
        array[...] = 0
        return array

    def free_host(self, array: np.ndarray) -> None:
        """Free a `host_array`; it must not be used any more."""
        self._call("cudaFreeHost", array.ctypes.data)

    def upload(self, address: int, array: np.ndarray) -> None:
        """Queue a copy of a contiguous array to the GPU, which may be let go at once."""
        self._read.append(array)
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self.stream)

    def download(self, array: np.ndarray, address: int) -> None:
        """Queue a copy from the GPU into a contiguous array."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, self.stream)

    def copy(self, target: int, source: int, size: int) -> None:
        """Queue a copy of `size` bytes on the GPU."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self._call("cudaMemcpyAsync", target, source, size, kind, self.stream)

    def wait(self) -> None:
        """Until everything queued is done."""
        self._call("cudaStreamSynchronize", self.stream)
        self._read.clear()

    def capture(self, queue: Callable[[], None]) -> Any:
        """What `queue` puts on the stream as a CUDA graph; nothing of it runs now. Raises
        RuntimeUnavailable."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self.stream, mode)
        try:
            queue()
        finally:  # also after an error: a stream that captures can do nothing else
            graph = self._call("cudaStreamEndCapture", self.stream)
        try:
            return self._call("cudaGraphInstantiateWithFlags", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: Any) -> None:
        """Queue a captured graph."""
        self._call("cudaGraphLaunch", graph, self.stream)

    def free_graph(self, graph: Any) -> None:
        self._call("cudaGraphExecDestroy", graph)

    def close(self) -> None:
        """End the stream. Memory can still be freed. Closing twice is allowed."""
        if self.stream is not None:
            stream, self.stream = self.stream, None
            self._call("cudaStreamDestroy", stream)
            self._read.clear()

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *values = getattr(self._cuda, name)(*arguments)
        if int(status) != 0:
            raise RuntimeUnavailable(f"{name} failed: {getattr(status, 'name', status)}")
        return values[0] if values else None


def _import_runtime() -> ModuleType:
    for name in ("cuda.bindings.runtime", "cuda.cudart"):  # cuda-python from 12.6 on, and before
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError):
            continue
    raise RuntimeUnavailable("TensorRT needs the package cuda-bindings: pip install cuda-bindings")
