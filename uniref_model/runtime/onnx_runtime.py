"""ONNX Runtime: the network on any CPU (or, with onnxruntime-gpu, on CUDA).

Every batch size of `buckets` has a session of its own in which all shapes are constants, so a
frame needs no memory that the frame before did not. Inputs of objects and all outputs are arrays made once,
bound to the session; what is kept of them, for the rest of the frame or as a reference, is copied into slots.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np

from ..errors import ModelFileError, RuntimeUnavailable
from .attention import ATTEND, attend, sources
from .base import (
    GRAPHS,
    NUM_LEVELS,
    FrameFeatures,
    LanguageReference,
    MaskReference,
    ModelSpec,
    ObjectReferences,
    Prediction,
    Runtime,
)
from .files import choose_size, find_model, verify_files
from .memory import give_back_heap, share_arena, shrink_arena
from .slots import Arrays, Pool, Slot
from .text import PromptCache, PromptTokenizer

MAX_DEFAULT_THREADS = 4
"""More threads gain little on graphs this small and take cores from whatever feeds the frames."""

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_DTYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int64)": np.int64}
_LEVELS = range(NUM_LEVELS)
_KEPT = ("key", "embed")  # of a frame's outputs, what its references keep


def default_threads() -> int:
    """Physical cores this process may use, at most `MAX_DEFAULT_THREADS`."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable, _physical_cores() or usable, MAX_DEFAULT_THREADS))


def _physical_cores() -> int | None:
    """Distinct cores in Linux's topology; None where it cannot be read."""
    folder = Path("/sys/devices/system/cpu")
    siblings = {path.read_text().strip() for path in folder.glob("cpu[0-9]*/topology/thread_siblings_list")}
    return len(siblings) or None


class Batch(Protocol):
    """A graph for one batch size: `inputs` are arrays made once, by name, for what depends on objects."""

    inputs: dict[str, np.ndarray]

    def run(self, shared: dict[str, Any]) -> dict[str, Any]:
        """Run on `inputs` and the frame's own inputs; outputs by name, which the next run writes over."""


class SessionBatch:
    """A session of ONNX Runtime with constant shapes, bound to arrays made once."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._binding = session.io_binding()
        self.inputs = _arrays(node for node in session.get_inputs() if node.name.startswith(OBJECT_INPUTS))
        self._outputs = _arrays(session.get_outputs())
        for name, array in self.inputs.items():
            self._bind_input(name, array)
        for name, array in self._outputs.items():
            self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def run(self, shared: dict[str, Any]) -> dict[str, np.ndarray]:
        bound = {name: np.ascontiguousarray(array) for name, array in shared.items()}  # held until it has run
        for name, array in bound.items():
            self._bind_input(name, array)
        self._session.run_with_iobinding(self._binding)
        return self._outputs

    def _bind_input(self, name: str, array: np.ndarray) -> None:
        self._binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)


class OnnxRuntime(Runtime):
    """Runs the four graphs of an exported model.

    Args:
        model: a shipped model's name, or a folder with model.json.
        size: "256x448" (height x width) or a pair; None takes the model's first.
        threads: for one operator; None takes `default_threads()`.
        device: "cpu", "cuda", or "auto" for cuda where this ONNX Runtime was built with it.
        attention: "shared" computes the attention's probabilities once for all objects that refer to the same
            frames, "batched" for every object. None takes shared on a CPU, where it is faster, if the model
            was exported with it.
    Raises ModelFileError for missing or damaged files, RuntimeUnavailable when the library or the device is
    absent.
    """

    name = "onnxruntime"

    def __init__(
        self,
        model: str | Path = "uniref_nano",
        *,
        size: str | tuple[int, int] | None = None,
        threads: int | None = None,
        device: str = "cpu",
        buckets: Sequence[int] | None = None,
        attention: str | None = None,
    ) -> None:
        if attention not in (None, "shared", "batched"):
            raise ValueError(f"attention is {attention!r}, expected 'shared', 'batched' or None")
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}, expected at least 1")
        self._ort = _import_onnxruntime()
        self._providers = _providers(self._ort, _resolve(self._ort, device))
        share_arena(self._ort)
        self._folder = find_model(model)
        self.spec = ModelSpec.from_file(self._folder / "model.json")
        self.size = choose_size(self.spec, size)
        self.buckets = tuple(sorted(buckets or self.spec.buckets))
        self.threads = threads or default_threads()
        self.device = _resolve(self._ort, device)
        if self.spec.graphs != GRAPHS:
            raise ModelFileError(
                f"the graphs in {self._folder} are of version {self.spec.graphs}, this package runs version "
                f"{GRAPHS}: export the model again ('uniref export')"
            )
        suffix = f"_{self.size[0]}x{self.size[1]}.onnx"
        self.attention = attention or self._default_attention(suffix)
        self._segment_graph = "segment_shared" if self.attention == "shared" else "segment"
        shared = ATTEND.values() if self.attention == "shared" else ()
        self._files = {
            name: f"{name}{suffix}"
            for name in ("encode_image", "encode_reference", self._segment_graph, *shared)
        }
        words = (
            {"encode_text": "encode_text.onnx", "tokenizer": "tokenizer.json"} if self.spec.has_text else {}
        )
        verify_files(self._folder, self.spec, [*self._files.values(), *words.values()])
        self._files |= words
        self._batches: dict[tuple[str, int], Batch] = {}
        self._pools: dict[tuple, Pool] = {}
        self._lock = Lock()
        self._text_lock = Lock()
        self._tokenizer = None
        if words:
            self._tokenizer = PromptTokenizer(self._folder / "tokenizer.json", self.spec.max_words)
        self.encode_prompt = PromptCache(self._encode_text)
        with self._lock:
            self._batch("encode_image", 1)
            for graph in ("encode_reference", self._segment_graph):
                self._batch(graph, self.buckets[0])

    def _default_attention(self, suffix: str) -> str:
        exported = (self._folder / f"segment_shared{suffix}").is_file()
        return "shared" if self.device == "cpu" and exported else "batched"

    def describe(self) -> dict[str, str]:
        version = self._ort.__version__
        return super().describe() | {
            "device": self.device,
            "threads": str(self.threads),
            "version": version,
            "attention": self.attention,
        }

    def encode_text(self, text: str) -> LanguageReference:
        return self.encode_prompt(text)

    def encode_image(self, image: np.ndarray) -> FrameFeatures:
        if image.shape != (*self.size, 3) or image.dtype != np.uint8:
            raise ValueError(
                f"image is {image.dtype} {image.shape}, expected uint8 {(*self.size, 3)}: resize "
                "before encoding"
            )
        image = np.ascontiguousarray(image)
        with self._lock:
            out = self._batch("encode_image", 1).run({"image": image[None]})
            kept = self._keep("frame keys", {name: out[name] for name in out if name.startswith(_KEPT)})
            seen = self._keep("frame", {name: out[name] for name in out if name not in kept.arrays})
        return FrameFeatures(
            image,
            seen.arrays["lateral"],
            tuple(seen.arrays[f"src{level}"] for level in _LEVELS),
            keys=tuple(kept.arrays[f"key{level}"][0] for level in _LEVELS),
            embeds=tuple(kept.arrays[f"embed{level}"][0] for level in _LEVELS),
            query=seen.arrays.get("query"),
            classes=seen.arrays.get("classes"),
            held=(kept, seen),
        )

    def encode_reference(self, frame: FrameFeatures, masks: np.ndarray) -> list[MaskReference]:
        if masks.ndim != 3 or masks.shape[1:] != self.size:
            raise ValueError(f"masks have shape {masks.shape}, expected (objects, *{self.size})")
        shared = {"image": frame.image[None], **sources(frame)}
        references: list[MaskReference] = []
        with self._lock:
            for start, bucket in self._chunks(len(masks)):
                references += self._encode_chunk(frame, shared, masks[start : start + bucket], bucket)
        return references

    def segment(self, frame: FrameFeatures, objects: Sequence[ObjectReferences]) -> list[Prediction]:
        predictions: list[Prediction] = []
        with self._lock:
            for start, bucket in self._chunks(len(objects)):
                predictions += self._segment_chunk(frame, objects[start : start + bucket], bucket)
        return predictions

    def warm_up(self, buckets: Iterable[int] | None = None) -> None:
        """Make and run the sessions of these batch sizes, so that no later frame waits for one."""
        frame, other = (self.encode_image(np.full((*self.size, 3), level, np.uint8)) for level in (0, 255))
        for bucket in buckets or self.buckets:
            masks = np.zeros((bucket, *self.size), np.float32)
            masks[:, : self.size[0] // 2] = 1
            first, previous = (self.encode_reference(part, masks) for part in (frame, other))
            self.segment(frame, [ObjectReferences(first=reference) for reference in first])
            pairs = zip(first, previous, strict=True)
            self.segment(frame, [ObjectReferences(first=one, previous=two) for one, two in pairs])

    def close(self) -> None:
        with self._lock, self._text_lock:
            self._batches.clear()
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()
            self._files = {}
            self._tokenizer = None  # megabytes, and the prompt cache refers back to this object
        self.trim()

    def trim(self) -> None:
        for pool in list(self._pools.values()):
            pool.trim()
        shrink_arena(self._ort)
        give_back_heap()

    @property
    def state(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for (what, *_), pool in list(self._pools.items()):
            sets, size = found.get(what, (0, 0))
            found[what] = sets + pool.made, size + pool.nbytes
        return found

    def _keep(self, what: str, values: Arrays) -> Slot:
        """A copy of these outputs in a slot of its own."""
        kind = what, *((type(array), tuple(array.shape), array.dtype.str) for array in values.values())
        if kind not in self._pools:
            example = dict(values)  # the batch's own arrays, there for as long as the batch
            self._pools[kind] = Pool(
                lambda: {name: self._empty(array) for name, array in example.items()}, self._free
            )
        return self._pools[kind].copy_of(values)

    def _empty(self, like: Any) -> Any:
        """An array of this one's shape and type, in the same memory."""
        return np.empty(like.shape, like.dtype)

    def _free(self, arrays: Arrays) -> None:
        """Give back what `_empty` made, where that does not happen by itself."""

    def _chunks(self, count: int) -> Iterable[tuple[int, int]]:
        """(start, batch size) pieces that cover `count` rows; only the last is padded."""
        start = 0
        while start < count:
            left = count - start
            bucket = next((size for size in self.buckets if size >= left), self.buckets[-1])
            yield start, bucket
            start += bucket

    def _encode_chunk(
        self, frame: FrameFeatures, shared: dict, masks: np.ndarray, bucket: int
    ) -> list[MaskReference]:
        batch = self._batch("encode_reference", bucket)
        batch.inputs["masks"][: len(masks), 0] = masks
        batch.inputs["masks"][len(masks) :] = 0
        out = batch.run(shared)
        # A slot for every object: one for the batch would be held for as long as any of them keeps its
        # reference.
        rows = ({name: values[row] for name, values in out.items()} for row in range(len(masks)))
        return [self._reference(frame, self._keep("object values", row)) for row in rows]

    @staticmethod
    def _reference(frame: FrameFeatures, slot: Slot) -> MaskReference:
        values = tuple(slot.arrays[f"value{level}"] for level in _LEVELS)
        return MaskReference(frame.keys, values, frame.embeds, held=(*frame.held[:1], slot))

    def _segment_chunk(
        self, frame: FrameFeatures, objects: Sequence[ObjectReferences], bucket: int
    ) -> list[Prediction]:
        batch = self._batch(self._segment_graph, bucket)
        for row in range(bucket):
            # Padding repeats the first object: real numbers, so no NaN or denormal slows the batch down.
            write_object(batch.inputs, row, objects[row] if row < len(objects) else objects[0])
        shared = {"lateral": frame.lateral, **sources(frame)}
        if self.attention == "shared":
            attend(self._batch, self._chunks, frame, objects, batch.inputs["attended"])
            if frame.query is not None:
                shared["query"] = frame.query
        if frame.classes is not None:
            shared["classes"] = frame.classes
        out = batch.run(shared)
        return [
            Prediction(float(out["score"][row]), out["box"][row].copy(), out["mask_logits"][row].copy())
            for row in range(len(objects))
        ]

    def _encode_text(self, text: str) -> LanguageReference:
        # A lock of its own: a prompt never waits for a frame, nor a frame for a prompt.
        with self._text_lock:
            if self._tokenizer is None:
                if self._files and not self.spec.has_text:
                    raise ModelFileError(
                        f"model {self.spec.name!r} was exported without text encoder: use masks or clicks"
                    )
                raise self._closed()
            ids, attention, truncated = self._tokenizer(text)
            out = self._batch("encode_text", 1).run({"input_ids": ids, "attention_mask": attention})
            words, sentence, noun = (
                out[name][0].copy() if name in out else None for name in ("words", "sentence", "noun")
            )
        return LanguageReference(words, attention[0].astype(np.float32), sentence, truncated, noun)

    def _batch(self, graph: str, bucket: int) -> Batch:
        known = self._batches.get((graph, bucket))
        if known is None:
            if graph not in self._files:
                raise self._closed()
            known = self._batches[graph, bucket] = self._make_batch(graph, bucket)
        return known

    def _closed(self) -> RuntimeUnavailable:
        return RuntimeUnavailable(f"the runtime of model {self.spec.name!r} is closed")

    def _make_batch(self, graph: str, bucket: int) -> Batch:
        return SessionBatch(self._session(self._folder / self._files[graph], bucket))

    def _session(self, path: Path, bucket: int) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = self._ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        # One arena for all sessions instead of one each, and no block per session planned ahead: only one
        # session works at a time, so they can use the same memory (all batch sizes: 346 MB instead of 880).
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_free_dimension_override_by_name("objects", bucket)
        # Threads that spin while waiting take the cores from other programs and other sessions: 15 % faster
        # on two idle cores, but 45 % slower beside one busy program (192x320, one object).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = self._ort.InferenceSession(str(path), options, providers=self._providers)
        except Exception as error:  # the library's exceptions share no base of their own
            raise ModelFileError(f"ONNX Runtime cannot load {path}: {error}") from error
        if self._providers[0] not in session.get_providers():  # it falls back to the CPU without an error
            raise RuntimeUnavailable(
                f"ONNX Runtime has {self._providers[0]} but cannot use it: no GPU, or CUDA's libraries are "
                "missing"
            )
        return session


OBJECT_INPUTS = (
    "masks", "word", "sentence", "noun", "use_", "key", "value", "embed",
    "attended", "first_value", "previous_value",
)  # fmt: skip
"""How the names of inputs that depend on objects begin."""


def _arrays(nodes: Iterable[Any]) -> dict[str, np.ndarray]:
    """Zeroed arrays for inputs or outputs of a session."""
    return {node.name: np.zeros([int(v) for v in node.shape], _DTYPES[node.type]) for node in nodes}


def write_object(inputs: dict[str, np.ndarray], row: int, item: ObjectReferences) -> None:
    """Copy one object into its row of a segment batch; absent references are switched off, their numbers left
    alone. What the object attended to is written by `attend`."""
    language = item.language
    inputs["use_language"][row] = language is not None
    # Attention over no word at all would be 0/0; one word stays open, and use_language removes its effect.
    inputs["word_mask"][row] = 1.0 if language is None else language.word_mask
    if language is not None:
        inputs["words"][row] = language.words
        inputs["sentence"][row] = language.sentence
        if language.noun is not None:
            inputs["noun"][row] = language.noun
    for place, reference in enumerate((item.first, item.previous)):
        inputs["use_reference"][row, place] = reference is not None
        if reference is None:
            continue
        for level in _LEVELS:
            inputs[f"embed{level}"][row, place] = reference.embeds[level]
            if "key0" in inputs:  # else the graph takes what was attended to
                inputs[f"key{level}"][row, place] = reference.keys[level]
                inputs[f"value{level}"][row, place] = reference.values[level]


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeUnavailable("ONNX Runtime is not installed: pip install onnxruntime") from error
    return onnxruntime


def _resolve(onnxruntime: Any, device: str) -> str:
    """ "cuda" or "cpu" for "auto"."""
    if device != "auto":
        return device
    return "cuda" if _PROVIDERS["cuda"] in onnxruntime.get_available_providers() else "cpu"


def _providers(onnxruntime: Any, device: str) -> list[str]:
    if device not in _PROVIDERS:
        known = ", ".join(_PROVIDERS)
        raise RuntimeUnavailable(f"ONNX Runtime has no device {device!r}, expected one of {known}")
    if _PROVIDERS[device] not in onnxruntime.get_available_providers():
        raise RuntimeUnavailable(
            f"this ONNX Runtime was built without {_PROVIDERS[device]}: install onnxruntime-gpu, or use "
            "device 'cpu'"
        )
    return list(dict.fromkeys([_PROVIDERS[device], "CPUExecutionProvider"]))
