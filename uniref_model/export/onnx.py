"""Export of a trained model to ONNX: four kinds of graphs, shared weights, model.json, and a check of
each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from uniref_model.export.graphs import OBJECTS, Graph, build_graphs
from uniref_model.export.prepare import prepare
from uniref_model.export.text import WordsAndSentence, export_text, load_minilm, minilm_folder
from uniref_model.export.weights import SharedWeights, strip
from uniref_model.network.model import UniRef
from uniref_model.runtime.base import GRAPHS
from uniref_model.runtime.files import sha256_of

OPSET = 18


@dataclass(frozen=True)
class Difference:
    """Largest differences between a graph run by ONNX Runtime and the PyTorch module, over all objects
    tried."""

    absolute: float
    relative: float  # of the largest absolute value of the output
    mask_iou: float  # of the thresholded masks; 1 for graphs that give none


def export_model(
    network: UniRef, folder: Path, sizes: Sequence[tuple[int, int]] | None = None, extra: dict | None = None
) -> dict[str, Difference]:
    """Write all graphs of `network`, weights, tokenizer and model.json to `folder`; returns each graph's
    check.

    sizes: (height, width) pairs, the first is the default; None takes the model config's. extra: more for
    model.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [tuple(size) for size in (sizes or network.config.input.sizes)]
    network = prepare(network)
    exported: dict[str, tuple[Graph, onnx.ModelProto]] = {}
    for size in sizes:
        for name, graph in build_graphs(network, size).items():
            exported[f"{name}_{size[0]}x{size[1]}.onnx"] = graph, to_onnx(graph)
    shared = SharedWeights(folder / "weights.bin")
    for name, (_, model) in exported.items():
        shared.save(model, folder / name)
    shared.close()
    text = WordsAndSentence(load_minilm(), network.embed_words)
    export_text(
        text,
        folder / "encode_text.onnx",
        ["words", "sentence"],
        network.config.text.max_words,
        "text_weights.bin",
    )
    shutil.copyfile(minilm_folder() / "tokenizer.json", folder / "tokenizer.json")
    write_spec(network, folder, sizes, extra or {})
    return {name: check(graph, folder / name) for name, (graph, _) in exported.items()}


def to_onnx(graph: Graph) -> onnx.ModelProto:
    """Export one graph with the dynamo exporter; only the number of objects is symbolic."""
    objects = torch.export.Dim(OBJECTS, min=1, max=64)
    shapes = [{0: objects} if name in graph.per_object else {} for name in graph.inputs]
    values = tuple(graph.inputs.values())
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in _parameters(graph.module)):
        shapes = _grouped(graph.module, shapes)
    program = torch.onnx.export(
        graph.module,
        values,
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=tuple(shapes),
        optimize=True,
        input_names=list(graph.inputs),
        output_names=graph.outputs,
        verbose=False,
    )
    return strip(program.model_proto)


def _parameters(module: torch.nn.Module) -> list:
    import inspect

    return list(inspect.signature(module.forward).parameters.values())


def _grouped(module: torch.nn.Module, shapes: list) -> list:
    """torch.export wants the shapes of *args as one tuple, after those of the named parameters before
    them."""
    fixed = sum(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in _parameters(module))
    return [*shapes[:fixed], tuple(shapes[fixed:])]


def write_spec(network: UniRef, folder: Path, sizes: Sequence[tuple[int, int]], extra: dict) -> None:
    """Write model.json, sha256 of every other file included."""
    config = network.config
    files = [
        *sorted(path.name for path in folder.glob("*.onnx")),
        "weights.bin",
        "text_weights.bin",
        "tokenizer.json",
    ]
    spec = {
        "name": config.name,
        "graphs": GRAPHS,
        "hidden": config.hidden,
        "max_words": config.text.max_words,
        "sizes": [list(size) for size in sizes],
        "mean": list(config.input.mean),
        "std": list(config.input.std),
        "resize": config.input.resize,
        "mask_upsample": "bilinear",
        "interactive": True,
        "contours": "colour",
        "score_thresholds": {"mask": 0.4, "language": 0.3},
        "text": {"lowercase": True, "encoder": config.text.encoder},
        **extra,
        "sha256": {name: sha256_of(folder / name) for name in files},
    }
    (folder / "model.json").write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def check(graph: Graph, path: Path) -> Difference:
    """Compare the file at `path` with the module on the example inputs, for one object and for all."""
    import onnxruntime

    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    absolute, relative, iou = 0.0, 0.0, 1.0
    count = max((len(graph.inputs[name]) for name in graph.per_object), default=1)
    for objects in sorted({1, count}):
        inputs = {
            name: value[:objects] if name in graph.per_object else value
            for name, value in graph.inputs.items()
        }
        expected = graph.module(*inputs.values())
        found = session.run(graph.outputs, {name: value.numpy() for name, value in inputs.items()})
        for name, a, b in zip(graph.outputs, expected, found, strict=True):
            difference = float(np.abs(a.numpy() - b).max())
            absolute = max(absolute, difference)
            relative = max(relative, difference / max(float(a.abs().max()), 1e-6))
            if name == "mask_logits":
                iou = min(
                    iou, float(((a.numpy() > 0) & (b > 0)).sum() / max(((a.numpy() > 0) | (b > 0)).sum(), 1))
                )
    return Difference(absolute, relative, iou)
