"""`TensorRtRuntime`: engines for what runs every frame, ONNX Runtime for prompts and for every engine that
fails."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...errors import RuntimeUnavailable
from ..base import NUM_LEVELS, LanguageReference, MaskReference, ObjectReferences
from ..files import ENGINE_GRAPHS, graph_file, sha256_of
from ..onnx_runtime import Batch, OnnxRuntime, write_object
from ..slots import Arrays
from .build import OPTIMIZATION_LEVEL, build_engine, fused_attentions
from .device import CudaDevice
from .engines import EngineCache, EngineKey, Progress, default_engine_cache
from .execution import EngineBatch
from .library import Library, load_library
from .parity import TOLERANCES, compare
from .tensor import DeviceTensor

_PER_OBJECT = ("encode_reference", "segment")

_log = logging.getLogger(__name__)


class TensorRtRuntime(OnnxRuntime):
    """Engines of the exported graphs, one for each graph and batch size, built at first use and kept on disk.

    Every engine has to agree with ONNX Runtime on fixed inputs whenever it is loaded. Where one cannot be
    built or does not agree, the graph's other form of deformable attention is tried (gather instead of
    GridSample); where none passes, ONNX Runtime takes the graph's place, with a warning; `describe()` says
    which and why.

    Args: as `OnnxRuntime`; cache: folder of engines, `default_engine_cache()` for None; progress: hears what
    is built and checked, from any thread.
    Raises RuntimeUnavailable without TensorRT or a GPU, ModelFileError for damaged files.
    """

    name = "tensorrt"

    def __init__(
        self,
        model: str | Path = "uniref_nano",
        *,
        size: str | tuple[int, int] | None = None,
        threads: int | None = None,
        buckets: Sequence[int] | None = None,
        cache: Path | None = None,
        library: Library | None = None,
        device: CudaDevice | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._library = library or load_library()
        self._gpu = device or CudaDevice()
        self._cache = EngineCache(cache or default_engine_cache(), progress)
        self._replaced: dict[str, str] = {}
        self._second_choice: dict[str, str] = {}
        self._engines: dict[tuple[str, int], EngineBatch] = {}
        self._plain: dict[tuple[str, int], Batch] = {}
        self._ready: set[int] = set()
        super().__init__(
            model, size=size, threads=threads, device="cpu", buckets=buckets, attention="batched"
        )
        self._ready.add(self.buckets[0])
        for bucket in self.buckets[1:]:
            if all(self._is_kept(graph, bucket) for graph in _PER_OBJECT):
                self._prepare(bucket)

    @property
    def engines(self) -> int:
        """How many engines are in use."""
        return len(self._engines)

    @property
    def replaced(self) -> dict[str, str]:
        """Graph and batch size -> why ONNX Runtime runs it."""
        return dict(self._replaced)

    def describe(self) -> dict[str, str]:
        facts = super().describe() | {
            "device": str(self._gpu.facts()["gpu"]),
            "version": f"{self._library.name} {self._library.version}",
            "precision": self._precision,
            "replaced by onnxruntime": _listed(self._replaced) or "nothing",
        }
        if self._second_choice:
            facts["by gather instead of grid_sample"] = _listed(self._second_choice)
        without = {
            f"{g} x{n}": e.captured for (g, n), e in self._engines.items() if e.captured.startswith("no:")
        }
        return facts | ({"without CUDA graph": _listed(without)} if without else {})

    def warm_up(self, buckets: Iterable[int] | None = None) -> None:
        """Build, check and run the engines of these batch sizes (all by default). Until then, batches are
        cut into the sizes that there are: a frame never waits for a build."""
        chosen = tuple(buckets or self.buckets)
        for bucket in chosen:
            self._prepare(bucket)
        super().warm_up(chosen)

    def close(self) -> None:
        super().close()
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
        self._plain.clear()

    def _empty(self, like: Any) -> Any:
        if not isinstance(like, DeviceTensor):
            return super()._empty(like)
        return DeviceTensor(self._gpu, self._gpu.allocate(like.nbytes), like.shape, like.dtype)

    def _free(self, arrays: Arrays) -> None:
        for array in arrays.values():
            if isinstance(array, DeviceTensor):
                self._gpu.free(array.address)

    def _prepare(self, bucket: int) -> None:
        with self._lock:
            for graph in _PER_OBJECT:
                self._batch(graph, bucket)
        self._ready.add(bucket)

    def _is_kept(self, graph: str, bucket: int) -> bool:
        path = self._candidates(graph)[0]
        return self._cache.has(self._key(path, bucket))

    def _chunks(self, count: int) -> Iterable[tuple[int, int]]:
        ready, start = sorted(self._ready), 0
        while start < count:
            left = count - start
            # the whole rest where it fits, with rows to spare; else as much as there is an engine for
            bucket = next((size for size in ready if size >= left), ready[-1])
            yield start, bucket
            start += bucket

    @property
    def _precision(self) -> str:
        return str(self.spec.extra.get("engines", {}).get("precision", "fp32"))

    def _make_batch(self, graph: str, bucket: int) -> Batch:
        reference = self._plain_batch(graph, bucket)
        if graph not in ENGINE_GRAPHS:  # words: once a prompt, and fp32 on the CPU is exact
            return reference
        reasons = []
        for path in self._candidates(graph):
            try:
                engine = self._checked_engine(graph, path, bucket, reference)
            except RuntimeUnavailable as error:
                _log.warning("%s for %d objects: %s: %s", graph, bucket, path.name, error)
                reasons.append(f"{path.name}: {error}")
                continue
            if reasons:
                self._second_choice[f"{graph} x{bucket}"] = "; ".join(reasons)
            self._engines[graph, bucket] = engine
            return engine
        self._cache.say(f"{graph} for {bucket} objects runs on ONNX Runtime: {'; '.join(reasons)}")
        self._replaced[f"{graph} x{bucket}"] = "; ".join(reasons)
        return reference

    def _candidates(self, graph: str) -> list[Path]:
        """Files of the graph that an engine may be built from, the best first."""
        forms = self.spec.extra.get("engines", {}).get("attention", ["grid_sample"])
        names = dict.fromkeys(graph_file(graph, self.size, self._precision, str(form)) for form in forms)
        found = [self._folder / name for name in names if (self._folder / name).is_file()]
        return found or [self._folder / self._files[graph]]

    def _plain_batch(self, graph: str, bucket: int) -> Batch:
        """ONNX Runtime's form of a graph, kept: the gates of later engines need it too."""
        if (graph, bucket) not in self._plain:
            self._plain[graph, bucket] = super()._make_batch(graph, bucket)
        return self._plain[graph, bucket]

    def _checked_engine(self, graph: str, path: Path, bucket: int, reference: Batch) -> EngineBatch:
        batch = self._engine(path, bucket)
        try:
            shared = self._fill_example(graph, bucket, reference)
            for name, array in reference.inputs.items():
                batch.inputs[name][...] = array
            wanted = reference.run(shared)
            for how in ("plain", "plain", "as a CUDA graph"):
                found = {name: np.asarray(value) for name, value in batch.run(shared).items()}
                problems = compare(wanted, found, TOLERANCES[self._precision])
                if problems:
                    raise RuntimeUnavailable(
                        f"the engine ({how}) disagrees with ONNX Runtime: {'; '.join(problems)}"
                    )
        except BaseException:
            batch.close()
            raise
        self._cache.say(f"{path.name} x{bucket}: the engine agrees with ONNX Runtime")
        return batch

    def _engine(self, path: Path, bucket: int) -> EngineBatch:
        key = self._key(path, bucket)
        for _ in range(2):
            content, new = self._cache.get(key, lambda: build_engine(self._library, path, bucket))
            engine = self._library.module.Runtime(self._library.logger).deserialize_cuda_engine(content)
            if engine is not None:
                _log.debug(
                    "%s x%d: %d attentions in one kernel", path.name, bucket, fused_attentions(content)
                )
                return EngineBatch(self._library, self._gpu, engine, bucket)
            self._cache.discard(key)
            if new:
                break
            _log.warning("engine %s was refused by TensorRT and is built again", key.name)
        raise RuntimeUnavailable(f"TensorRT {self._library.version} refuses the engine of {path.name}")

    def _key(self, path: Path, bucket: int) -> EngineKey:
        weights = self.spec.sha256.get("weights.bin") or sha256_of(self._folder / "weights.bin")
        facts = {
            "graph": sha256_of(path),
            "weights": weights,
            "library": self._library.name,
            "version": self._library.version,
            "size": list(self.size),
            "objects": bucket,
            "precision": self._precision,
            "typing": "strong" if self._library.strongly_typed else "weak",
            "tf32": False,
            "level": OPTIMIZATION_LEVEL,
            "exporter": self.spec.extra.get("exporter", "unknown"),
            "package": __version__,
            **self._gpu.facts(),
        }
        return EngineKey(f"{self.spec.name}_{path.stem}_x{bucket}", facts)

    def _fill_example(self, graph: str, bucket: int, reference: Batch) -> dict[str, np.ndarray]:
        """Fixed inputs: an image of soft blobs, masks on it, made-up words. Object inputs go into
        `reference`."""
        generator = np.random.default_rng(0)
        coarse = generator.integers(0, 256, (8, 14, 3), np.uint8)
        rows = np.linspace(0, 7.999, self.size[0]).astype(int)
        columns = np.linspace(0, 13.999, self.size[1]).astype(int)
        image = np.ascontiguousarray(coarse[rows][:, columns])[None]
        if graph == "encode_image":
            return {"image": image}
        features = self._plain_batch("encode_image", 1).run({"image": image})
        sources = {f"src{level}": features[f"src{level}"] for level in range(NUM_LEVELS)}
        masks = np.zeros((bucket, 1, *self.size), np.float32)
        for row in range(bucket):
            top, left = 8 + 4 * row, 16 + 12 * row
            masks[row, 0, top : top + self.size[0] // 2, left : left + self.size[1] // 3] = 1
        if graph == "encode_reference":
            reference.inputs["masks"][...] = masks
            return {"image": image, **sources}
        encoder = self._plain_batch("encode_reference", bucket)
        encoder.inputs["masks"][...] = masks
        made = features | encoder.run({"image": image, **sources})
        _fill_objects(reference.inputs, made, bucket, generator)
        classes = {"classes": features["classes"]} if "classes" in features else {}
        return {"lateral": features["lateral"], **sources, **classes}


def _fill_objects(
    inputs: dict[str, np.ndarray], out: dict[str, np.ndarray], bucket: int, generator: np.random.Generator
) -> None:
    """Objects with words alone, a mask alone, and both, in turn."""
    levels = range(NUM_LEVELS)
    for row in range(bucket):
        words = generator.standard_normal(inputs["words"].shape[1:]).astype(np.float32)
        open_words = (np.arange(len(words)) < 4 + row).astype(np.float32)
        noun = None
        if "noun" in inputs:
            noun = generator.standard_normal(inputs["noun"].shape[1:]).astype(np.float32) / 16
        language = LanguageReference(words, open_words, words[: 4 + row].mean(axis=0), noun=noun)
        mask = MaskReference(
            tuple(out[f"key{level}"][0] for level in levels),
            tuple(out[f"value{level}"][row] for level in levels),
            tuple(out[f"embed{level}"][0] for level in levels),
        )
        kinds = (
            ObjectReferences(language, mask),
            ObjectReferences(first=mask, previous=mask),
            ObjectReferences(language),
        )
        write_object(inputs, row, kinds[row % len(kinds)])


def _listed(reasons: dict[str, str]) -> str:
    return ", ".join(f"{graph} ({reason})" for graph, reason in reasons.items())
