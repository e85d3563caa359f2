"""Number types in graphs, the documented operators, and deformable attention by gathering."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the exporter needs PyTorch")
onnx = pytest.importorskip("onnx", reason="the exporter needs onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="graphs are run with ONNX Runtime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from uniref_model.export.emulate import emulate_bfloat16  # noqa: E402
from uniref_model.export.operators import DOCUMENTED, unsupported  # noqa: E402
from uniref_model.export.precision import with_precision  # noqa: E402
from uniref_model.export.weights import LARGE_LOGIT, finite  # noqa: E402
from uniref_model.network.config import TransformerConfig  # noqa: E402
from uniref_model.network.deformable import (  # noqa: E402
    DeformableEncoder,
    gather_levels,
    sample_levels,
    use_sampler,
)
from uniref_model.runtime.files import WEIGHTS  # noqa: E402

SHIPPED = sorted((WEIGHTS / "uniref_nano").glob("*[0-9]x[0-9]*.onnx"))


def model(nodes, inputs, outputs, weights=None, opset: int = 18) -> onnx.ModelProto:
    """inputs, outputs: name -> (type, shape); weights: name -> array."""

    def values(described):
        return [helper.make_tensor_value_info(name, *what) for name, what in described.items()]

    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(nodes, "test", values(inputs), values(outputs), tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def node(kind: str, inputs: str, output: str = "y", **attributes) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], name=kind.lower(), **attributes)


FLOAT, HALF, BRAIN, INT = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT64
IMAGE = {"x": (FLOAT, [1, 2, 4, 4])}
ANY = {"y": (FLOAT, None)}


# ---- documented operators ----

FORBIDDEN = {
    "NonZero": model([node("NonZero", "x")], IMAGE, {"y": (INT, None)}),
    "ScatterND": model(
        [node("ScatterND", "x i u", reduction="add")],
        {**IMAGE, "i": (INT, [1, 1]), "u": (FLOAT, [1, 2, 4, 4])},
        ANY,
    ),
    "TopK": model(
        [helper.make_node("TopK", ["x", "k"], ["v", "y"])],
        {"x": (FLOAT, [1, 9000])},
        {"y": (INT, None)},
        {"k": np.array([3840])},
    ),
    "not a constant": model(
        [helper.make_node("TopK", ["x", "k"], ["v", "y"])],
        {"x": (FLOAT, [1, 9000]), "k": (INT, [1])},
        {"y": (INT, None)},
    ),
    "4 dimensions": model(
        [node("GridSample", "x g", mode="linear")],
        {"x": (FLOAT, [1, 2, 3, 4, 4]), "g": (FLOAT, [1, 3, 4, 4, 3])},
        ANY,
        opset=20,
    ),
    "bfloat16": model(
        [node("GridSample", "x g", mode="linear")],
        {"x": (BRAIN, [1, 2, 4, 4]), "g": (BRAIN, [1, 4, 4, 2])},
        {"y": (BRAIN, None)},
        opset=22,
    ),
    "constant weights": model(
        [node("Conv", "x w", group=2)], {**IMAGE, "w": (FLOAT, [2, 1, 1, 1])}, ANY
    ),
    "antialias": model(
        [node("Resize", "x  s", mode="linear", antialias=1)] , IMAGE, ANY, {"s": np.ones(4, np.float32)}
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_tensorrt_does_not_document_is_named(what: str) -> None:
    problems = unsupported(FORBIDDEN[what])
    assert problems and all(what in problem for problem in problems)


def test_documented_limits_are_allowed_up_to_the_limit() -> None:
    k = helper.make_node("TopK", ["x", "k"], ["v", "y"])
    allowed = model([k], {"x": (FLOAT, [1, 9000])}, {"y": (INT, None)}, {"k": np.array([3839])})
    assert unsupported(allowed) == []
    weights = {"w": np.zeros((2, 1, 1, 1), np.float32)}
    assert unsupported(model([node("Conv", "x w", group=2)], IMAGE, ANY, weights)) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_graphs_use_documented_operators(path) -> None:
    assert unsupported(onnx.load(path, load_external_data=False)) == []


def test_operators_that_cannot_become_engines_are_not_in_the_list() -> None:
    assert not {"NonZero", "Unique", "ScatterND", "Loop", "If", "Scan", "Attention"} & set(DOCUMENTED)


# ---- types ----


def shipped(name: str) -> onnx.ModelProto:
    (path,) = [path for path in SHIPPED if path.name == f"{name}_192x320.onnx"]
    return onnx.load(path)


def kinds_of(typed: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(typed).graph
    found = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


@pytest.mark.parametrize(("precision", "small", "sampled"), [("fp16", HALF, HALF), ("bf16", BRAIN, FLOAT)])
def test_what_needs_float32_keeps_it(precision: str, small: int, sampled: int) -> None:
    typed = with_precision(shipped("segment"), precision)
    onnx.checker.check_model(typed, full_check=True)
    kinds = kinds_of(typed)
    by_kind: dict[str, set[int]] = {}
    for item in typed.graph.node:
        if item.op_type != "Cast" and item.input[0] in kinds:
            by_kind.setdefault(item.op_type, set()).add(kinds[item.input[0]])
    for exact in ("Log", "Sin", "Cos", "TopK", "ArgMax"):
        assert by_kind[exact] == {FLOAT}, exact
    assert by_kind["GridSample"] == {sampled}
    assert by_kind["LayerNormalization"] == by_kind["Conv"] == by_kind["Softmax"] == {small}
    assert {kinds[name] for name in ("score", "box", "mask_logits")} == {FLOAT}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_attention_has_one_type_throughout(precision: str) -> None:
    """TensorRT fuses MatMul, Softmax, MatMul only then."""
    typed = with_precision(shipped("segment"), precision)
    makers = {name: item for item in typed.graph.node for name in item.output}
    users = {name: item for item in typed.graph.node for name in item.input}
    attentions = 0
    for item in typed.graph.node:
        if item.op_type == "Softmax" and users[item.output[0]].op_type == "MatMul":
            before = makers[item.input[0]]
            while before.op_type == "Add":
                before = makers[before.input[0]]
            assert before.op_type == "MatMul", before.op_type
            attentions += 1
    assert attentions >= 10  # words and masks on four levels, and two decoder layers


def test_features_travel_in_float16_and_the_rest_in_float32() -> None:
    kinds = kinds_of(with_precision(shipped("segment"), "fp16"))
    for name in ("lateral", "src0", "key3", "value0", "embed1"):
        assert kinds[name] == HALF
    for name in ("words", "word_mask", "sentence", "use_language", "use_reference"):
        assert kinds[name] == FLOAT
    assert kinds_of(with_precision(shipped("segment"), "bf16"))["src0"] == FLOAT  # numpy has no bfloat16


def test_a_weight_too_large_for_float16_is_named() -> None:
    large = model([node("Mul", "x w")], IMAGE, ANY, {"w": np.array([1e5], np.float32)})
    with pytest.raises(ValueError, match="w has values up to 1e"):
        with_precision(large, "fp16")
    with pytest.raises(ValueError, match="precision is 'int8'"):
        with_precision(large, "int8")


def test_emulated_bfloat16_rounds_as_bfloat16_does() -> None:
    typed = with_precision(
        model([node("Mul", "x x", "z"), node("Add", "z z")], IMAGE, {"y": (FLOAT, [1, 2, 4, 4])}), "bf16"
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = emulate_bfloat16(typed).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    x = torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    small = x.bfloat16()
    wanted = (small * small + small * small).float().numpy()
    (found,) = session.run(None, {"x": x.numpy()})
    assert np.array_equal(found, wanted) and not np.array_equal(found, (2 * x**2).numpy())


def test_infinite_constants_become_large_ones() -> None:
    infinite = model([node("Add", "x w")], IMAGE, ANY, {"w": np.array([np.inf, -np.inf, 1, 2], np.float32)})
    (tensor,) = finite(infinite).graph.initializer
    assert numpy_helper.to_array(tensor).tolist() == [LARGE_LOGIT, -LARGE_LOGIT, 1, 2]
    assert torch.tensor(LARGE_LOGIT - 5000).sigmoid() == 1  # exactly, as for infinity


# ---- sampling by gathering ----

SHAPES = [(8, 14), (4, 7), (2, 4), (1, 2)]


def test_gathering_equals_grid_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, queries, heads, points, width = 2, 12, 4, 3, 8
    maps = [
        torch.randn(rows, heads, width, *shape, generator=generator, dtype=torch.float64) for shape in SHAPES
    ]
    locations = (
        torch.rand(rows, queries, heads, 4, points, 2, generator=generator, dtype=torch.float64) * 1.6 - 0.3
    )
    # corners, borders, and far outside
    for query, value in enumerate((0.0, 1.0, 0.5, 50.0, -50.0, 1e30)):
        locations[0, query] = value
    weights = torch.rand(rows, queries, heads, 4, points, generator=generator, dtype=torch.float64)
    wanted = sample_levels(maps, locations, weights)
    torch.testing.assert_close(gather_levels(maps, locations, weights), wanted, rtol=0, atol=1e-12)
    assert wanted.abs().max() > 1


def test_both_forms_of_the_encoder_are_interchangeable() -> None:
    torch.manual_seed(0)
    encoder = DeformableEncoder(TransformerConfig(encoder_layers=2, heads=4, ffn=32), 32).eval()
    levels = [torch.randn(1, 32, *shape) for shape in SHAPES]
    positions = [torch.randn(1, 32, *shape) for shape in SHAPES]
    with torch.no_grad():
        wanted = encoder(levels, positions, None, None)
        use_sampler(encoder, "gather")
        found = encoder(levels, positions, None, None)
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="sampler is 'nearest'"):
        use_sampler(encoder, "nearest")
