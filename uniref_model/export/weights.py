"""Storage formats of exported weights: half precision for the network, int8 for the text encoder.

Both only change how a weight is *stored*. The graph turns it back into float32 with constant operators
(`Cast`, `Mul`) that ONNX Runtime and TensorRT fold when they load the model, so the arithmetic stays float32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LARGE_WEIGHT = 65536  # elements; below this int8 saves nothing worth its rounding
EXTERNAL_BYTES = 1024  # smaller initializers stay inside the graph
ALIGNMENT = 64  # of each tensor in the shared file


def store_half(model: onnx.ModelProto, minimum: int = 256) -> None:
    """Store float32 initializers of at least `minimum` elements as float16 followed by a Cast (in place)."""
    casts = []
    for tensor in _float_initializers(model, minimum):
        values = numpy_helper.to_array(tensor)
        casts.append(_rename_and_cast(tensor, values.astype(np.float16), "half"))
    _prepend(model, casts)


def store_int8(model: onnx.ModelProto, minimum: int = LARGE_WEIGHT) -> None:
    """Store large 2-D float32 initializers as int8 with one scale per row or column (in place).

    A table read by `Gather` is scaled per row after the gather, so that its rows alone are ever converted. A
    matrix read by `MatMul` ([in, out]) is scaled per output column, one read by `Gemm` with transB per
    output row.
    """
    users = _users(model)
    added: list[onnx.NodeProto] = []
    for tensor in _float_initializers(model, minimum):
        values = numpy_helper.to_array(tensor)
        consumers = users.get(tensor.name, [])
        if values.ndim != 2 or not consumers:
            continue
        if all(node.op_type == "Gather" for node in consumers):
            for node in consumers:
                _gather_then_scale(model, node, tensor, values)
            continue
        per_row = all(_reads_transposed(node) for node in consumers)
        added += _cast_and_scale(model, tensor, values, axis=0 if per_row else 1)
    _prepend(model, added)


def strip(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the exporter's per-node notes (stack traces with paths of the exporting machine), in place."""
    model.graph.ClearField("metadata_props")
    model.ClearField("metadata_props")
    for item in [
        *model.graph.node,
        *model.graph.initializer,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
    ]:
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    model.doc_string = ""
    return model


LARGE_LOGIT = 1e4
"""Stands for infinity: the sigmoid of it, and of it plus anything a network adds, is exactly 1 in float32."""


def finite(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace infinite constants (logits of proposals that are not to be used) by `LARGE_LOGIT`, in place:
    engines of small types turn infinities into NaN."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.isinf(values := numpy_helper.to_array(tensor)).any():
            replaced = np.nan_to_num(values, nan=np.nan, posinf=LARGE_LOGIT, neginf=-LARGE_LOGIT)
            tensor.CopyFrom(numpy_helper.from_array(replaced, tensor.name))
    return model


def save_with_weights(
    model: onnx.ModelProto, path: Path, weights_name: str, inside: Sequence[np.ndarray] = ()
) -> None:
    """Write `model`, its larger initializers in one external file `weights_name` beside it; those that equal
    an array of `inside`, or its transpose, stay in the graph's own file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = SharedWeights(path.parent / weights_name)
    weights.write(model, path, inside)
    weights.close()


def _is_one_of(tensor: TensorProto, arrays: Sequence[np.ndarray]) -> bool:
    """Whether a tensor equals one of the arrays, or its transpose."""
    if not arrays:
        return False
    values = numpy_helper.to_array(tensor)
    return any(np.array_equal(values, one) or np.array_equal(values, one.T) for one in arrays)


def _float_initializers(model: onnx.ModelProto, minimum: int) -> list[TensorProto]:
    return [
        tensor
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and int(np.prod(tensor.dims)) >= minimum
    ]


def _users(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users


def _reads_transposed(node: onnx.NodeProto) -> bool:
    return node.op_type == "Gemm" and any(a.name == "transB" and a.i == 1 for a in node.attribute)


def _rename_and_cast(tensor: TensorProto, stored: np.ndarray, suffix: str) -> onnx.NodeProto:
    """Replace `tensor` by `stored` under a new name; the Cast node restores the old name and type."""
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(stored, f"{name}.{suffix}"))
    return helper.make_node(
        "Cast", [f"{name}.{suffix}"], [name], name=f"restore/{name}", to=TensorProto.FLOAT
    )


def _quantise(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 with one float32 scale per index of `axis`; scales keep the other axis as length one."""
    scale = np.abs(values).max(axis=1 - axis, keepdims=True) / 127.0
    scale = np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)
    return np.clip(np.rint(values / scale), -127, 127).astype(np.int8), scale


def _cast_and_scale(model: onnx.ModelProto, tensor: TensorProto, values: np.ndarray, axis: int) -> list:
    name = tensor.name
    stored, scale = _quantise(values, axis)
    cast = _rename_and_cast(tensor, stored, "int8")
    cast.output[0] = f"{name}.unscaled"
    model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
    return [
        cast,
        helper.make_node("Mul", [f"{name}.unscaled", f"{name}.scale"], [name], name=f"scale/{name}"),
    ]


def _gather_then_scale(
    model: onnx.ModelProto, node: onnx.NodeProto, tensor: TensorProto, values: np.ndarray
) -> None:
    name, output, ids = tensor.name, node.output[0], node.input[1]
    stored, scale = _quantise(values, axis=0)
    tensor.CopyFrom(numpy_helper.from_array(stored, f"{name}.int8"))
    model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
    node.input[0], node.output[0] = f"{name}.int8", f"{output}.int8"
    extra = [
        helper.make_node("Cast", [f"{output}.int8"], [f"{output}.unscaled"], to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{name}.scale", ids], [f"{output}.scale"], axis=0),
        helper.make_node("Mul", [f"{output}.unscaled", f"{output}.scale"], [output]),
    ]
    position = list(model.graph.node).index(node) + 1
    for offset, added in enumerate(extra):
        model.graph.node.insert(position + offset, added)


def _prepend(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    for node in reversed(nodes):
        model.graph.node.insert(0, node)


class SharedWeights:
    """One file of weights for several graphs: an initializer with the same content is written once.

    Weights are rounded to float16 beforehand (`round_to_half`); an initializer that float16 holds exactly is
    stored as such, followed by a Cast. Size-dependent constants (coordinates, position codes) keep float32.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._places: dict[bytes, int] = {}

    def save(self, model: onnx.ModelProto, path: Path) -> None:
        """Write `model` to `path` with its larger initializers in the shared file (its directory must be the
        same)."""
        model = onnx.ModelProto.FromString(model.SerializeToString())
        casts = []
        for tensor in _float_initializers(model, 256):
            values = numpy_helper.to_array(tensor)
            half = values.astype(np.float16)
            if np.array_equal(half.astype(np.float32), values):
                casts.append(_rename_and_cast(tensor, half, "half"))
        _prepend(model, casts)
        self.write(model, path)

    def write(self, model: onnx.ModelProto, path: Path, inside: Sequence[np.ndarray] = ()) -> None:
        """The same with every number stored as it is, changing `model`. inside: as of `save_with_weights`."""
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) >= EXTERNAL_BYTES and not _is_one_of(tensor, inside):
                self._move(tensor)
        self._file.flush()
        path.write_bytes(model.SerializeToString())

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def _move(self, tensor: TensorProto) -> None:
        content = tensor.raw_data
        key = hashlib.sha256(content).digest()
        if key not in self._places:
            self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT))
            self._places[key] = self._file.tell()
            self._file.write(content)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entries = {"location": self._path.name, "offset": self._places[key], "length": len(content)}
        tensor.ClearField("external_data")
        for name, value in entries.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = name, str(value)
