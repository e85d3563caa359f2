"""OpenVINO: the network on any x86 or Arm CPU, and on Intel's GPUs and NPUs.

The float32 graphs are compiled for one batch size each, in the precision asked for, and kept on disk like
TensorRT's engines. Each is held against ONNX Runtime before it is used; one that fails runs in float32, and
where that fails too on ONNX Runtime.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import ModelFileError, RuntimeUnavailable
from .checked import Candidate, CheckedBackend
from .contract import ENCODE_TEXT, Graph, Port, check_names
from .engines import EngineCache, EngineKey, Progress, default_engine_cache
from .files import digests, find_model, graph_file
from .graph_runtime import GraphRuntime
from .loans import HOST
from .onnx import default_threads, load_onnx
from .parity import TOLERANCES

DEVICES = {"cpu": "CPU", "gpu": "GPU", "npu": "NPU"}
"""OpenVINO's devices by ours; "auto" is a GPU where there is one, else the CPU."""

_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}


def load_openvino(
    model: str | Path = "uniref_nano",
    *,
    size: str | tuple[int, int] | None = None,
    threads: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    buckets: Sequence[int] | None = None,
    attention: str | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> GraphRuntime:
    """An exported model on OpenVINO.

    Args: as of `load_onnx`; device: "auto" or one of `DEVICES`; precision: fp32, fp16 or bf16 where the
    device has it, "auto" takes fp32 on a CPU and fp16 elsewhere; attention: None takes shared on a CPU, if
    the model was exported with it, and batched elsewhere; cache: folder of compiled graphs,
    `default_engine_cache()` for None; progress: hears what is compiled and checked.
    Raises RuntimeUnavailable without OpenVINO, the device or the precision, ModelFileError for damaged files.
    """
    openvino = _import_openvino()
    core = openvino.Core()
    place = _resolve_device(core, device)
    kinds = _precisions(core, place, precision)
    folder = find_model(model)
    attention = attention or (None if place == "CPU" else "batched")
    reference = load_onnx(folder, size=size, threads=threads, buckets=buckets, attention=attention)
    backend = OpenVinoBackend(
        folder,
        reference,
        openvino,
        core,
        place,
        kinds,
        threads or default_threads(),
        EngineCache(cache or default_engine_cache(), progress),
    )
    return GraphRuntime(
        backend,
        reference.spec,
        reference.size,
        tokenizer=reference.tokenizer,
        buckets=reference.buckets,
        shared=reference.shared,
    )


def device_names() -> str:
    """OpenVINO's version and the devices it finds here. Raises RuntimeUnavailable, or what the library
    raises."""
    openvino = _import_openvino()
    return f"{_version(openvino)} ({', '.join(openvino.Core().available_devices) or 'no device'})"


class OpenVinoBackend(CheckedBackend):
    """Compiled graphs on one device.

    folder: of the model; place: the device in OpenVINO's words; precisions: to be tried, in order; threads:
    of a CPU.
    """

    name = "openvino"

    def __init__(
        self,
        folder: Path,
        reference: GraphRuntime,
        openvino: Any,
        core: Any,
        place: str,
        precisions: Sequence[str],
        threads: int,
        cache: EngineCache,
    ) -> None:
        super().__init__(reference, cache)
        self.folder, self.threads, self.precisions = folder, threads, precisions
        self._openvino, self._core, self._place = openvino, core, place
        self._facts = {
            "device": core.get_property(place, "FULL_DEVICE_NAME"),
            "capabilities": sorted(core.get_property(place, "OPTIMIZATION_CAPABILITIES")),
            "version": openvino.__version__,
        }
        self.device = f"{place} ({self._facts['device']})"
        self.builds = place != "CPU"
        self.second_choice = f"not in {precisions[0]}"

    @property
    def kind(self) -> str:
        """Of device, one of `DEVICES`."""
        return self._place.lower()

    def describe(self) -> dict[str, str]:
        facts = {"version": _version(self._openvino), "precision": self.precisions[0]}
        return super().describe() | facts | ({"threads": str(self.threads)} if self._place == "CPU" else {})

    def candidates(self, graph: Graph, bucket: int) -> list[Candidate]:
        if graph.name == ENCODE_TEXT:
            return []
        path = self.folder / graph_file(graph.name, self.reference.size)
        return [
            Candidate(
                f"{path.stem} in {precision}",
                TOLERANCES[precision],
                partial(self._compiled, graph, path, bucket, precision),
            )
            for precision in self.precisions
        ]

    def _compiled(self, graph: Graph, path: Path, bucket: int, precision: str) -> BoundModel:
        options = self._options(precision)
        fresh: list[Any] = []

        def build() -> bytes:
            fresh.append(self._core.compile_model(self._read(path, bucket), self._place, options))
            content = io.BytesIO()
            fresh[0].export_model(content)
            return content.getvalue()

        def load(content: bytes) -> Any:
            if fresh:  # need not be read back
                return fresh.pop()
            try:
                return self._core.import_model(io.BytesIO(content), self._place, options)
            except RuntimeError:  # of another build than its version says
                return None

        compiled = self.kept_or_built(self._key(path, bucket, options), build, load)
        return BoundModel(self._openvino, compiled, graph)

    def _read(self, path: Path, bucket: int) -> Any:
        """The graph with constant shapes: the only symbol counts objects."""
        model = self._core.read_model(path)
        shapes = {
            node.get_any_name(): [side.get_length() if side.is_static else bucket for side in shape]
            for node in model.inputs
            if (shape := node.get_partial_shape()).is_dynamic
        }
        model.reshape(shapes)
        _copy_shared_parts(model)
        return model

    def _options(self, precision: str) -> dict[str, Any]:
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }
        if self._place == "CPU":
            options["INFERENCE_NUM_THREADS"] = self.threads
            # On two cores with some ten busy programs 10 to 35 % faster than pinned; beside one busy program
            # no difference could be told (192x320, one object).
            options["ENABLE_CPU_PINNING"] = False
        return options

    def _key(self, path: Path, bucket: int, options: Mapping[str, Any]) -> EngineKey:
        spec = self.spec
        facts = {
            **digests(path, spec),
            "library": self.name,
            "size": list(self.reference.size),
            "objects": bucket,
            "place": self._place,
            "options": dict(options),
            "package": __version__,
            **self._facts,
        }
        return EngineKey(f"{spec.name}_{path.stem}_x{bucket}_{self._place.lower()}", facts)


def _copy_shared_parts(model: Any) -> None:
    """Make Split copy what it cuts from a value that others read too.

    On the CPU its parts may lie in that value's own memory, and OpenVINO (2026.4) may then write the sum of a
    residual over them before they are read: levels of the encoder's memory were wrong for one object.
    """
    import openvino.opset13 as ops

    for node in model.get_ordered_ops():
        if node.get_type_name() not in ("Split", "VariadicSplit"):
            continue
        axis = int(node.input_value(1).get_node().data)
        lies_inside = all(side == 1 for side in list(node.get_input_shape(0))[:axis])
        if not lies_inside or not _is_read_by_others(node.input_value(0)):
            continue
        start = 0
        for part in node.outputs():
            stop = start + part.get_shape()[axis]
            part.replace(ops.gather(node.input_value(0), np.arange(start, stop), axis).output(0))
            start = stop
    model.validate_nodes_and_infer_types()


def _is_read_by_others(value: Any) -> bool:
    """Whether more than one node reads a value, or what it is another shape of."""
    while len(value.get_target_inputs()) == 1:
        maker = value.get_node()
        if maker.get_type_name() not in ("Reshape", "Squeeze", "Unsqueeze"):
            return False
        value = maker.input_value(0)
    return True


class BoundModel:
    """A compiled graph with constant shapes, bound to arrays made once (see `BoundGraph`).

    Raises ModelFileError where the graph is not as the contract says.
    """

    memory = HOST

    def __init__(self, openvino: Any, compiled: Any, graph: Graph) -> None:
        self._tensor = partial(openvino.Tensor, shared_memory=True)
        takes, gives = _by_port(graph.inputs, compiled.inputs), _by_port(graph.outputs, compiled.outputs)
        check_names(graph, takes, gives)
        self._request = compiled.create_infer_request()
        self.inputs = {
            port.name: self._array(port, takes[port.name])
            for port in graph.object_inputs
            if port.name in takes  # what a graph has no use for is not in its file
        }
        self._shared = [port.name for port in graph.shared_inputs if port.name in takes]
        self._outputs = {port.name: self._array(port, gives[port.name]) for port in graph.outputs}

    def run(self, shared: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
        held = {name: np.ascontiguousarray(shared[name]) for name in self._shared}  # until it has run
        for name, array in held.items():
            self._request.set_tensor(name, self._tensor(array))
        self._request.infer(None, share_outputs=True)
        return self._outputs

    def close(self) -> None:
        self._request = None

    def _array(self, port: Port, node: Any) -> np.ndarray:
        """Zeros as large as a port, which the library reads or writes in place."""
        kind = node.get_element_type().to_dtype()
        if kind != port.dtype:
            raise ModelFileError(
                f"{port.name} is {kind}, expected {port.dtype} by the contract in model.json"
            )
        array = np.zeros(tuple(node.shape), kind)
        self._request.set_tensor(port.name, self._tensor(array))
        return array


def _by_port(ports: Sequence[Port], nodes: Sequence[Any]) -> dict[str, Any]:
    """Inputs or outputs by name: that of the port where there is one, as what the library found to be the
    same value inside lends it further names."""
    known = {port.name for port in ports}
    return {min(node.get_names() & known, default=node.get_any_name()): node for node in nodes}


def _import_openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise RuntimeUnavailable("OpenVINO is not installed: pip install openvino") from error
    return openvino


def _version(openvino: Any) -> str:
    return openvino.__version__.partition("-")[0]


def _resolve_device(core: Any, device: str) -> str:
    """Ours to OpenVINO's. Raises RuntimeUnavailable with the devices that there are."""
    found = core.available_devices  # "GPU.0", "GPU.1" where there are several
    families = {name.partition(".")[0] for name in found}
    if device == "auto":
        return "GPU" if "GPU" in families else "CPU"
    if DEVICES.get(device) not in families:
        raise RuntimeUnavailable(
            f"OpenVINO has no device {device!r} here, it finds {', '.join(found) or 'none'}"
        )
    return DEVICES[device]


def _precisions(core: Any, place: str, precision: str) -> tuple[str, ...]:
    """What to try, in order. Raises RuntimeUnavailable for a precision that the device has not."""
    names = {"FP32": "fp32", "FP16": "fp16", "BF16": "bf16"}
    has = [names[one] for one in core.get_property(place, "OPTIMIZATION_CAPABILITIES") if one in names]
    if precision == "auto":
        precision = "fp32" if place == "CPU" or "fp16" not in has else "fp16"
    if precision not in has:
        raise RuntimeUnavailable(
            f"OpenVINO's {place} does not compute in {precision}, it has {', '.join(sorted(has))}"
        )
    return tuple(dict.fromkeys((precision, *(["fp32"] if "fp32" in has else []))))
