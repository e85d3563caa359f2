"""Running one engine: the only module that touches TensorRT's execution, kept thin.

Everything is made once: the context, a GPU buffer for every tensor (bound once by name), page-locked arrays
on the host for what is copied, and, after `WARM_UP` plain runs, a CUDA graph of upload, engine and download.
So a frame allocates nothing on the GPU, and one launch does it all.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from ...errors import RuntimeUnavailable
from ..onnx_runtime import OBJECT_INPUTS
from .device import CudaDevice
from .library import Library

WARM_UP = 2
"""Runs before a CUDA graph is captured: the first ones allocate and compile inside TensorRT."""

_log = logging.getLogger(__name__)


class EngineBatch:
    """An engine for one batch size: `inputs` are the object inputs, written by the caller before `run`."""

    def __init__(self, library: Library, device: CudaDevice, engine: Any, bucket: int) -> None:
        self._device, self._engine = device, engine
        self._context = engine.create_execution_context()
        if self._context is None:
            raise RuntimeUnavailable("TensorRT cannot make an execution context: out of GPU memory?")
        self._addresses: dict[str, int] = {}
        self._sent: dict[str, np.ndarray] = {}
        self._received: dict[str, np.ndarray] = {}
        self._runs, self._graph = 0, None
        self.captured: str = "not yet"
        """Whether a CUDA graph runs, or why not."""
        trt = library.module
        types = _numpy_types(trt)
        for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
            shape = tuple(bucket if size < 0 else int(size) for size in engine.get_tensor_shape(name))
            array = device.host_array(shape, types[engine.get_tensor_dtype(name)])
            if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                self._context.set_input_shape(name, shape)
                self._sent[name] = array
            else:
                self._received[name] = array
            self._addresses[name] = device.allocate(max(1, array.nbytes))
            self._context.set_tensor_address(name, self._addresses[name])
        self.inputs = {name: array for name, array in self._sent.items() if name.startswith(OBJECT_INPUTS)}

    def run(self, shared: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run on `inputs` and `shared` (converted where the engine has other number types); outputs in
        float32, in arrays that the caller may keep."""
        for name, array in shared.items():
            if name in self._sent:
                self._sent[name][...] = array
        if self._graph is not None:
            self._device.launch(self._graph)
        else:
            self._queue()
        self._device.wait()
        self._runs += 1
        if self._runs == WARM_UP:
            self._capture()
        return {
            name: array.astype(np.float32) if array.dtype == np.float16 else array.copy()
            for name, array in self._received.items()
        }

    def close(self) -> None:
        """Free the GPU's memory. Closing twice is allowed."""
        if self._graph is not None:
            self._device.free_graph(self._graph)
        self._context, self._graph = None, None
        for address in self._addresses.values():
            self._device.free(address)
        self._addresses.clear()
        for arrays in (self._sent, self._received):
            for array in arrays.values():
                self._device.free_host(array)
            arrays.clear()
        self.inputs = {}

    def _queue(self) -> None:
        for name, array in self._sent.items():
            self._device.upload(self._addresses[name], array)
        if not self._context.execute_async_v3(self._device.stream):
            raise RuntimeUnavailable("TensorRT failed to run an engine; its log says why")
        for name, array in self._received.items():
            self._device.download(array, self._addresses[name])

    def _capture(self) -> None:
        """Record one run; without a graph everything goes on as before, only slower."""
        try:
            self._graph = self._device.capture(self._queue)
            self.captured = "yes"
        except RuntimeUnavailable as error:
            self.captured = f"no: {error}"
            _log.warning("no CUDA graph for an engine, it runs without: %s", error)


def _numpy_types(trt: Any) -> dict[Any, np.dtype]:
    return {
        trt.DataType.FLOAT: np.dtype(np.float32),
        trt.DataType.HALF: np.dtype(np.float16),
        trt.DataType.UINT8: np.dtype(np.uint8),
    }
