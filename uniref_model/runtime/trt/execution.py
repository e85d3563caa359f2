"""Running one engine: the only module that touches TensorRT's execution, kept thin.

Everything is made once: the context, a GPU buffer for every tensor (bound once by name), page-locked arrays
on the host for what is copied, and, after `WARM_UP` plain runs, a CUDA graph of upload, engine and download.
What engines hand to each other (`STAYS`) does not leave the GPU. So a frame allocates nothing there, and
only the image, masks, words and answers cross the bus.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from ...errors import RuntimeUnavailable
from ..onnx_runtime import OBJECT_INPUTS
from .device import CudaDevice
from .library import Library
from .tensor import DeviceTensor

WARM_UP = 2
"""Runs before a CUDA graph is captured: the first ones allocate and compile inside TensorRT."""

STAYS = ("lateral", "src", "key", "value", "embed", "query", "classes")
"""How the names of tensors begin that stay on the GPU: a frame's features, and references."""

_log = logging.getLogger(__name__)


class EngineBatch:
    """An engine for one batch size: `inputs` are the object inputs, written by the caller before `run`."""

    def __init__(self, library: Library, device: CudaDevice, engine: Any, bucket: int) -> None:
        self._device, self._engine = device, engine
        self._context = engine.create_execution_context()
        if self._context is None:
            raise RuntimeUnavailable("TensorRT cannot make an execution context: out of GPU memory?")
        self._tensors: dict[str, DeviceTensor] = {}
        self._sent: dict[str, np.ndarray] = {}
        self._received: dict[str, np.ndarray] = {}
        self._runs, self._graph = 0, None
        self.captured: str = "not yet"
        """Whether a CUDA graph runs, or why not."""
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) for name in names}
        self._takes = [name for name in names if modes[name] == library.module.TensorIOMode.INPUT]
        self._gives = [name for name in names if name not in self._takes]
        types = _numpy_types(library.module)
        for name in names:
            shape = tuple(bucket if size < 0 else int(size) for size in engine.get_tensor_shape(name))
            self._bind(name, shape, types[engine.get_tensor_dtype(name)])
        objects = [name for name in self._takes if name.startswith(OBJECT_INPUTS)]
        self.inputs = {name: self._sent.get(name, self._tensors[name]) for name in objects}

    def _bind(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        tensor = DeviceTensor(self._device, self._device.allocate(max(1, size)), shape, dtype)
        self._tensors[name] = tensor
        if not name.startswith(STAYS):
            hosts = self._sent if name in self._takes else self._received
            hosts[name] = self._device.host_array(shape, dtype)
        if name in self._takes:
            self._context.set_input_shape(name, shape)
        self._context.set_tensor_address(name, tensor.address)

    def run(self, shared: dict[str, Any]) -> dict[str, Any]:
        """Run on `inputs` and `shared` (converted where the engine has other number types); outputs are
        tensors on the GPU for what stays there, else float32 arrays; the next run writes over either."""
        for name, value in shared.items():
            if name in self._takes:
                self._sent.get(name, self._tensors[name])[...] = value
        if self._graph is not None:
            self._device.launch(self._graph)
        else:
            self._queue()
        self._device.wait()
        self._runs += 1
        if self._runs == WARM_UP:
            self._capture()
        answers = {name: array.astype(np.float32, copy=False) for name, array in self._received.items()}
        return {name: answers.get(name, self._tensors[name]) for name in self._gives}

    def close(self) -> None:
        """Free the GPU's memory. Closing twice is allowed."""
        if self._graph is not None:
            self._device.free_graph(self._graph)
        self._context, self._graph = None, None
        for tensor in self._tensors.values():
            self._device.free(tensor.address)
        self._tensors.clear()
        for arrays in (self._sent, self._received):
            for array in arrays.values():
                self._device.free_host(array)
            arrays.clear()
        self.inputs = {}

    def _queue(self) -> None:
        for name, array in self._sent.items():
            self._device.upload(self._tensors[name].address, array)
        if not self._context.execute_async_v3(self._device.stream):
            raise RuntimeUnavailable("TensorRT failed to run an engine; its log says why")
        for name, array in self._received.items():
            self._device.download(array, self._tensors[name].address)

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
