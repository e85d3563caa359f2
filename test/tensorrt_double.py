"""A double of TensorRT whose GPU is this process.

It keeps what matters of the real interface: engines are bytes that may be refused, tensors have addresses,
and nothing runs that was not uploaded first. It computes with ONNX Runtime.
"""

from __future__ import annotations

import json
import os
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from uniref_model.errors import RuntimeUnavailable
from uniref_model.runtime import ObjectReferences, Runtime
from uniref_model.runtime.files import WEIGHTS
from uniref_model.runtime.trt.backend import load_tensorrt
from uniref_model.runtime.trt.library import Library

MODEL = Path(os.environ.get("UNIREF_TEST_MODEL", WEIGHTS / "uniref_nano"))
APART = 1 << 32  # between addresses of allocations


class DoubleDevice:
    """A GPU whose memory is a dict of byte arrays, each with an address of its own.

    As on a stream, nothing queued happens before `wait`: what was let go until then is lost. It refuses what
    CUDA refuses: memory that is not (or no longer) allocated, a stream that was destroyed, and, while a graph
    is captured, everything that cannot be part of one.
    """

    def __init__(self) -> None:
        self.open()
        self.memory: dict[int, bytearray] = {}
        self.pinned: dict[int, np.ndarray] = {}
        self.next = 0
        self.allocations = self.launches = self.closed = 0
        self.moved: list[int] = []  # bytes of every copy between host and GPU
        self.queued: list = []
        self.recording: list | None = None  # while a graph is captured: what to do when it is launched
        self.cannot_capture = False
        self.read: list[np.ndarray] = []

    def open(self) -> DoubleDevice:
        """Another stream on it, as for another process."""
        self.stream: int | None = 7
        return self

    @property
    def host_arrays(self) -> int:
        return len(self.pinned)

    def facts(self) -> dict[str, object]:
        return {"gpu": "double", "capability": "0.0"}

    def allocate(self, size: int) -> int:
        assert self.recording is None, "cudaErrorStreamCaptureUnsupported"
        assert size > 0, "cudaMalloc of no bytes gives no address"
        self.allocations += 1
        self.next += APART
        self.memory[self.next] = bytearray(size)
        return self.next

    def free(self, address: int) -> None:
        assert self.recording is None and address in self.memory, "cudaErrorInvalidValue"
        self.finish()  # cudaFree waits for the device
        del self.memory[address]

    def host_array(self, shape, dtype) -> np.ndarray:
        array = np.zeros(shape, dtype)
        self.pinned[array.ctypes.data] = array
        return array

    def free_host(self, array) -> None:
        assert array.ctypes.data in self.pinned, "cudaErrorInvalidValue"
        del self.pinned[array.ctypes.data]

    def do(self, action) -> None:
        """Queue it, or note it for the graph that is being captured."""
        assert self.stream is not None, "cudaErrorInvalidResourceHandle"
        (self.queued if self.recording is None else self.recording).append(action)

    def finish(self) -> None:
        while self.queued:
            self.queued.pop(0)()

    def at(self, address: int, size: int) -> memoryview:
        """So many bytes from an address inside one allocation."""
        offset = address % APART
        block = self.memory[address - offset]
        assert offset + size <= len(block), "beyond the end of an allocation"
        return memoryview(block)[offset : offset + size]

    def upload(self, address: int, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        self.at(address, array.nbytes)
        self.read.append(array)
        source, size = weakref.ref(array), array.nbytes

        def copy() -> None:
            kept = source()
            assert kept is not None, "the memory was let go before the copy"
            self.moved.append(size)
            self.at(address, size)[:] = kept.tobytes()

        self.do(copy)

    def download(self, array: np.ndarray, address: int) -> None:
        assert array.flags.c_contiguous and array.flags.writeable
        self.at(address, array.nbytes)

        def copy() -> None:
            self.moved.append(array.nbytes)
            array.reshape(-1).view(np.uint8)[:] = np.frombuffer(self.at(address, array.nbytes), np.uint8)

        self.do(copy)

    def copy(self, target: int, source: int, size: int) -> None:
        assert self.recording is None, "addresses change from frame to frame, a graph's do not"
        self.at(target, size), self.at(source, size)

        def copy() -> None:
            self.at(target, size)[:] = bytes(self.at(source, size))

        self.do(copy)

    def capture(self, queue):
        assert not self.queued, "a capture begins on a stream at rest"
        self.recording = actions = []
        try:
            queue()
        finally:
            self.recording = None
        if self.cannot_capture:
            raise RuntimeUnavailable("cudaStreamEndCapture failed: cudaErrorStreamCaptureUnsupported")
        self.graphs = getattr(self, "graphs", 0) + 1
        return actions

    def launch(self, graph) -> None:
        self.launches += 1
        for action in graph:
            self.do(action)

    def free_graph(self, graph) -> None:
        self.graphs -= 1
        graph.clear()

    def close(self) -> None:
        self.stream = None
        self.closed += 1

    def wait(self) -> None:
        assert self.stream is not None, "cudaErrorInvalidResourceHandle"
        assert self.recording is None, "cudaErrorStreamCaptureUnsupported"
        self.finish()
        self.read.clear()


TYPES = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(uint8)": "UINT8"}
HALF = 8e-2  # engines come from the float16 graphs: a hundredth of what mask logits reach here
ARRAYS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


class DoubleEngine:
    """An ONNX graph that pretends to be an engine; wrong: a factor its scores and features are off by."""

    def __init__(self, device: DoubleDevice, path: str, bucket: int, wrong: float) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.add_free_dimension_override_by_name("objects", bucket)
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.device, self.wrong, self.bucket = device, wrong, bucket
        self.inputs = {node.name: node for node in self.session.get_inputs()}
        self.outputs = {node.name: node for node in self.session.get_outputs()}
        self.names = [*self.inputs, *self.outputs]
        self.num_io_tensors = len(self.names)
        self.addresses: dict[str, int] = {}

    def get_tensor_name(self, index):
        return self.names[index]

    def get_tensor_mode(self, name):
        return "INPUT" if name in self.inputs else "OUTPUT"

    def get_tensor_shape(self, name):
        return (self.inputs | self.outputs)[name].shape

    def create_execution_context(self):
        self.shapes: set[str] = set()
        return self

    def set_input_shape(self, name, shape):
        """TensorRT answers False, in every case, and says more in its log only."""
        known = name in self.inputs and tuple(self.inputs[name].shape) == shape
        if known:
            self.shapes.add(name)
        return known

    def set_tensor_address(self, name, address):
        if name not in self.names:
            return False
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        if (
            stream != self.device.stream
            or set(self.addresses) != set(self.names)
            or self.shapes != {*self.inputs}
        ):
            return False
        self.device.do(self.execute)
        return True

    def execute(self):
        fed = {
            name: np.frombuffer(self.device.memory[self.addresses[name]], ARRAYS[node.type]).reshape(
                node.shape
            )
            for name, node in self.inputs.items()
        }
        for name, value in zip(self.outputs, self.session.run(list(self.outputs), fed), strict=True):
            self.device.memory[self.addresses[name]][:] = (value * value.dtype.type(self.wrong)).tobytes()


class DoubleTrt:
    """The module, as far as the runtime uses it. Its builder is replaced by `build` below."""

    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    DataType = SimpleNamespace(FLOAT="FLOAT", HALF="HALF", UINT8="UINT8", INT32="INT32", BF16="BF16")
    TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")

    def __init__(self, device: DoubleDevice) -> None:
        self.device = device
        self.built: list[str] = []
        self.wrong: dict[str, float] = {}
        self.refuses: set[str] = set()
        self.raises: Exception | None = None
        self.types = TYPES

    def Runtime(self, logger):
        return self

    def deserialize_cuda_engine(self, content: bytes):
        if self.raises is not None:
            raise self.raises
        path, bucket, factor = json.loads(content)
        if {Path(path).stem, Path(path).stem.rpartition("_")[0]} & self.refuses:
            return None
        engine = DoubleEngine(self.device, path, bucket, factor)
        engine.get_tensor_dtype = lambda name: self.types[(engine.inputs | engine.outputs)[name].type]
        return engine

    def build(self, library: Library, path: Path, bucket: int) -> bytes:
        graph = path.stem.rpartition("_")[0]
        self.built.append(f"{graph} x{bucket}")
        return json.dumps([str(path), bucket, self.wrong.get(path.stem, self.wrong.get(graph, 1.0))]).encode()


def load(double: DoubleTrt, cache: Path, model: Path = MODEL, **options) -> Runtime:
    library = Library(double, "double", "1.0", None)
    double.device.open()
    options = {"buckets": (1, 2)} | options
    return load_tensorrt(
        model, size="192x320", threads=1, cache=cache, library=library, device=double.device, **options
    )


def ask(runtime) -> list[np.ndarray]:
    frame = runtime.encode_image(np.full((*runtime.size, 3), 90, np.uint8))
    masks = np.zeros((3, *runtime.size), np.float32)
    masks[:, 50:120, 80:200] = 1
    references = runtime.encode_reference(frame, masks)
    words = runtime.encode_text("the red mug")
    objects = [
        ObjectReferences(words),
        ObjectReferences(first=references[1]),
        ObjectReferences(words, references[2]),
    ]
    return [answer.mask_logits for answer in runtime.segment(frame, objects)]
