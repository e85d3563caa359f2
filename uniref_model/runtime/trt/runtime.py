"""`TensorRtRuntime`: engines for what runs every frame, ONNX Runtime for prompts and for every engine that
fails."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...errors import RuntimeUnavailable
from ..base import DEFAULT_BUCKETS, NUM_LEVELS, LanguageReference, MaskReference, ObjectReferences
from ..files import sha256_of
from ..onnx_runtime import OBJECT_INPUTS, Batch, OnnxRuntime, write_object
from .build import OPTIMIZATION_LEVEL, build_engine
from .device import CudaDevice
from .engines import EngineCache, EngineKey, default_engine_cache
from .library import Library, load_library
from .parity import compare

_log = logging.getLogger(__name__)


class TensorRtRuntime(OnnxRuntime):
    """Engines of the exported graphs, one for each graph and batch size, built at first use and kept on disk.

    Every engine has to agree with ONNX Runtime on fixed inputs whenever it is loaded. One that cannot be
    built, or does not agree, is replaced by ONNX Runtime, with a warning; `describe()` says which.

    Args: as `OnnxRuntime`; cache: folder of engines, `default_engine_cache()` for None.
    Raises RuntimeUnavailable without TensorRT or a GPU, ModelFileError for damaged files.
    """

    name = "tensorrt"

    def __init__(
        self,
        model: str | Path = "uniref_nano",
        *,
        size: str | tuple[int, int] | None = None,
        threads: int | None = None,
        buckets: Sequence[int] = DEFAULT_BUCKETS,
        cache: Path | None = None,
        library: Library | None = None,
        device: CudaDevice | None = None,
    ) -> None:
        self._library = library or load_library()
        self._gpu = device or CudaDevice()
        self._cache = EngineCache(cache or default_engine_cache())
        self._replaced: dict[str, str] = {}
        self._engines: list[EngineBatch] = []
        self._plain: dict[tuple[str, int], Batch] = {}
        super().__init__(
            model, size=size, threads=threads, device="cpu", buckets=buckets, attention="batched"
        )

    def describe(self) -> dict[str, str]:
        replaced = ", ".join(f"{graph} ({reason})" for graph, reason in self._replaced.items())
        return super().describe() | {
            "device": str(self._gpu.facts()["gpu"]),
            "version": f"{self._library.name} {self._library.version}",
            "replaced by onnxruntime": replaced or "nothing",
        }

    def close(self) -> None:
        super().close()
        for engine in self._engines:
            engine.close()
        self._engines.clear()
        self._plain.clear()

    def _make_batch(self, graph: str, bucket: int) -> Batch:
        reference = self._plain_batch(graph, bucket)
        if graph == "encode_text":  # once a prompt, and fp32 on the CPU is exact
            return reference
        try:
            return self._checked_engine(graph, bucket, reference)
        except RuntimeUnavailable as error:
            _log.warning("%s for %d objects runs on ONNX Runtime: %s", graph, bucket, error)
            self._replaced[f"{graph} x{bucket}"] = str(error)
            return reference

    def _plain_batch(self, graph: str, bucket: int) -> Batch:
        """ONNX Runtime's form of a graph, kept: the gates of later engines need it too."""
        if (graph, bucket) not in self._plain:
            self._plain[graph, bucket] = super()._make_batch(graph, bucket)
        return self._plain[graph, bucket]

    def _checked_engine(self, graph: str, bucket: int, reference: Batch) -> Batch:
        batch = self._engine(graph, bucket)
        shared = self._fill_example(graph, bucket, reference)
        for name, array in reference.inputs.items():
            batch.inputs[name][...] = array
        problems = compare(reference.run(shared), batch.run(shared))
        if problems:
            batch.close()
            raise RuntimeUnavailable(f"the engine disagrees with ONNX Runtime: {'; '.join(problems)}")
        self._engines.append(batch)
        return batch

    def _engine(self, graph: str, bucket: int) -> EngineBatch:
        path = self._folder / self._files[graph]
        key = self._key(path, bucket)
        for _ in range(2):
            content, new = self._cache.get(key, lambda: build_engine(self._library, path, bucket))
            engine = self._library.module.Runtime(self._library.logger).deserialize_cuda_engine(content)
            if engine is not None:
                return EngineBatch(self._library, self._gpu, engine, bucket)
            self._cache.discard(key)
            if new:
                break
            _log.warning("engine %s was refused by TensorRT and is built again", key.name)
        raise RuntimeUnavailable(f"TensorRT {self._library.version} refuses the engine of {path.name}")

    def _key(self, path: Path, bucket: int) -> EngineKey:
        facts = {
            "graph": sha256_of(path),
            "weights": self.spec.sha256.get("weights.bin", ""),
            "library": self._library.name,
            "version": self._library.version,
            "objects": bucket,
            "typing": "strong",
            "tf32": False,
            "level": OPTIMIZATION_LEVEL,
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
        return {"lateral": features["lateral"], **sources}


def _fill_objects(
    inputs: dict[str, np.ndarray], out: dict[str, np.ndarray], bucket: int, generator: np.random.Generator
) -> None:
    """Objects with words alone, a mask alone, and both, in turn."""
    levels = range(NUM_LEVELS)
    for row in range(bucket):
        words = generator.standard_normal(inputs["words"].shape[1:]).astype(np.float32)
        open_words = (np.arange(len(words)) < 4 + row).astype(np.float32)
        language = LanguageReference(words, open_words, words[: 4 + row].mean(axis=0))
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


class EngineBatch:
    """An engine, its context, and GPU buffers that are made once and bound once."""

    def __init__(self, library: Library, device: CudaDevice, engine: Any, bucket: int) -> None:
        trt = library.module
        self._device, self._engine = device, engine
        self._context = engine.create_execution_context()
        if self._context is None:
            raise RuntimeUnavailable("TensorRT cannot make an execution context: out of GPU memory?")
        self.inputs: dict[str, np.ndarray] = {}
        self._addresses: dict[str, int] = {}
        self._outputs: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        self._arguments: list[str] = []
        types = {
            trt.DataType.FLOAT: np.dtype(np.float32),
            trt.DataType.HALF: np.dtype(np.float16),
            trt.DataType.UINT8: np.dtype(np.uint8),
        }
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        for name in names:
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            shape = tuple(bucket if size < 0 else int(size) for size in engine.get_tensor_shape(name))
            dtype = types[engine.get_tensor_dtype(name)]
            if is_input:
                self._context.set_input_shape(name, shape)
                self._arguments.append(name)
                if name.startswith(OBJECT_INPUTS):
                    self.inputs[name] = np.zeros(shape, dtype)
            else:
                self._outputs[name] = shape, dtype
            self._addresses[name] = device.allocate(max(1, int(np.prod(shape)) * dtype.itemsize))
            self._context.set_tensor_address(name, self._addresses[name])

    def run(self, shared: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run on `inputs` and `shared`; fresh arrays on the host."""
        sent = {**self.inputs, **{name: np.ascontiguousarray(array) for name, array in shared.items()}}
        for name in self._arguments:
            self._device.upload(self._addresses[name], sent[name])
        if not self._context.execute_async_v3(self._device.stream):
            raise RuntimeUnavailable("TensorRT failed to run an engine; its log says why")
        outputs = {name: np.empty(shape, dtype) for name, (shape, dtype) in self._outputs.items()}
        for name, array in outputs.items():
            self._device.download(array, self._addresses[name])
        self._device.wait()
        return outputs

    def close(self) -> None:
        """Free the GPU's memory. Closing twice is allowed."""
        self._context = None
        for address in self._addresses.values():
            self._device.free(address)
        self._addresses.clear()
