"""TensorRT: engines for what runs every frame, ONNX Runtime for prompts and for every engine that fails."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from ... import __version__
from ...errors import RuntimeUnavailable
from ..checked import Candidate, CheckedBackend, listed
from ..contract import ENCODE_REFERENCE, ENGINE_GRAPHS, SEGMENT, Graph
from ..engines import EngineCache, EngineKey, Progress, default_engine_cache
from ..files import digests, find_model, graph_file
from ..graph_runtime import GraphRuntime
from ..onnx import load_onnx
from ..parity import TOLERANCES
from .build import OPTIMIZATION_LEVEL, build_engine, fused_attentions
from .device import CudaDevice
from .execution import BoundEngine
from .library import Library, load_library

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
    precision: str = "auto",
    progress: Progress | None = None,
) -> GraphRuntime:
    """An exported model on TensorRT, with the engines of the smallest batch size, and of those that are kept.

    Args: as of `load_onnx`; cache: folder of engines, `default_engine_cache()` for None; device: closed with
    the runtime; precision: "auto" or that of the graphs that the model has for engines; progress: hears what
    is built and checked, from any thread.
    Raises RuntimeUnavailable without TensorRT or a GPU, or in another precision, ModelFileError for damaged
    files.
    """
    library = library or load_library()
    gpu = device or CudaDevice()
    try:
        engines = EngineCache(cache or default_engine_cache(), progress)
        folder = find_model(model)
        reference = load_onnx(folder, size=size, threads=threads, buckets=buckets, attention="batched")
        if precision not in ("auto", reference.spec.precision):
            raise RuntimeUnavailable(
                f"model {reference.spec.name!r} has graphs for engines in {reference.spec.precision}, not in "
                f"{precision}: export it with --precision {precision}"
            )
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


class TensorRtBackend(CheckedBackend):
    """Engines of the exported graphs, one for each graph and batch size, built at first use and kept on disk.

    Where one cannot be built or does not agree, the graph's other form of deformable attention is tried
    (gather instead of GridSample).

    folder: of the model. The GPU is closed with this.
    """

    name = "tensorrt"
    builds = True
    runs = ("plain", "plain", "as a CUDA graph")
    second_choice = "by gather instead of grid_sample"

    def __init__(
        self, folder: Path, reference: GraphRuntime, library: Library, gpu: CudaDevice, cache: EngineCache
    ) -> None:
        super().__init__(reference, cache)
        self._folder, self._library, self._gpu = folder, library, gpu
        self.device = str(gpu.facts()["gpu"])

    def describe(self) -> dict[str, str]:
        facts = {
            "version": f"{self._library.name} {self._library.version}",
            "precision": self.spec.precision,
        }
        engines = cast(dict[str, BoundEngine], self.bound)
        without = {name: e.captured for name, e in engines.items() if e.captured.startswith("no:")}
        return super().describe() | facts | ({"without CUDA graph": listed(without)} if without else {})

    def candidates(self, graph: Graph, bucket: int) -> list[Candidate]:
        if graph.name not in ENGINE_GRAPHS:
            return []
        allowed = TOLERANCES[self.spec.precision]
        return [
            Candidate(path.name, allowed, partial(self._engine, graph, path, bucket))
            for path in self._files(graph.name)
        ]

    def is_kept(self, bucket: int) -> bool:
        """Whether there seem to be engines for this batch size on disk."""
        graphs = (ENCODE_REFERENCE, SEGMENT)
        return all(self.cache.has(self._key(self._files(graph)[0], bucket)) for graph in graphs)

    def close(self) -> None:
        super().close()
        self._gpu.close()

    def _files(self, graph: str) -> list[Path]:
        """Files of the graph that an engine may be built from, the best first."""
        size, kind = self.reference.size, self.spec.precision
        names = dict.fromkeys(graph_file(graph, size, kind, form) for form in self.spec.attention)
        found = [self._folder / name for name in names if name in self.spec.sha256]  # verified on load
        return found or [self._folder / graph_file(graph, size)]

    def _engine(self, graph: Graph, path: Path, bucket: int) -> BoundEngine:
        def load(content: bytes) -> Any:
            _log.debug("%s x%d: %d attentions in one kernel", path.name, bucket, fused_attentions(content))
            return self._library.module.Runtime(self._library.logger).deserialize_cuda_engine(content)

        key = self._key(path, bucket)
        engine = self.kept_or_built(key, lambda: build_engine(self._library, path, bucket), load)
        return BoundEngine(self._library, self._gpu, engine, graph, bucket)

    def _key(self, path: Path, bucket: int) -> EngineKey:
        spec = self.spec
        facts: dict[str, Any] = {
            **digests(path, spec),
            "library": self._library.name,
            "version": self._library.version,
            "size": list(self.reference.size),
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
