"""What a frame of the network consists of: arithmetic and time by graph, and what of it nothing can save.

Unavoidable is here what the convolutions and matrix products of a graph take where the library reaches the
rate of its fastest convolution, which it never does for all of them; sampling, normalising and moving data
come on top.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from uniref_model.runtime import Runtime, contract, find_model
from uniref_model.runtime.files import graph_file
from uniref_model.runtime.graph_runtime import GraphRuntime, shared_inputs

from ..registry import Options, Result
from ..results import COLOURS, new_figure
from .cpu_runtimes import OBJECTS, SIZE, Follower, load

RUNTIMES = ("ONNX Runtime", "OpenVINO fp32")
OURS = (contract.ENCODE_IMAGE, contract.ATTEND[2], contract.SEGMENT_SHARED, contract.ENCODE_REFERENCE)
"""Graphs of a frame, in their order; all but the first once for all objects."""

BETWEEN = "between them"
"""A whole frame less its graphs: what is copied from one to the next and to whoever keeps it, and what a
graph loses because the one before it has filled the caches."""

OBJECTS_SYMBOL = "objects"

BLOCK = 5
"""Runs of one graph after another; the first of them, with cold caches, does not count."""

INPUTS = ((1, 64, 96, 160), (4, 64, 24, 40), (4, 64, 12, 20))
"""Of the convolutions (3x3, as many outputs) of which the fastest tells a library's rate: [N, C, h, w]."""


def run(options: Options) -> Result:
    notes: list[str] = []
    rounds = options.choose(1, 12, 60)
    folder = find_model("uniref_nano")
    files = {graph: folder / graph_file(graph, SIZE) for graph in OURS}
    work = {
        count: {graph: multiply_adds(path, count) for graph, path in files.items()} | {BETWEEN: 0}
        for count in OBJECTS
    }
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        loaded = {name: load(name, SIZE, options.threads, stack, notes) for name in RUNTIMES}
        runtimes = {name: item for name, item in loaded.items() if item is not None}
        for count in OBJECTS:
            rates = {name: best_rate(name, options.threads, rounds) for name in runtimes}
            spent = _interleaved(runtimes, count, rounds)
            rows += [
                {
                    "runtime": name,
                    "objects": count,
                    "graph": graph,
                    "mflop": 2e-6 * work[count][graph],
                    "ms": spent[name][graph],
                    "unavoidable_ms": 2e-6 * work[count][graph] / rates[name],
                    "gflop_per_s": rates[name],
                }
                for name in runtimes
                for graph in work[count]
            ]
    return Result(
        {"rows": rows, "rounds": rounds, "block": BLOCK},
        {"": _draw(rows)},
        [_table(rows)],
        [],
        notes,
    )


def multiply_adds(path: Path, count: int) -> int:
    """Of the convolutions and matrix products of an exported graph for `count` objects."""
    content = onnx.load(path, load_external_data=False).graph
    values = (*content.value_info, *content.input, *content.output)
    shapes = {value.name: _shape(value, count) for value in values}
    shapes |= {tensor.name: list(tensor.dims) for tensor in content.initializer}
    total = 0
    for node in content.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        second = shapes[node.input[1]]
        if node.op_type == "Conv":
            depth = int(np.prod(second[1:]))
        elif node.op_type == "MatMul":
            depth = second[-2]
        else:
            turned = any(item.name == "transB" and item.i for item in node.attribute)
            depth = second[1 if turned else 0]
        total += int(np.prod(shapes[node.output[0]])) * depth
    return total


def _shape(value: onnx.ValueInfoProto, count: int) -> list[int]:
    """With the one symbol, which stands alone or in a product such as 30*objects, replaced."""
    sides = [side.dim_param or str(side.dim_value) for side in value.type.tensor_type.shape.dim]
    return [
        math.prod(count if part == OBJECTS_SYMBOL else int(part) for part in side.split("*"))
        for side in sides
    ]


def _interleaved(runtimes: dict[str, Runtime], count: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of each graph and `BETWEEN` them."""
    turns = {name: _Turn(runtime, count) for name, runtime in runtimes.items()}
    times: dict[str, dict[str, list[float]]] = {name: {} for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            for graph, run_it in turn.parts.items():
                times[name].setdefault(graph, []).extend(_block(run_it))
    found = {}
    for name, parts in times.items():
        middle = {graph: float(np.median(spent)) for graph, spent in parts.items()}
        whole = middle.pop("frame")
        found[name] = middle | {BETWEEN: max(whole - sum(middle.values()), 0.0)}
    return found


class _Turn:
    """One runtime's graphs with what a real frame puts into them."""

    def __init__(self, runtime: Runtime, count: int) -> None:
        assert isinstance(runtime, GraphRuntime)
        follower = Follower(runtime, count)
        follower.step(1)
        frame = runtime.encode_image(follower.pictures[0])
        references = (follower.first[0], follower.previous[0])
        self.parts: dict[str, Any] = {"frame": lambda: follower.step(0)}
        for name in OURS:
            bound = runtime.bound(name, 1 if name == contract.ENCODE_IMAGE else count)
            shared = shared_inputs(runtime.spec.graphs[name], frame, references)
            self.parts[name] = lambda bound=bound, shared=shared: bound.run(shared)


def _block(run_it: Any) -> list[float]:
    spent = []
    for _ in range(BLOCK):
        start = time.perf_counter()
        run_it()
        spent.append(1000 * (time.perf_counter() - start))
    return spent[1:]


def best_rate(name: str, threads: int, rounds: int) -> float:
    """GFLOP/s of the fastest convolution in its fastest run."""
    make = _openvino if name.startswith("OpenVINO") else _onnxruntime
    rates = []
    for shape in INPUTS:
        run_it = make(_convolution(shape), threads, np.ones(shape, np.float32))
        fastest = min(min(_block(run_it)) for _ in range(rounds))
        rates.append(2e-6 * int(np.prod(shape)) * shape[1] * 9 / fastest)
    return max(rates)


def _convolution(shape: tuple[int, ...]) -> onnx.ModelProto:
    weights = np.full((shape[1], shape[1], 3, 3), 0.01, np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        [node],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _onnxruntime(model: onnx.ModelProto, threads: int, x: np.ndarray) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})


def _openvino(model: onnx.ModelProto, threads: int, x: np.ndarray) -> Any:
    import openvino

    core = openvino.Core()
    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    read = core.read_model(model.SerializeToString())
    request = core.compile_model(read, "CPU", options).create_infer_request()
    return lambda: request.infer({"x": x}, share_inputs=True, share_outputs=True)


def _table(rows: list[dict[str, Any]]) -> tuple[str, list[str], list[list[str]]]:
    header = ["objects", "runtime", "part", "MFLOP", "ms", "unavoidable ms", "share"]
    body = []
    for count, name in dict.fromkeys((row["objects"], row["runtime"]) for row in rows):
        own = [row for row in rows if (row["objects"], row["runtime"]) == (count, name)]
        keys = ("mflop", "ms", "unavoidable_ms")
        total = {"graph": "all"} | {key: sum(row[key] for row in own) for key in keys}
        for row in (*own, total):
            share = f"{row['unavoidable_ms'] / row['ms']:.0%}" if row["ms"] else ""
            figures = (f"{row['mflop']:.0f}", f"{row['ms']:.2f}", f"{row['unavoidable_ms']:.2f}")
            body.append([str(count), name, row["graph"], *figures, share])
    return f"A frame of uniref_nano at {SIZE[0]}x{SIZE[1]}, medians", header, body


def _draw(rows: list[dict[str, Any]]) -> Any:
    figure, axes = new_figure(1, len(OBJECTS), (9.0, 3.0))
    for axis, count in zip(axes, OBJECTS, strict=True):
        own = [row for row in rows if row["objects"] == count]
        names = list(dict.fromkeys(row["runtime"] for row in own))
        for place, name in enumerate(names):
            left = 0.0
            for colour, row in zip(COLOURS, [row for row in own if row["runtime"] == name], strict=False):
                label = row["graph"] if not place else None
                axis.barh(place, row["ms"], 0.5, left, color=colour, label=label)
                axis.barh(place - 0.36, row["unavoidable_ms"], 0.12, left, color=colour)
                left += row["ms"]
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.set_title(f"{count} object(s); thin: its arithmetic at the library's best rate", fontsize=8)
        axis.set_xlabel("ms a frame", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=7)
    return figure
