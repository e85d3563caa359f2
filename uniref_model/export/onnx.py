"""Export of a trained model to ONNX: its graphs, shared weights, model.json, and a check of each.

Every model has float32 graphs: ONNX Runtime runs them, and engines are compared with them. Beside them there
may be "engine" graphs for TensorRT, with float16 or bfloat16 inside and with two forms of deformable
attention; they share the weights' file, so they cost only their own structure.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from uniref_model import __version__
from uniref_model.errors import ModelFileError
from uniref_model.export.emulate import emulate_bfloat16
from uniref_model.export.graphs import OBJECTS, Graph, build_graphs, described
from uniref_model.export.operators import unsupported
from uniref_model.export.precision import TYPES, with_precision
from uniref_model.export.prepare import prepare
from uniref_model.export.text import WordsAndSentence, export_text
from uniref_model.export.weights import SharedWeights, finite, strip
from uniref_model.network.config import PACKAGED_ENCODER
from uniref_model.network.deformable import SAMPLERS, use_sampler
from uniref_model.network.loading import check_finite
from uniref_model.network.model import UniRef
from uniref_model.network.text import load_minilm, minilm_folder
from uniref_model.runtime import contract
from uniref_model.runtime.contract import ENGINE_GRAPHS
from uniref_model.runtime.files import graph_file, sha256_of
from uniref_model.runtime.spec import DEFAULT_BUCKETS, ModelSpec, conventions, write_json

OPSET = 18
STEP = 32
"""Sizes are multiples of the coarsest backbone stride, so that no feature map needs padding."""

MOST_CELLS = 4096
"""Of stride 8, up to which a batch of two objects is checked. The authors' attention between all of them
takes the square of it: at 480x864 2.7 GB an object and operator, and 19 GB for two objects were not
enough."""


@dataclass(frozen=True)
class ExportOptions:
    """What to write.

    sizes: (height, width) pairs, the first is the default; empty takes the model config's. objects: batch
    sizes that runtimes prepare. precision: of the engine graphs, "fp32", "fp16" or "bf16". attention: forms
    of deformable attention that engines may use, in the order in which they are tried; ONNX Runtime gets the
    first of `network.deformable.SAMPLERS`. half_weights: round weights to float16, which halves the file;
    float32 graphs still compute in float32.
    """

    sizes: tuple[tuple[int, int], ...] = ()
    objects: tuple[int, ...] = DEFAULT_BUCKETS
    precision: str = "fp16"
    attention: tuple[str, ...] = tuple(SAMPLERS)
    half_weights: bool = True

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", *TYPES):
            raise ValueError(f"precision is {self.precision!r}, expected one of fp32, {', '.join(TYPES)}")
        if unknown := [name for name in self.attention if name not in SAMPLERS]:
            raise ValueError(f"attention is {unknown[0]!r}, expected one of {', '.join(SAMPLERS)}")
        if not self.attention:
            raise ValueError(f"attention is empty, expected some of {', '.join(SAMPLERS)}")
        if not self.objects or any(not 1 <= count <= 64 for count in self.objects):
            raise ValueError(f"objects are {self.objects!r}, expected batch sizes from 1 to 64")
        for size in self.sizes:
            if len(size) != 2 or any(side <= 0 or side % STEP for side in size):
                raise ValueError(f"the size {size!r} is not (height, width) in multiples of {STEP}")


@dataclass(frozen=True)
class Difference:
    """Largest differences between a graph and the PyTorch module, over all objects tried. how: what ran
    it."""

    absolute: float
    relative: float  # of the largest absolute value of the output
    mask_iou: float  # of the thresholded masks; 1 for graphs that give none
    how: str = "ONNX Runtime"


def export_model(
    network: UniRef,
    folder: Path,
    options: ExportOptions | Sequence[tuple[int, int]] | None = None,
    extra: dict | None = None,
    tokenizer: Path | None = None,
) -> dict[str, Difference]:
    """Write all graphs of `network`, weights, tokenizer and model.json to `folder`; returns each graph's
    check.

    options: what to write; a sequence of sizes stands for the default options with them. extra: more for
    model.json. tokenizer: the tokenizer.json of a text encoder inside `network`. Raises ModelFileError where
    a graph uses what TensorRT does not document or a number is not finite, ValueError where a weight does not
    fit float16.
    """
    if not isinstance(options, ExportOptions):
        options = ExportOptions(sizes=tuple(tuple(size) for size in options or ()))
    folder.mkdir(parents=True, exist_ok=True)
    sizes = options.sizes or default_sizes(network)
    check_finite(network)
    network = prepare(network, options.half_weights)
    checks: dict[str, Difference] = {}
    shared = SharedWeights(folder / "weights.bin")
    for size in sizes:
        for name, graph, model in _size_graphs(network, size, options):
            if problems := unsupported(model):
                raise ModelFileError(f"{name} cannot become an engine: {'; '.join(problems[:5])}")
            shared.save(model, folder / name)
            checks[name] = check(graph, folder / name)
    shared.close()
    has_text = _write_text(network, folder, options, tokenizer)
    write_spec(network, folder, sizes, options, has_text, extra or {})
    return checks


def default_sizes(network: UniRef) -> tuple[tuple[int, int], ...]:
    """The config's sizes, or its short side by 16:9 for models that were made to keep the aspect."""
    options = network.config.input
    if options.sizes:
        return tuple((int(height), int(width)) for height, width in options.sizes)
    height, width = (
        int(-(-side // STEP) * STEP) for side in (options.short_side, options.short_side * 16 / 9)
    )
    return ((height, width),)


def _size_graphs(
    network: UniRef, size: tuple[int, int], options: ExportOptions
) -> Iterator[tuple[str, Graph, onnx.ModelProto]]:
    """(file name, module, graph) of everything that depends on the size."""
    for attention in SAMPLERS:
        use_sampler(network, attention)
        plain = attention == next(iter(SAMPLERS))
        if not plain and attention not in options.attention:
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of the example inputs: a check that passes once always passes
            graphs = build_graphs(network, size)
        for name, graph in graphs.items():
            if not plain and name != contract.SEGMENT:  # the only engine graph with deformable attention
                continue
            model = finite(to_onnx(graph))
            if plain or options.precision == "fp32":
                yield graph_file(name, size, "fp32", attention), graph, model
            used = attention in options.attention or name != contract.SEGMENT
            if options.precision != "fp32" and name in ENGINE_GRAPHS and used:
                typed = with_precision(model, options.precision)
                yield graph_file(name, size, options.precision, attention), graph, typed
    use_sampler(network, next(iter(SAMPLERS)))


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
    return list(inspect.signature(module.forward).parameters.values())


def _grouped(module: torch.nn.Module, shapes: list) -> list:
    """torch.export wants the shapes of *args as one tuple, after those of the named parameters before
    them."""
    fixed = sum(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in _parameters(module))
    return [*shapes[:fixed], tuple(shapes[fixed:])]


def _write_text(network: UniRef, folder: Path, options: ExportOptions, tokenizer: Path | None) -> bool:
    """The text encoder, and whether there is one: the nano model's MiniLM is a package of its own, others
    bring theirs."""
    config = network.config.text
    if config.encoder == PACKAGED_ENCODER:
        encoder, storage, tokenizer = load_minilm(), "int8", minilm_folder() / "tokenizer.json"
    elif network.text_encoder is not None and tokenizer is not None:
        encoder, storage = network.text_encoder, "fp16" if options.half_weights else "fp32"
        encoder.set_attn_implementation("eager")  # the exporter cannot follow the fused ones
    else:
        return False
    export_text(
        WordsAndSentence(encoder, network.embed_words),
        folder / graph_file(contract.ENCODE_TEXT, (0, 0)),
        [port.name for port in described(network, False, True)[contract.ENCODE_TEXT].outputs],
        config.max_words,
        "text_weights.bin",
        storage,
        network.resizer.parameters(),
    )
    if tokenizer != folder / "tokenizer.json":
        shutil.copyfile(tokenizer, folder / "tokenizer.json")
    return True


def write_spec(
    network: UniRef,
    folder: Path,
    sizes: Sequence[tuple[int, int]],
    options: ExportOptions,
    has_text: bool,
    extra: dict,
) -> None:
    """Write model.json, sha256 of every other file included."""
    config = network.config
    # The authors' models pad frames to keep their aspect and mask the padding out. Graphs have no padding
    # masks: a frame is stretched to the size, which for a frame of the size's aspect is the same.
    graphs = sorted(path.name for path in folder.glob("*.onnx"))
    files = [*graphs, "weights.bin", *(["text_weights.bin", "tokenizer.json"] if has_text else [])]
    spec = {
        "version": contract.VERSION,
        "name": config.name,
        "hidden": config.hidden,
        "max_words": config.text.max_words,
        "sizes": [list(size) for size in sizes],
        "buckets": sorted(set(options.objects)),
        "mean": list(config.input.mean),
        "std": list(config.input.std),
        "resize": "stretch",
        **conventions(config.input.resize),
        "score_thresholds": {
            "mask": ModelSpec.mask_threshold,
            "language": ModelSpec.language_threshold,
            "view": ModelSpec.view_threshold,
        },
        "text": {"lowercase": True, "encoder": config.text.encoder if has_text else None},
        "exporter": f"uniref_ros {__version__}, torch {torch.__version__}",
        "engines": {"precision": options.precision, "attention": list(options.attention)},
        **extra,
        "graphs": contract.to_json(
            described(network, graph_file(contract.SEGMENT_SHARED, sizes[0]) in graphs, has_text)
        ),
        "sha256": {name: sha256_of(folder / name) for name in files},
    }
    write_json(folder / "model.json", spec)


@torch.no_grad()
def check(graph: Graph, path: Path) -> Difference:
    """Compare the file at `path` with the module on the example inputs, for one object and for as many as
    memory is likely to hold."""
    onnx.checker.check_model(str(path))
    session, how = _session(path)
    kinds = {
        node.name: np.float16 if node.type == "tensor(float16)" else None for node in session.get_inputs()
    }
    absolute, relative, iou = 0.0, 0.0, 1.0
    for objects in _batches(graph):
        inputs = {
            name: value[:objects] if name in graph.per_object else value
            for name, value in graph.inputs.items()
        }
        expected = graph.module(*inputs.values())
        expected = expected if isinstance(expected, tuple) else (expected,)
        arrays = {name: value.numpy() for name, value in inputs.items() if name in kinds}
        arrays = {name: value.astype(kinds[name] or value.dtype) for name, value in arrays.items()}
        found = session.run(graph.outputs, arrays)
        for name, a, b in zip(graph.outputs, expected, found, strict=True):
            if not np.isfinite(b).all():  # which no maximum below would show
                raise ModelFileError(f"{path.name}: {name} holds numbers that are not finite")
            difference = float(np.abs(a.numpy() - b).max())
            absolute = max(absolute, difference)
            relative = max(relative, difference / max(float(a.abs().max()), 1e-6))
            if contract.ANSWERS.get(name) == contract.MASK_LOGITS:
                iou = min(
                    iou, float(((a.numpy() > 0) & (b > 0)).sum() / max(((a.numpy() > 0) | (b > 0)).sum(), 1))
                )
    return Difference(absolute, relative, iou, how)


def _batches(graph: Graph) -> list[int]:
    count = max((len(graph.inputs[name]) for name in graph.per_object), default=1)
    finest = graph.inputs.get(graph.ports.input_names.get((contract.SOURCE, 0)))
    if finest is not None and finest[0, 0].numel() > MOST_CELLS:
        return [1]
    return sorted({1, count})


def _session(path: Path):
    """A session on the CPU that can run the graph, and what to call it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if ".bf16" not in path.suffixes:
        how = (
            "ONNX Runtime"
            if ".fp16" not in path.suffixes
            else "ONNX Runtime (CPU, float16 between operators)"
        )
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]), how
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    )  # keeps every rounding
    content = emulate_bfloat16(onnx.load(path)).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session, "ONNX Runtime (bfloat16 emulated)"
