"""What TensorRT documents about the operators of a graph, as a check that needs no TensorRT.

Source: the support matrix of TensorRT's ONNX parser (onnx-tensorrt, docs/operators.md, release 10 and 11)
and the limits of its layers. The parser of TensorRT for RTX accepts a little more, so building there is no
substitute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx
from onnx import TensorProto, helper, numpy_helper

MAX_TOP_K = 3839
"""TopK's K must be smaller than 3840 and known when the engine is built."""

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
_BOOL = TensorProto.BOOL
_INDEX = frozenset({TensorProto.INT32, TensorProto.INT64})
_NUMBERS = _FLOATS | _INDEX
_ANY = _NUMBERS | {_BOOL}

_OF_FLOATS = """AveragePool Conv Cos Erf Exp Floor Gelu Gemm GlobalAveragePool GlobalMaxPool HardSigmoid
    InstanceNormalization LayerNormalization Log MatMul MaxPool Reciprocal Resize Sigmoid Sin Softmax Sqrt
    Tanh"""
_OF_NUMBERS = """Abs Add ArgMax Clip Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Neg Pow
    Range ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Sub TopK"""
_OF_ANYTHING = """Cast Concat Constant ConstantOfShape Expand Flatten Gather GatherElements GatherND
    Identity Pad Reshape Shape Slice Split Squeeze Tile Transpose Unsqueeze Where"""

DOCUMENTED: dict[str, frozenset[int]] = {
    **dict.fromkeys(_OF_FLOATS.split(), _FLOATS),
    **dict.fromkeys(_OF_NUMBERS.split(), _NUMBERS),
    **dict.fromkeys(_OF_ANYTHING.split(), _ANY),
    **dict.fromkeys(("And", "Or", "Not", "Xor"), frozenset({_BOOL})),
    "GridSample": frozenset({TensorProto.FLOAT, TensorProto.FLOAT16}),
}
"""Operators our graphs may use, with the types of their first input that TensorRT takes. Not in it, on
purpose: NonZero, Unique, NonMaxSuppression (output shapes that depend on values), ScatterND and
ScatterElements (their reductions), Loop, If, Scan (no CUDA graph), Attention (too new)."""


def unsupported(model: onnx.ModelProto) -> list[str]:
    """What TensorRT's documentation does not allow in `model`, one line each; empty when nothing."""
    return [f"{node.op_type} {node.name!r}: {problem}" for node, problem in _problems(_Facts.of(model))]


@dataclass
class _Facts:
    graph: onnx.GraphProto
    constants: dict[str, onnx.TensorProto]
    types: dict[str, int]
    shapes: dict[str, list[int | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: onnx.ModelProto) -> _Facts:
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = [*inferred.value_info, *inferred.input, *inferred.output]
        facts = cls(
            model.graph,
            {tensor.name: tensor for tensor in model.graph.initializer},
            {value.name: value.type.tensor_type.elem_type for value in values},
        )
        for value in values:
            if value.type.tensor_type.HasField("shape"):
                facts.shapes[value.name] = [
                    dim.dim_value if dim.HasField("dim_value") else None
                    for dim in value.type.tensor_type.shape.dim
                ]
        for tensor in model.graph.initializer:
            facts.types[tensor.name] = tensor.data_type
            facts.shapes[tensor.name] = list(tensor.dims)
        for node in model.graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        facts.constants[node.output[0]] = attribute.t
        return facts


def _problems(facts: _Facts) -> Iterator[tuple[onnx.NodeProto, str]]:
    for node in facts.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in DOCUMENTED:
            yield node, "the operator is not documented"
            continue
        kind = facts.types.get(node.input[0]) if node.input else None
        if kind is not None and kind not in DOCUMENTED[node.op_type] and not _is_image(node, kind):
            yield node, f"takes no {TensorProto.DataType.Name(kind).lower()}"
        check = _LIMITS.get(node.op_type)
        if check is not None:
            for problem in check(node, facts):
                yield node, problem


def _is_image(node: onnx.NodeProto, kind: int) -> bool:
    return kind == TensorProto.UINT8 and node.op_type == "Cast"


def _attribute(node: onnx.NodeProto, name: str, default):
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _text(node: onnx.NodeProto, name: str, default: str) -> str:
    value = _attribute(node, name, default)
    return value.decode() if isinstance(value, bytes) else value


def _grid_sample(node: onnx.NodeProto, facts: _Facts) -> Iterator[str]:
    for name in node.input:
        if len(facts.shapes.get(name, [])) != 4:
            yield f"{name} has shape {facts.shapes.get(name)}, 4 dimensions are documented"
    if facts.types.get(node.input[0]) != facts.types.get(node.input[1]):
        yield "input and grid have different types"


def _top_k(node: onnx.NodeProto, facts: _Facts) -> Iterator[str]:
    tensor = facts.constants.get(node.input[1])
    if tensor is None:
        yield "K is not a constant"
    elif (k := int(numpy_helper.to_array(tensor).reshape(-1)[0])) > MAX_TOP_K:
        yield f"K is {k}, at most {MAX_TOP_K}"
    if not _attribute(node, "sorted", 1):
        yield "sorted=0 is not supported"


def _conv(node: onnx.NodeProto, facts: _Facts) -> Iterator[str]:
    weights = facts.shapes.get(node.input[1])
    if _attribute(node, "group", 1) != 1 and not _is_weight(node.input[1], facts):
        yield "a grouped convolution needs constant weights"
    if weights is not None and len(weights) not in (3, 4, 5):
        yield f"weights have {len(weights)} dimensions, 1-D to 3-D convolutions are supported"


def _is_weight(name: str, facts: _Facts) -> bool:
    """Constant, or a constant that is stored in a smaller type and cast."""
    if name in facts.constants:
        return True
    makers = [node for node in facts.graph.node if name in node.output]
    return bool(makers) and makers[0].op_type == "Cast" and _is_weight(makers[0].input[0], facts)


def _resize(node: onnx.NodeProto, facts: _Facts) -> Iterator[str]:
    mode = _text(node, "mode", "nearest")
    if mode not in ("nearest", "linear", "cubic"):
        yield f"mode {mode}"
    where = _text(node, "coordinate_transformation_mode", "half_pixel")
    known = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")
    if where not in known:
        yield f"coordinate transformation mode {where}"
    if _attribute(node, "antialias", 0):
        yield "antialias is not supported"


def _pad(node: onnx.NodeProto, facts: _Facts) -> Iterator[str]:
    mode = _text(node, "mode", "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        yield f"mode {mode}"


def _slice(node: onnx.NodeProto, facts: _Facts) -> Iterator[str]:
    if len(node.input) > 3 and node.input[3] and node.input[3] not in facts.constants:
        yield "axes are not constant"


def _argmax(node: onnx.NodeProto, facts: _Facts) -> Iterator[str]:
    if _attribute(node, "select_last_index", 0):
        yield "select_last_index is not supported"


def _range(node: onnx.NodeProto, facts: _Facts) -> Iterator[str]:
    kinds = {facts.types.get(name) for name in node.input} - _FLOATS - _INDEX - {None}
    if kinds:
        yield f"types {sorted(kinds)}"


_LIMITS = {
    "GridSample": _grid_sample,
    "TopK": _top_k,
    "Conv": _conv,
    "Resize": _resize,
    "Pad": _pad,
    "Slice": _slice,
    "ArgMax": _argmax,
    "Range": _range,
}
