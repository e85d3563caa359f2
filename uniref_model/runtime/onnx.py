"""ONNX Runtime: the network on any CPU (or, with onnxruntime-gpu, on CUDA).

Every batch size has a session of its own in which all shapes are constants, so a frame needs no memory that
the frame before did not. Inputs of objects and all outputs are arrays made once, bound to the session. On
CUDA, what stays on the device between graphs is bound there (this has not been run on a GPU, only on the CPU
in a GPU's place).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ..errors import ModelFileError, RuntimeUnavailable
from .contract import (
    ATTEND,
    ENCODE_IMAGE,
    ENCODE_REFERENCE,
    ENCODE_TEXT,
    SEGMENT,
    SEGMENT_SHARED,
    Graph,
    Port,
    check_names,
)
from .files import check_threads, choose_size, find_model, graph_file, verify_files
from .graph_runtime import Backend, BoundGraph, GraphRuntime
from .loans import HOST, Memory
from .memory import IDENTITY, share_arena, shrink_arena
from .spec import ModelSpec
from .tensor import DeviceMemory, DeviceTensor
from .text import PromptTokenizer

MAX_DEFAULT_THREADS = 4
"""More threads gain little on graphs this small and take cores from whatever feeds the frames."""

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_TOKENIZER = "tokenizer.json"


def load_onnx(
    model: str | Path = "uniref_nano",
    *,
    size: str | tuple[int, int] | None = None,
    threads: int | None = None,
    device: str = "cpu",
    buckets: Sequence[int] | None = None,
    attention: str | None = None,
) -> GraphRuntime:
    """An exported model on ONNX Runtime.

    Args:
        model: a shipped model's name, or a folder with model.json.
        size: "256x448" (height x width) or a pair; None takes the model's first.
        threads: for one operator; None takes `default_threads()`.
        device: "cpu", "cuda", or "auto" for cuda where this ONNX Runtime was built with it.
        attention: "shared" computes the attention's probabilities once for all objects that refer to the same
            frames, "batched" for every object. None takes shared on a CPU, where it is faster, if the model
            was exported with it.
    Raises ModelFileError for missing or damaged files, RuntimeUnavailable when the library or the device is
    absent.
    """
    if attention not in (None, "shared", "batched"):
        raise ValueError(f"attention is {attention!r}, expected 'shared', 'batched' or None")
    check_threads(threads)
    folder = find_model(model)
    backend = OnnxBackend(folder, size, threads=threads, device=device)
    spec = backend.spec
    can_share = SEGMENT_SHARED in spec.graphs
    shared = attention == "shared" or (attention is None and backend.device == "cpu" and can_share)
    graphs = (SEGMENT_SHARED, *ATTEND.values()) if shared else (SEGMENT,)
    graphs = (ENCODE_IMAGE, ENCODE_REFERENCE, *graphs, *([ENCODE_TEXT] if spec.has_text else []))
    files = [graph_file(graph, backend.size) for graph in graphs]
    verify_files(folder, spec, [*files, *([_TOKENIZER] if spec.has_text else [])])
    tokenizer = PromptTokenizer(folder / _TOKENIZER, spec.max_words) if spec.has_text else None
    return GraphRuntime(backend, spec, backend.size, tokenizer=tokenizer, buckets=buckets, shared=shared)


def default_threads() -> int:
    """Physical cores this process may use, at most `MAX_DEFAULT_THREADS`."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable, _physical_cores() or usable, MAX_DEFAULT_THREADS))


def _physical_cores() -> int | None:
    """Distinct cores in Linux's topology; None where it cannot be read."""
    folder = Path("/sys/devices/system/cpu")
    siblings = {path.read_text().strip() for path in folder.glob("cpu[0-9]*/topology/thread_siblings_list")}
    return len(siblings) or None


class OnnxBackend(Backend):
    """Sessions of the float32 graphs in a model's folder. Args: as of `load_onnx`."""

    name = "onnxruntime"

    def __init__(
        self,
        folder: Path,
        size: str | tuple[int, int] | None = None,
        *,
        threads: int | None = None,
        device: str = "cpu",
    ) -> None:
        self._ort = _import_onnxruntime()
        self.device = _resolve(self._ort, device)
        self._providers = _providers(self._ort, self.device)
        share_arena(self._ort)
        self.folder = folder
        self.spec = ModelSpec.from_file(folder / "model.json")
        if self.spec.resize != "stretch":
            raise ModelFileError(
                f"{folder / 'model.json'} is malformed: resize is {self.spec.resize!r}, "
                "expected 'stretch': graphs have no padding mask, a .safetensors file has"
            )
        self.size = choose_size(self.spec, size)
        self.threads = threads or default_threads()
        self.kept = None if self.device == "cpu" else OrtDevice(self._ort, self.device)
        """Where stays what need not be looked at; None: in numpy's arrays."""

    def bind(self, graph: Graph, bucket: int) -> BoundGraph:
        session = self._session(self.folder / graph_file(graph.name, self.size), bucket)
        return BoundSession(session, graph, self.kept)

    def describe(self) -> dict[str, str]:
        return super().describe() | {"threads": str(self.threads), "version": self._ort.__version__}

    def trim(self) -> None:
        shrink_arena(self._ort)

    def _session(self, path: Path, bucket: int) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = self._ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        # One arena for all sessions instead of one each, and no block per session planned ahead: but for
        # prompts only one session works at a time, so they can use the same memory (all batch sizes: 346 MB
        # instead of 880).
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_free_dimension_override_by_name("objects", bucket)
        # Threads that spin while waiting take the cores from other programs and other sessions: 15 % faster
        # on two idle cores, but 45 % slower beside one busy program (192x320, one object).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = self._ort.InferenceSession(str(path), options, providers=self._providers)
        except Exception as error:  # the library's exceptions share no base of their own
            # On a GPU it may as well be the device or its memory, and the CPU will tell.
            kind = ModelFileError if self.device == "cpu" else RuntimeUnavailable
            raise kind(f"ONNX Runtime cannot load {path} on {self.device}: {error}") from error
        return _on(self.device, session)


class BoundSession:
    """A session with constant shapes, bound to arrays made once: numpy's, and on `device` what stays there.

    Raises ModelFileError where the graph is not as the contract says.
    """

    def __init__(self, session: Any, graph: Graph, device: OrtDevice | None) -> None:
        self._session, self._device = session, device
        self._binding = session.io_binding()
        self.memory: Memory = HOST if device is None else DeviceMemory(device)
        takes, gives = (
            {node.name: node for node in nodes} for nodes in (session.get_inputs(), session.get_outputs())
        )
        check_names(graph, takes, gives)
        self.inputs = {
            port.name: self._array(port, takes[port.name])
            for port in graph.object_inputs
            if port.name in takes  # what a graph has no use for is not in its file
        }
        self._shared = [port.name for port in graph.shared_inputs if port.name in takes]
        self._outputs = {port.name: self._array(port, gives[port.name]) for port in graph.outputs}
        for name, array in self.inputs.items():
            self._binding.bind_input(name, *_place(array))
        for name, array in self._outputs.items():
            self._binding.bind_output(name, *_place(array))

    def run(self, shared: Mapping[str, Any]) -> dict[str, Any]:
        bound = {
            name: _bindable(shared[name], self._device) for name in self._shared
        }  # held until it has run
        for name, array in bound.items():
            self._binding.bind_input(name, *_place(array))
        self._session.run_with_iobinding(self._binding)
        return self._outputs

    def _array(self, port: Port, node: Any) -> Any:
        kind = _TYPES.get(node.type)
        if kind != port.dtype or not all(isinstance(side, int) for side in node.shape):
            raise ModelFileError(
                f"{port.name} is {node.type} of shape {node.shape}, expected {port.dtype} by the contract in "
                "model.json, with N the only symbol"
            )
        zeros = np.zeros(node.shape, kind)
        return self._device.tensor(zeros) if self._device is not None and port.stays else zeros


_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int64)": "int64"}


def _bindable(array: Any, device: OrtDevice | None) -> Any:
    return (
        array if isinstance(array, DeviceTensor) and array.device is device else np.ascontiguousarray(array)
    )


def _place(array: Any) -> tuple:
    """As a binding wants it: device, its number, type, shape, address."""
    if isinstance(array, DeviceTensor):
        return array.device.name, 0, array.dtype, array.shape, array.address
    return "cpu", 0, array.dtype, array.shape, array.ctypes.data


class OrtDevice:
    """A device's memory through ONNX Runtime, which can copy by running a graph only: `IDENTITY`."""

    def __init__(self, onnxruntime: Any, name: str) -> None:
        self._ort, self.name = onnxruntime, name
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(IDENTITY, options, providers=[_PROVIDERS[name]])
        self._session = _on(name, session)
        self._values: dict[int, Any] = {}
        self._lock = Lock()

    def allocate(self, size: int) -> int:
        value = self._ort.OrtValue.ortvalue_from_shape_and_type([size], np.uint8, self.name, 0)
        self._values[value.data_ptr()] = value
        return value.data_ptr()

    def free(self, address: int) -> None:
        del self._values[address]

    def tensor(self, array: np.ndarray) -> DeviceTensor:
        """A copy of an array, with memory of its own."""
        memory = self._ort.OrtValue.ortvalue_from_numpy(array, self.name, 0)
        return DeviceTensor(self, memory.data_ptr(), array.shape, array.dtype, memory)

    def upload(self, address: int, array: np.ndarray) -> None:
        self._run("cpu", array.ctypes.data, self.name, address, array.nbytes)

    def download(self, array: np.ndarray, address: int) -> None:
        self._run(self.name, address, "cpu", array.ctypes.data, array.nbytes)

    def copy(self, target: int, source: int, size: int) -> None:
        self._run(self.name, source, self.name, target, size)

    def wait(self) -> None:
        """Nothing: every run waits."""

    def _run(self, from_device: str, source: int, to_device: str, target: int, size: int) -> None:
        shape = [size // 4]  # of float32, as everything that stays
        with self._lock:
            binding = self._session.io_binding()
            binding.bind_input("a", from_device, 0, np.float32, shape, source)
            binding.bind_output("b", to_device, 0, np.float32, shape, target)
            self._session.run_with_iobinding(binding)


def _on(device: str, session: Any) -> Any:
    """The session. Raises RuntimeUnavailable where it is on the CPU instead, which happens without an
    error."""
    if _PROVIDERS[device] not in session.get_providers():
        raise RuntimeUnavailable(
            f"ONNX Runtime has {_PROVIDERS[device]} but cannot use it: no GPU, or CUDA's libraries are "
            "missing"
        )
    return session


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeUnavailable("ONNX Runtime is not installed: pip install onnxruntime") from error
    return onnxruntime


def _resolve(onnxruntime: Any, device: str) -> str:
    """ "cuda" or "cpu" for "auto"."""
    if device != "auto":
        return device
    return "cuda" if _PROVIDERS["cuda"] in onnxruntime.get_available_providers() else "cpu"


def _providers(onnxruntime: Any, device: str) -> list[str]:
    if device not in _PROVIDERS:
        known = ", ".join(_PROVIDERS)
        raise RuntimeUnavailable(f"ONNX Runtime has no device {device!r}, expected one of {known}")
    if _PROVIDERS[device] not in onnxruntime.get_available_providers():
        raise RuntimeUnavailable(
            f"this ONNX Runtime was built without {_PROVIDERS[device]}: install onnxruntime-gpu, or use "
            "device 'cpu'"
        )
    return list(dict.fromkeys([_PROVIDERS[device], "CPUExecutionProvider"]))
