"""bfloat16 graphs made runnable where no bfloat16 kernels exist, as in ONNX Runtime on a CPU.

Every value that the graph keeps in bfloat16 is computed in float32 and rounded to bfloat16. This is an
emulation: it has the rounding of a real run, not its order of summation.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

_SMALL, _FLOAT = TensorProto.BFLOAT16, TensorProto.FLOAT


def emulate_bfloat16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` whose bfloat16 values are float32, rounded after every operator."""
    copied = onnx.ModelProto.FromString(model.SerializeToString())
    graph = copied.graph
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    small = {value.name for value in values if value.type.tensor_type.elem_type == _SMALL}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        rounded = [name for name in node.output if name in small]
        casts = node.op_type == "Cast" and bool(rounded)
        if casts:
            _set_type(node, _SMALL)  # the cast itself rounds
        node.output[:] = [f"{name}.exact" if name in small else name for name in node.output]
        nodes.append(node)
        for name in rounded:
            source = f"{name}.exact"
            if not casts:
                nodes.append(helper.make_node("Cast", [source], [f"{name}.bf16"], to=_SMALL))
                source = f"{name}.bf16"
            nodes.append(helper.make_node("Cast", [source], [name], to=_FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return copied


def _set_type(node: onnx.NodeProto, kind: int) -> None:
    for attribute in node.attribute:
        if attribute.name == "to":
            attribute.i = kind
