"""The savings of the runtimes, each of which can be undone: the same answers from the authors' order of work.

In their video code the backbone runs once over a frame for the references to come and once more for every
object; objects follow one another; each projects its references' keys and values anew, computes its own
attention, and makes every query's mask; a prompt is encoded when it is needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UniRefError
from ..runtime import FrameFeatures, LanguageReference, MaskReference, ObjectReferences, Prediction, Runtime
from ..runtime.contract import ENCODE_IMAGE, ENCODE_REFERENCE, ENCODE_TEXT, to_json
from ..runtime.files import graph_file, sha256_of
from ..runtime.spec import read_json, write_json

SAVINGS = {
    "backbone": "the backbone runs once a frame",
    "text": "a prompt is encoded once",
    "batching": "objects share batches",
    "attention": "objects of the same reference frames share attention probabilities, and graphs are flat",
    "projections": "references are kept projected",
    "masks": "only the chosen query gets a mask",
}
"""What can be undone, by name."""


class Undone(Runtime):
    """A runtime that does again what `inner` would have saved. `inner` sees to attention, projections and
    masks itself; the rest is undone here.

    Features and references are `inner`'s, so that both can be given to either.
    """

    def __init__(self, inner: Runtime, without: Collection[str]) -> None:
        self.inner, self.without = inner, frozenset(without)
        self.name, self.spec, self.size = inner.name, inner.spec, inner.size
        self.buckets = (1,) if "batching" in self.without else inner.buckets

    def encode_text(self, text: str) -> LanguageReference:
        if "text" in self.without:
            return self.inner.encode_prompt.encode_anew(text)
        return self.inner.encode_text(text)

    def encode_image(self, image: np.ndarray) -> FrameFeatures:
        return self.inner.encode_image(image)

    def encode_reference(self, frame: FrameFeatures, masks: np.ndarray) -> list[MaskReference]:
        if "batching" not in self.without:
            return self.inner.encode_reference(frame, masks)
        return [self.inner.encode_reference(frame, mask[None])[0] for mask in masks]

    def segment(self, frame: FrameFeatures, objects: Sequence[ObjectReferences]) -> list[Prediction]:
        if "backbone" in self.without:
            for _ in objects:
                frame = self.inner.encode_image(frame.image)
        if "batching" not in self.without:
            return self.inner.segment(frame, objects)
        return [self.inner.segment(frame, [item])[0] for item in objects]

    def close(self) -> None:
        self.inner.close()


@contextmanager
def undone(runtime: Runtime, without: Collection[str], weights: Path | None = None) -> Iterator[Undone]:
    """`runtime`'s model without some of `SAVINGS`, on the same kind of runtime and as many threads.

    weights: its .safetensors file, needed to export graphs in the authors' way; None looks beside the model.
    UniRefError for unknown names, missing weights or a runtime on which nothing can be undone.
    """
    unknown = sorted(set(without) - set(SAVINGS))
    if unknown:
        raise UniRefError(f"no saving {unknown[0]!r}, expected some of {', '.join(SAVINGS)}")
    with tempfile.TemporaryDirectory() as folder:
        make = _torch if runtime.name == "torch" else _graphs
        other = Undone(make(runtime, frozenset(without), weights, Path(folder)), without)
        try:
            yield other
        finally:
            other.close()


def _torch(runtime: Runtime, without: frozenset[str], weights: Path | None, folder: Path) -> Runtime:
    import copy

    from ..runtime.pytorch import TorchRuntime

    network = copy.deepcopy(runtime._loaded())
    if "projections" in without:
        network.fusion.projects_ahead = False
    return TorchRuntime(
        network,
        size=runtime.size,
        device=runtime.device.type,
        tokenizer=runtime._tokenizer,
        attention="batched" if "attention" in without else runtime.attention,
        all_masks="masks" in without,
    )


def _graphs(runtime: Runtime, without: frozenset[str], weights: Path | None, folder: Path) -> Runtime:
    load, source = _loader(runtime, folder)
    attention = "shared" if runtime.shared else "batched"
    options = {
        "size": runtime.size,
        "buckets": (1,) if "batching" in without else runtime.buckets,
        "attention": "batched" if "attention" in without else attention,
    }
    if not without & {"projections", "masks"}:
        return load(source, **options)
    if options["attention"] == "shared":
        raise UniRefError("projections and masks are undone in graphs of batched attention: add 'attention'")
    model = folder / "model"
    model.mkdir()
    export_again(source, model, runtime.size, without, weights)
    return load(model, **options)


def _loader(runtime: Runtime, folder: Path) -> tuple[Callable[..., Runtime], Path]:
    """What loads a model's graphs on the library, device and threads of `runtime`, and the folder of its
    model. folder: for what is compiled."""
    from ..runtime.onnx import OnnxBackend, load_onnx
    from ..runtime.openvino import OpenVinoBackend, load_openvino

    backend = runtime.backend
    if isinstance(backend, OnnxBackend):
        return partial(load_onnx, threads=backend.threads, device=backend.device), backend.folder
    if isinstance(backend, OpenVinoBackend):
        load = partial(load_openvino, device=backend.kind, precision=backend.precisions[0])
        return partial(load, threads=backend.threads, cache=folder / "engines"), backend.folder
    raise UniRefError(f"nothing can be undone on {runtime.name}: only on onnxruntime, openvino and torch")


def export_again(
    source: Path, folder: Path, size: tuple[int, int], without: Collection[str], weights: Path | None = None
) -> None:
    """Export the model in `source` once more to `folder`, without some savings, with the very weights of its
    graphs. Takes a minute; needs the `train` extra."""
    try:
        from ..network.loading import load_model
        from .graphs import build_graphs, described
        from .onnx import to_onnx
        from .prepare import prepare
        from .weights import SharedWeights
    except ImportError as error:
        raise UniRefError(
            f"undoing projections or masks exports graphs ({error}): pip install -e '.[train]' in a checkout"
        ) from error
    found = sorted(source.glob("*.safetensors")) if weights is None else [weights]
    if not found or not found[0].is_file():
        raise UniRefError(f"undoing projections or masks needs the model's .safetensors, none is in {source}")
    network = prepare(load_model(found[0], with_text=False))
    _take_exported(network, source, size)
    if "projections" in without:
        network.fusion.projects_ahead = False
    graphs = build_graphs(network, size, shared=False, all_masks="masks" in without)
    shared = SharedWeights(folder / "weights.bin")
    for name, graph in graphs.items():
        shared.save(to_onnx(graph), folder / graph_file(name, size))
    shared.close()
    spec = read_json(source / "model.json")
    for name in (graph_file(ENCODE_TEXT, size), "text_weights.bin", "tokenizer.json"):
        (folder / name).symlink_to((source / name).resolve())
    spec["sizes"] = [list(size)]
    spec["graphs"] = to_json(described(network, False, True))
    spec["sha256"] = {path.name: sha256_of(path) for path in folder.iterdir()}
    write_json(folder / "model.json", spec)


def _take_exported(network: Any, source: Path, size: tuple[int, int]) -> None:
    """Folded convolutions as the graphs hold them: the .safetensors file was rounded to float16 before the
    norms were folded, the graphs after, which differs in the last bit."""
    import onnx
    import torch

    own = dict(network.named_parameters())
    for name in (ENCODE_IMAGE, ENCODE_REFERENCE):
        model = onnx.load(source / graph_file(name, size))
        for tensor in model.graph.initializer:
            parameter = own.get(tensor.name.removesuffix(".half").removeprefix("network."))
            if parameter is not None and list(parameter.shape) == list(tensor.dims):
                values = onnx.numpy_helper.to_array(tensor)
                parameter.data.copy_(torch.from_numpy(values.astype(np.float32)))
