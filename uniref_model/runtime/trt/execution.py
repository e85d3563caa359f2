"""Running one engine: the only module that touches TensorRT's execution, kept thin.

Everything is made once: the context, a GPU buffer for every tensor (bound once by name), page-locked arrays
on the host for what is copied, and, after `WARM_UP` plain runs, a CUDA graph of upload, engine and download.
What engines hand to each other does not leave the GPU (`Port.stays`). So a frame allocates nothing there,
and only the image, masks, words and answers cross the bus.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import RuntimeUnavailable
from ..contract import Graph
from ..loans import size_of
from ..tensor import DeviceMemory, DeviceTensor
from .device import CudaDevice
from .library import Library

WARM_UP = 2
"""Runs before a CUDA graph is captured: the first ones allocate and compile inside TensorRT."""

_log = logging.getLogger(__name__)


class BoundEngine:
    """An engine for one batch size (see `BoundGraph`). Raises RuntimeUnavailable where it is not as the
    contract says, or its number types are none of numpy's."""

    def __init__(self, library: Library, device: CudaDevice, engine: Any, graph: Graph, bucket: int) -> None:
        self._device, self._engine = device, engine
        self._context = engine.create_execution_context()
        if self._context is None:
            raise RuntimeUnavailable("TensorRT cannot make an execution context: out of GPU memory?")
        self._ports = {port.name: port for port in (*graph.inputs, *graph.outputs)}
        self._tensors: dict[str, DeviceTensor] = {}
        self._sent: dict[str, np.ndarray] = {}
        self._received: dict[str, np.ndarray] = {}
        self._runs, self._graph = 0, None
        self.memory = DeviceMemory(device)
        self.captured: str = "not yet"
        """Whether a CUDA graph runs, or why not."""
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) for name in names}
        self._takes = [name for name in names if modes[name] == library.module.TensorIOMode.INPUT]
        self._gives = [name for name in names if name not in self._takes]
        types = _numpy_types(library.module)
        try:
            for name in names:
                shape = tuple(bucket if size < 0 else int(size) for size in engine.get_tensor_shape(name))
                kind = engine.get_tensor_dtype(name)
                if name not in self._ports:
                    raise RuntimeUnavailable(f"the engine's tensor {name} is unknown to the contract")
                if kind not in types:
                    raise RuntimeUnavailable(f"the engine's tensor {name} is {kind}, a type numpy has not")
                self._bind(name, shape, types[kind])
        except BaseException:
            self.close()
            raise
        objects = [name for name in self._takes if self._ports[name].per_object]
        self.inputs = {name: self._sent.get(name, self._tensors[name]) for name in objects}

    def _bind(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        address = self._device.allocate(max(1, size_of(shape, dtype)))
        tensor = DeviceTensor(self._device, address, shape, dtype)
        self._tensors[name] = tensor
        if not self._ports[name].stays:
            hosts = self._sent if name in self._takes else self._received
            hosts[name] = self._device.host_array(shape, dtype)
        taken = name not in self._takes or self._context.set_input_shape(name, shape)
        if not (taken and self._context.set_tensor_address(name, tensor.address)):
            raise RuntimeUnavailable(f"the engine refuses its own tensor {name} of shape {shape}")

    def run(self, shared: Mapping[str, Any]) -> dict[str, Any]:
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


_NUMPY_TYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "UINT8": np.uint8,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}


def _numpy_types(trt: Any) -> dict[Any, np.dtype]:
    """By TensorRT's number type, of those that this TensorRT has (INT64 came with 10)."""
    found = {getattr(trt.DataType, name, None): np.dtype(kind) for name, kind in _NUMPY_TYPES.items()}
    found.pop(None, None)
    return found
