"""Number types written into a graph: float16 or bfloat16 where it is safe, float32 where it is not.

TensorRT 11 has no precision flags any more and TensorRT 10 builds "strongly typed" networks, so the types in
the ONNX file decide and both versions build the same engine from it. What stays float32 (an "island"):

* coordinates: everything between the layers with weights and the sampling grid, the boxes with their inverse
  sigmoids and logarithms, sine codes, the relative coordinates of the dynamic mask head and that head itself;
* scores: the layer that makes them, the top-k and the choice of the best query;
* sums over a whole map: means, instance normalisation (float16 would overflow or lose the small terms).

Attention (MatMul, Softmax, MatMul) stays in the small type on purpose: only then does TensorRT fuse it to one
kernel, which keeps its sums in float32.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from uniref_model.runtime.contract import ANSWERS, MASK_LOGITS, STAYING

TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
"""Small types by the name that `uniref export --precision` knows."""

BFLOAT16_OPSET = 22

_FLOAT = TensorProto.FLOAT
_EXACT = frozenset({"Log", "Exp", "Sin", "Cos", "Pow", "Reciprocal"})
_SUMS = frozenset({"ReduceMean", "ReduceSum", "InstanceNormalization", "GlobalAveragePool"})
_MAKERS = frozenset({"Constant", "ConstantOfShape", "Range"})  # their type is inside an attribute
_BORDERS = frozenset({"LayerNormalization", "Softmax", "GridSample", *_SUMS})


def with_precision(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """A copy of a float32 graph with the types of `precision` ("fp16" or "bf16"); see the module's text.

    Raises ValueError for another precision, or where a weight is too large for it.
    """
    if precision not in TYPES:
        raise ValueError(f"precision is {precision!r}, expected fp32, {' or '.join(TYPES)}")
    copied = onnx.ModelProto.FromString(model.SerializeToString())
    graph = Typed(copied, TYPES[precision])
    graph.rewrite()
    if precision == "bf16":  # from this opset on Conv and pooling are defined for it
        del copied.opset_import[:]
        copied.opset_import.append(helper.make_opsetid("", BFLOAT16_OPSET))
        for node in copied.graph.node:
            for attribute in node.attribute:
                if node.op_type == "GridSample" and attribute.s == b"bilinear":
                    attribute.s = b"linear"  # its name since opset 20
    return copied


class Typed:
    """One graph while it is given its types."""

    def __init__(self, model: onnx.ModelProto, small: int) -> None:
        self.graph, self.small = model.graph, small
        self.nodes = list(model.graph.node)
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.constant = set(self.weights)
        for node in self.nodes:  # a stored weight may pass through a Cast or a Transpose before it is used
            if node.input and self.constant.issuperset(node.input):
                self.constant.update(node.output)
        self.producer = {name: node for node in self.nodes for name in node.output}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.users.setdefault(name, []).append(node)
        self.floats = _float_tensors(model)
        self.exact = self._islands()
        self.type: dict[str, int] = {}  # of every float tensor, as rewritten
        self.cast: dict[tuple[str, int], str] = {}

    # ---- which nodes stay float32 ----

    def _islands(self) -> set[int]:
        exact = {
            id(node)
            for node in self.nodes
            if node.op_type in _EXACT | _SUMS | _MAKERS
            # TensorRT's GridSample takes float32 and float16 only
            or (node.op_type == "GridSample" and self.small == TensorProto.BFLOAT16)
        }
        for node in self.nodes:
            if node.op_type == "GridSample":
                exact |= self._behind([node.input[1]])
            elif node.op_type in ("TopK", "ArgMax"):
                exact |= self._behind([node.input[0]], layers=1) | {id(node)}
            elif node.op_type in _EXACT:
                exact |= self._behind(node.input) | self._after(node.output)
        for output in self.graph.output:
            if carries := ANSWERS.get(output.name):
                exact |= self._behind([output.name], layers=0 if carries == MASK_LOGITS else 1)
        return exact

    def _behind(self, names: Iterable[str], layers: int = 0) -> set[int]:
        """Nodes from which `names` are computed, back to the layers with weights (the last one included
        where `layers` is 1)."""
        found: set[int] = set()
        open_names = list(names)
        while open_names:
            node = self.producer.get(open_names.pop())
            if node is None or id(node) in found or node.op_type in _BORDERS:
                continue
            if self._weighted(node):
                if layers:
                    found |= self._layer(node)
                continue
            found.add(id(node))
            open_names += [name for name in node.input if name in self.floats]
        return found

    def _after(self, names: Iterable[str]) -> set[int]:
        """Nodes that use `names`, up to the next layers with weights."""
        found: set[int] = set()
        open_names = list(names)
        while open_names:
            for node in self.users.get(open_names.pop(), []):
                if id(node) in found or node.op_type in _BORDERS or self._weighted(node):
                    continue
                found.add(id(node))
                open_names += [name for name in node.output if name in self.floats]
        return found

    def _weighted(self, node: onnx.NodeProto) -> bool:
        """A layer with weights, or the addition of its bias."""
        if node.op_type in ("Conv", "Gemm"):
            return True
        if node.op_type == "MatMul":
            return any(name in self.constant for name in node.input)
        return node.op_type == "Add" and any(self._is_product(name) for name in node.input)

    def _is_product(self, name: str) -> bool:
        node = self.producer.get(name)
        if node is None or node.op_type != "MatMul" or not any(n in self.constant for n in node.input):
            return False
        (user,) = self.users[name] if len(self.users[name]) == 1 else (None,)
        return user is not None and any(other in self.constant for other in user.input)

    def _layer(self, node: onnx.NodeProto) -> set[int]:
        """The nodes of one layer: the product and the addition of its bias."""
        inputs = [self.producer[name] for name in node.input if self._is_product(name)]
        return {id(node), *(id(product) for product in inputs if node.op_type == "Add")}

    # ---- writing it ----

    def rewrite(self) -> None:
        """Give every node, weight, input and output its type, with Cast where they differ."""
        for value in self.graph.input:
            if value.name in self.floats:
                self._declare(value)
                self.type[value.name] = value.type.tensor_type.elem_type
        for tensor in self.weights.values():
            self.type[tensor.name] = tensor.data_type
        written: list[onnx.NodeProto] = []
        for node in self.nodes:
            wanted = _FLOAT if id(node) in self.exact else self.small
            for index, name in enumerate(node.input):
                if name in self.floats:
                    fixed = node.op_type == "Resize" and index > 0  # scales are float32 by definition
                    node.input[index] = self._as(name, _FLOAT if fixed else wanted, written)
            if node.op_type == "Cast":
                _retype_cast(node, wanted)
            written.append(node)
            self.type |= {name: wanted for name in node.output if name in self.floats}
        for value in self.graph.output:
            if value.name in self.floats:
                self._finish(value, written)
        del self.graph.node[:]
        self.graph.node.extend(written)
        del self.graph.value_info[:]  # of the old types
        used = {name for node in written for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _declare(self, value: onnx.ValueInfoProto) -> None:
        # What goes from graph to graph is float16 in float16 graphs. All else stays float32, and so does this
        # in bfloat16 graphs, because numpy has no bfloat16.
        if self.small == TensorProto.FLOAT16 and value.name in STAYING:
            value.type.tensor_type.elem_type = self.small

    def _as(self, name: str, wanted: int, written: list[onnx.NodeProto]) -> str:
        """The name under which `name` has the type `wanted`."""
        if self.type[name] == wanted:
            return name
        if (name, wanted) not in self.cast:
            self.cast[name, wanted] = self._converted(name, wanted, written)
        return self.cast[name, wanted]

    def _converted(self, name: str, wanted: int, written: list[onnx.NodeProto]) -> str:
        converted = f"{name}.{TensorProto.DataType.Name(wanted).lower()}"
        if name in self.weights and wanted == TensorProto.FLOAT16:
            values = _half(numpy_helper.to_array(self.weights[name]), name)
            self.graph.initializer.append(numpy_helper.from_array(values, converted))
        else:
            # a weight in bfloat16 too: it is stored once for all graphs, and folded when an engine is built
            written.append(helper.make_node("Cast", [name], [converted], name=f"cast/{converted}", to=wanted))
        return converted

    def _finish(self, value: onnx.ValueInfoProto, written: list[onnx.NodeProto]) -> None:
        self._declare(value)
        wanted, name = value.type.tensor_type.elem_type, value.name
        if self.type[name] == wanted:
            return
        inner = f"{name}.inner"
        for node in written:
            node.output[:] = [inner if output == name else output for output in node.output]
            node.input[:] = [inner if used == name else used for used in node.input]
        written.append(helper.make_node("Cast", [inner], [name], name=f"cast/{name}", to=wanted))


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    inferred = onnx.shape_inference.infer_shapes(_without_data(model)).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    floats = {value.name for value in values if value.type.tensor_type.elem_type == _FLOAT}
    floats |= {tensor.name for tensor in model.graph.initializer if tensor.data_type == _FLOAT}
    known = {value.name for value in values}
    unknown = [name for node in model.graph.node for name in node.output if name and name not in known]
    if unknown:
        raise ValueError(f"the type of {unknown[0]!r} cannot be inferred")
    return floats


def _without_data(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its large weights declared as inputs: inference needs their types and shapes only."""
    slim = onnx.ModelProto()
    slim.CopyFrom(model)
    small = [tensor for tensor in slim.graph.initializer if len(tensor.raw_data) < 1024]
    large = [tensor for tensor in slim.graph.initializer if len(tensor.raw_data) >= 1024]
    slim.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in large
    )
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in small]
    del slim.graph.initializer[:]
    slim.graph.initializer.extend(kept)
    return slim


def _half(values: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half[np.isfinite(values)]).all():
        raise ValueError(f"{name} has values up to {np.abs(values).max():.3g}, more than float16 holds")
    return half


def _retype_cast(node: onnx.NodeProto, wanted: int) -> None:
    for attribute in node.attribute:
        if attribute.name == "to" and attribute.i == _FLOAT:
            attribute.i = wanted
