"""TensorRT: engines for what runs every frame, ONNX Runtime for prompts and for every engine that fails."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...errors import RuntimeUnavailable
from ..contract import ENCODE_REFERENCE, ENGINE_GRAPHS, SEGMENT, Graph
from ..files import find_model, graph_file, sha256_of
from ..graph_runtime import Backend, BoundGraph, GraphRuntime
from ..onnx import load_onnx
from .build import OPTIMIZATION_LEVEL, build_engine, fused_attentions
from .device import CudaDevice
from .engines import EngineCache, EngineKey, Progress, default_engine_cache
from .example import fill_example
from .execution import BoundEngine
from .library import Library, load_library
from .parity import TOLERANCES, compare

_log = logging.getLogger(__name__)


def load_tensorrt(
    model: str | Path = "uniref_nano",
    *,
    size: str | tuple[int, int] | None = None,
    threads: int | None = None,
    buckets: Sequence[int] | None = None,
    cache: Path | None = None,
    library: Library | None = None,
    device: CudaDevice | None = None,
    progress: Progress | None = None,
) -> GraphRuntime:
    """An exported model on TensorRT, with the engines of the smallest batch size, and of those that are kept.

    Args: as of `load_onnx`; cache: folder of engines, `default_engine_cache()` for None; device: closed with
    the runtime; progress: hears what is built and checked, from any thread.
    Raises RuntimeUnavailable without TensorRT or a GPU, ModelFileError for damaged files.
    """
    library = library or load_library()
    gpu = device or CudaDevice()
    try:
        engines = EngineCache(cache or default_engine_cache(), progress)
        folder = find_model(model)
        reference = load_onnx(folder, size=size, threads=threads, buckets=buckets, attention="batched")
        backend = TensorRtBackend(folder, reference, library, gpu, engines)
        runtime = GraphRuntime(
            backend, reference.spec, reference.size, tokenizer=reference.tokenizer, buckets=reference.buckets
        )
    except BaseException:
        gpu.close()
        raise
    try:
        first, *others = runtime.buckets
        runtime.prepare([first, *(bucket for bucket in others if backend.is_kept(bucket))])
    except BaseException:  # what is on the GPU frees itself by no other way
        runtime.close()
        raise
    return runtime


class TensorRtBackend(Backend):
    """Engines of the exported graphs, one for each graph and batch size, built at first use and kept on disk.

    Every engine has to agree with `reference` on fixed inputs whenever it is loaded. Where one cannot be
    built or does not agree, the graph's other form of deformable attention is tried (gather instead of
    GridSample); where none passes, `reference` takes the graph's place, with a warning; `describe()` says
    which and why.

    folder: of the model; reference: the same model on ONNX Runtime. It and the GPU are closed with this.
    """

    name = "tensorrt"
    builds = True

    def __init__(
        self, folder: Path, reference: GraphRuntime, library: Library, gpu: CudaDevice, cache: EngineCache
    ) -> None:
        self._folder, self._reference, self._spec = folder, reference, reference.spec
        self._library, self._gpu, self._cache = library, gpu, cache
        self.device = str(gpu.facts()["gpu"])
        self._engines: dict[str, BoundEngine] = {}
        self._second_choice: dict[str, str] = {}
        self.replaced: dict[str, str] = {}
        """Graph and batch size -> why ONNX Runtime runs it."""

    @property
    def engines(self) -> int:
        """How many engines are in use."""
        return len(self._engines)

    def describe(self) -> dict[str, str]:
        facts = super().describe() | {
            "version": f"{self._library.name} {self._library.version}",
            "precision": self._spec.precision,
            "engines": str(self.engines),
            "replaced by onnxruntime": _listed(self.replaced) or "nothing",
        }
        if self._second_choice:
            facts["by gather instead of grid_sample"] = _listed(self._second_choice)
        without = {name: e.captured for name, e in self._engines.items() if e.captured.startswith("no:")}
        return facts | ({"without CUDA graph": _listed(without)} if without else {})

    def bind(self, graph: Graph, bucket: int) -> BoundGraph:
        reference = self._reference.bound(graph.name, bucket)  # kept: the gates of later engines need it too
        if graph.name not in ENGINE_GRAPHS:  # words: once a prompt, and fp32 on the CPU is exact
            return reference
        what, reasons = f"{graph.name} x{bucket}", []
        for path in self._candidates(graph.name):
            try:
                engine = self._checked_engine(graph, path, bucket, reference)
            except Exception as error:  # whatever a library does, there is ONNX Runtime to go on with
                known = isinstance(error, RuntimeUnavailable)
                reason = str(error) if known else f"{type(error).__name__}: {error}"
                _log.warning("%s: %s: %s", what, path.name, reason, exc_info=None if known else error)
                reasons.append(f"{path.name}: {reason}")
                continue
            if reasons:
                self._second_choice[what] = "; ".join(reasons)
            self._engines[what] = engine
            return engine
        self._cache.say(f"{what} runs on ONNX Runtime: {'; '.join(reasons)}")
        self.replaced[what] = "; ".join(reasons)
        return reference

    def is_kept(self, bucket: int) -> bool:
        """Whether there seem to be engines for this batch size on disk."""
        graphs = (ENCODE_REFERENCE, SEGMENT)
        return all(self._cache.has(self._key(self._candidates(graph)[0], bucket)) for graph in graphs)

    def trim(self) -> None:
        self._reference.trim()

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
        self._reference.close()
        self._gpu.close()

    def _candidates(self, graph: str) -> list[Path]:
        """Files of the graph that an engine may be built from, the best first."""
        size, kind = self._reference.size, self._spec.precision
        names = dict.fromkeys(graph_file(graph, size, kind, form) for form in self._spec.attention)
        found = [self._folder / name for name in names if name in self._spec.sha256]  # verified on load
        return found or [self._folder / graph_file(graph, size)]

    def _checked_engine(self, graph: Graph, path: Path, bucket: int, reference: BoundGraph) -> BoundEngine:
        bound = self._engine(graph, path, bucket)
        try:
            shared = fill_example(self._reference, graph, bucket)
            for name, array in reference.inputs.items():
                bound.inputs[name][...] = array
            wanted = reference.run(shared)
            for how in ("plain", "plain", "as a CUDA graph"):
                found = {name: np.asarray(value) for name, value in bound.run(shared).items()}
                problems = compare(wanted, found, TOLERANCES[self._spec.precision])
                if problems:
                    raise RuntimeUnavailable(
                        f"the engine ({how}) disagrees with ONNX Runtime: {'; '.join(problems)}"
                    )
        except BaseException:
            bound.close()
            raise
        self._cache.say(f"{path.name} x{bucket}: the engine agrees with ONNX Runtime")
        return bound

    def _engine(self, graph: Graph, path: Path, bucket: int) -> BoundEngine:
        key = self._key(path, bucket)
        for _ in range(2):
            content, new = self._cache.get(key, lambda: build_engine(self._library, path, bucket))
            engine = self._library.module.Runtime(self._library.logger).deserialize_cuda_engine(content)
            if engine is not None:
                _log.debug(
                    "%s x%d: %d attentions in one kernel", path.name, bucket, fused_attentions(content)
                )
                return BoundEngine(self._library, self._gpu, engine, graph, bucket)
            self._cache.discard(key)
            if new:
                break
            _log.warning("engine %s was refused by TensorRT and is built again", key.name)
        raise RuntimeUnavailable(f"TensorRT {self._library.version} refuses the engine of {path.name}")

    def _key(self, path: Path, bucket: int) -> EngineKey:
        spec = self._spec
        facts: dict[str, Any] = {
            "graph": sha256_of(path),
            "weights": spec.sha256.get("weights.bin") or sha256_of(self._folder / "weights.bin"),
            "library": self._library.name,
            "version": self._library.version,
            "size": list(self._reference.size),
            "objects": bucket,
            "precision": spec.precision,
            "typing": "strong" if self._library.strongly_typed else "weak",
            "tf32": False,
            "level": OPTIMIZATION_LEVEL,
            "exporter": spec.exporter,
            "package": __version__,
            **self._gpu.facts(),
        }
        return EngineKey(f"{spec.name}_{path.stem}_x{bucket}", facts)


def _listed(reasons: dict[str, str]) -> str:
    return ", ".join(f"{graph} ({reason})" for graph, reason in reasons.items())
