"""`GraphRuntime`: an exported model on any library that can run its graphs.

What all of them have in common is here, once: batches and their padding, what is lent and kept, locks,
prompts. A library is a `Backend`: it binds a graph for one batch size.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import numpy as np

from ..errors import ModelFileError, RuntimeUnavailable
from . import contract as c
from .attention import group_by_frames
from .base import (
    FrameFeatures,
    LanguageReference,
    MaskReference,
    ObjectReferences,
    Prediction,
    Runtime,
    own_frame,
)
from .contract import Graph, Part, Port
from .loans import Memory, Pool
from .memory import give_back_heap
from .spec import ModelSpec
from .text import PromptCache, Tokenizer


class BoundGraph(Protocol):
    """A graph for one batch size, with everything in place that does not change from run to run.

    inputs: by port name, what depends on objects: arrays made once that are written to, row by row.
    memory: where outputs that stay on the device are to be kept.
    """

    @property
    def inputs(self) -> Mapping[str, Any]: ...

    @property
    def memory(self) -> Memory: ...

    def run(self, shared: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run on `inputs` and on what objects share; outputs by port name, which the next run writes over."""


class Backend(ABC):
    """A library that runs graphs, on one device."""

    name: str
    device: str = "cpu"
    builds: bool = False
    """Whether binding may take minutes. Batch sizes are then bound by `prepare` alone, never by a frame."""

    @abstractmethod
    def bind(self, graph: Graph, bucket: int) -> BoundGraph:
        """The graph, made ready for so many objects. Raises ModelFileError, RuntimeUnavailable."""

    def describe(self) -> dict[str, str]:
        """Facts for people and diagnostics."""
        return {"device": self.device}

    def trim(self) -> None:  # noqa: B027 (a library may have nothing to give back)
        """Give back memory that is free. Nothing is unloaded."""

    def close(self) -> None:  # noqa: B027
        """Release what is bound, and the device. Closing twice is allowed."""


@dataclass(frozen=True, eq=False)
class GraphFrame(FrameFeatures):
    """A frame whose parts are where the library keeps them; written over when nobody has them any more.

    keys, embeds: as in `MaskReference`, the same for every reference that is made of it.
    """

    parts: Mapping[Part, Any]
    keys: tuple[Any, ...]
    embeds: tuple[Any, ...]


class GraphRuntime(Runtime):
    """Runs an exported model on a `Backend`, which it closes with itself.

    The constructor loads the smallest batch size, unless that may take minutes (`Backend.builds`): `prepare`
    does then.

    Args:
        spec: what model.json says; size: (H, W), one of its sizes.
        tokenizer: of prompts; None for a model without words.
        buckets: batch sizes, the spec's for None.
        shared: compute attention once for all objects that refer to the same frames, instead of for each.
    """

    def __init__(
        self,
        backend: Backend,
        spec: ModelSpec,
        size: tuple[int, int],
        *,
        tokenizer: Tokenizer | None = None,
        buckets: Sequence[int] | None = None,
        shared: bool = False,
    ) -> None:
        self.backend, self.spec, self.size, self.shared = backend, spec, size, shared
        self.name = backend.name
        self.buckets = tuple(sorted(buckets or spec.buckets))
        self.tokenizer = tokenizer
        self.encode_prompt = PromptCache(self._encode_text)
        self._segment = c.SEGMENT_SHARED if shared else c.SEGMENT
        self._ready = () if backend.builds else self.buckets
        self._bound: dict[tuple[str, int], BoundGraph] = {}
        self._pools: dict[tuple, Pool] = {}  # by what they hold, where, and its layout
        self._pool_of: dict[tuple[str, BoundGraph], Pool] = {}
        self._numbers = itertools.count(1)
        self._lock = Lock()
        self._text_lock = Lock()  # a lock of its own: a prompt never waits for a frame, nor a frame for it
        self._closed = False
        if not backend.builds:
            with self._lock:
                self._bind_objects(self.buckets[0])

    def describe(self) -> dict[str, str]:
        attention = "shared" if self.shared else "batched"
        return super().describe() | {"attention": attention} | self.backend.describe()

    def encode_text(self, text: str) -> LanguageReference:
        return self.encode_prompt(text)

    def encode_image(self, image: np.ndarray) -> GraphFrame:
        if image.shape != (*self.size, 3) or image.dtype != np.uint8:
            raise ValueError(
                f"image is {image.dtype} {image.shape}, expected uint8 {(*self.size, 3)}: resize "
                "before encoding"
            )
        image = np.ascontiguousarray(image)
        with self._lock:
            bound = self.bound(c.ENCODE_IMAGE, 1)
            out = bound.run({port.name: image[None] for port in self._graph(c.ENCODE_IMAGE).inputs})
            ports = self._graph(c.ENCODE_IMAGE).outputs
            parts: dict[Part, Any] = {}
            for what, kept in (("frame keys", True), ("frame", False)):  # references keep the keys alone
                chosen = [port for port in ports if (port.carries in c.KEPT) is kept]
                arrays = self._lend(what, bound, [out[port.name] for port in chosen])
                parts |= {port.part: array for port, array in zip(chosen, arrays, strict=True)}
        keys, embeds = (tuple(parts[what, level][0] for level in c.LEVELS) for what in c.KEPT)
        return GraphFrame(image, next(self._numbers), parts, keys, embeds)

    def encode_reference(self, frame: FrameFeatures, masks: np.ndarray) -> list[MaskReference]:
        ours = own_frame(frame, GraphFrame)
        if masks.ndim != 3 or masks.shape[1:] != self.size:
            raise ValueError(f"masks have shape {masks.shape}, expected (objects, *{self.size})")
        references: list[MaskReference] = []
        with self._lock:
            for start, bucket in self._chunks(len(masks)):
                references += self._encode_chunk(ours, masks[start : start + bucket], bucket)
        return references

    def segment(self, frame: FrameFeatures, objects: Sequence[ObjectReferences]) -> list[Prediction]:
        ours = own_frame(frame, GraphFrame)
        predictions: list[Prediction] = []
        with self._lock:
            for start, bucket in self._chunks(len(objects)):
                predictions += self._segment_chunk(ours, objects[start : start + bucket], bucket)
        return predictions

    def prepare(self, buckets: Iterable[int] | None = None) -> None:
        chosen = tuple(buckets or self.buckets)
        for bucket in chosen:
            with self._lock:
                self._bind_objects(bucket)
            self._ready = tuple(sorted({*self._ready, bucket}))
        frame, other = (self.encode_image(np.full((*self.size, 3), level, np.uint8)) for level in (0, 255))
        for bucket in chosen:
            masks = np.zeros((bucket, *self.size), np.float32)
            masks[:, : self.size[0] // 2] = 1
            first, previous = (self.encode_reference(part, masks) for part in (frame, other))
            self.segment(frame, [ObjectReferences(first=reference) for reference in first])
            pairs = zip(first, previous, strict=True)
            self.segment(frame, [ObjectReferences(first=one, previous=two) for one, two in pairs])

    def close(self) -> None:
        with self._lock, self._text_lock:
            self._closed = True
            self._bound.clear()
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()
            self._pool_of.clear()
            self.tokenizer = None  # megabytes
            self.backend.close()
        self.trim()

    def trim(self) -> None:
        for pool in list(self._pools.values()):
            pool.trim()
        self.backend.trim()
        give_back_heap()

    @property
    def state(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for (what, *_), pool in list(self._pools.items()):
            sets, size = found.get(what, (0, 0))
            found[what] = sets + pool.made, size + pool.nbytes
        return found

    def bound(self, graph: str, bucket: int) -> BoundGraph:
        """A graph for one batch size, bound at first use."""
        known = self._bound.get((graph, bucket))
        if known is None:
            if self._closed:
                raise self._is_closed()
            known = self._bound[graph, bucket] = self.backend.bind(self._graph(graph), bucket)
        return known

    def _graph(self, name: str) -> Graph:
        if name not in self.spec.graphs:
            raise ModelFileError(f"model {self.spec.name!r} was exported without the graph {name}")
        return self.spec.graphs[name]

    def _is_closed(self) -> RuntimeUnavailable:
        return RuntimeUnavailable(f"the runtime of model {self.spec.name!r} is closed")

    def _bind_objects(self, bucket: int) -> None:
        self.bound(c.ENCODE_IMAGE, 1)
        for graph in (c.ENCODE_REFERENCE, self._segment):
            self.bound(graph, bucket)

    def _lend(self, what: str, bound: BoundGraph, values: list[Any]) -> list[Any]:
        """Copies of these outputs, lent to whoever has them."""
        pool = self._pool_of.get((what, bound))
        if pool is None:
            layout = tuple((tuple(value.shape), value.dtype) for value in values)
            kind = what, bound.memory, layout
            pool = self._pool_of[what, bound] = self._pools.setdefault(kind, Pool(bound.memory, layout))
        return pool.lend(values)

    def _chunks(self, count: int) -> Iterator[tuple[int, int]]:
        """(start, batch size) pieces that cover `count` rows; only the last is padded."""
        ready, start = self._ready or self.buckets[:1], 0
        while start < count:
            left = count - start
            # the whole rest where it fits, with rows to spare; else as many as there is a size for
            bucket = next((size for size in ready if size >= left), ready[-1])
            yield start, bucket
            start += bucket

    def _encode_chunk(self, frame: GraphFrame, masks: np.ndarray, bucket: int) -> list[MaskReference]:
        graph, bound = self._graph(c.ENCODE_REFERENCE), self.bound(c.ENCODE_REFERENCE, bucket)
        (port,) = graph.object_inputs
        bound.inputs[port.name][: len(masks), 0] = masks
        bound.inputs[port.name][len(masks) :] = 0
        out = bound.run(shared_inputs(graph, frame))
        # A loan for every object: one for the batch would last as long as any of them keeps its reference.
        rows = (
            self._lend("object values", bound, [out[port.name][row] for port in graph.outputs])
            for row in range(len(masks))
        )
        return [_reference(frame, dict(zip(graph.output_names, row, strict=True))) for row in rows]

    def _segment_chunk(
        self, frame: GraphFrame, objects: Sequence[ObjectReferences], bucket: int
    ) -> list[Prediction]:
        graph, bound = self._graph(self._segment), self.bound(self._segment, bucket)
        for row in range(bucket):
            # Padding repeats the first object: real numbers, so no NaN or denormal slows the batch down.
            write_object(graph, bound.inputs, row, objects[row] if row < len(objects) else objects[0])
        if self.shared:
            self.attend(frame, objects, bound.inputs[graph.input_names[c.ATTENDED, 0]])
        out = bound.run(shared_inputs(graph, frame))
        score, box, logits = (out[graph.output_names[what, 0]] for what in (c.SCORE, c.BOX, c.MASK_LOGITS))
        return [
            Prediction(float(score[row]), box[row].copy(), logits[row].copy()) for row in range(len(objects))
        ]

    def attend(self, frame: GraphFrame, objects: Sequence[ObjectReferences], out: Any) -> None:
        """Write what each object attended to into its row of `out` [N,S,I]; rows without mask reference keep
        theirs."""
        for rows, members in group_by_frames(objects):
            graph = self._graph(c.ATTEND[len(members[0])])
            shared = shared_inputs(graph, frame, members[0])
            for start, bucket in self._chunks(len(rows)):
                bound = self.bound(graph.name, bucket)
                chosen = members[start : start + bucket]
                for port in graph.object_inputs:
                    target = bound.inputs[port.name]
                    for index, references in enumerate(chosen):
                        target[index] = references[port.place].values[port.level]
                attended = bound.run(shared)[graph.output_names[c.ATTENDED, 0]]
                for index, row in enumerate(rows[start : start + bucket]):
                    out[row] = attended[index]

    def _encode_text(self, text: str) -> LanguageReference:
        with self._text_lock:
            if self._closed:
                raise self._is_closed()
            if self.tokenizer is None:
                raise ModelFileError(
                    f"model {self.spec.name!r} was exported without text encoder: use masks or clicks"
                )
            bound, graph = self.bound(c.ENCODE_TEXT, 1), self._graph(c.ENCODE_TEXT)
            ids, attention, truncated = self.tokenizer(text)
            given = {c.TOKENS: ids, c.TOKEN_MASK: attention}
            out = bound.run({port.name: given[port.carries] for port in graph.inputs})
            told = {port.carries: out[port.name][0].copy() for port in graph.outputs}
        mask = attention[0].astype(np.float32)
        return LanguageReference(told[c.WORDS], mask, told[c.SENTENCE], truncated, told.get(c.NOUN))


def _reference(frame: GraphFrame, parts: Mapping[Part, Any]) -> MaskReference:
    values = tuple(parts[c.VALUE, level] for level in c.LEVELS)
    return MaskReference(frame.keys, values, frame.embeds, frame=frame.number, look=parts.get((c.LOOK, 0)))


def shared_inputs(
    graph: Graph, frame: GraphFrame, references: Sequence[MaskReference] = ()
) -> dict[str, Any]:
    """What all objects share, by port name: of the frame, and of the frames that they refer to."""
    return {port.name: _shared(port, frame, references) for port in graph.shared_inputs}


def _shared(port: Port, frame: GraphFrame, references: Sequence[MaskReference]) -> Any:
    if port.carries == c.IMAGE:
        return frame.image[None]
    if port.carries in c.KEPT:
        return _of_reference(references[port.place], port)[None]
    return frame.parts[port.part]


def write_object(graph: Graph, inputs: Mapping[str, Any], row: int, item: ObjectReferences) -> None:
    """Copy one object into its row of a segment batch; absent references are switched off, their numbers left
    alone. What the object attended to is written by `GraphRuntime`."""
    language, masks = item.language, (item.first, item.previous)
    for port in graph.object_inputs:
        carries, array = port.carries, inputs.get(port.name)
        if array is None:  # the graph has no use for it
            continue
        if carries == c.USE_LANGUAGE:
            array[row] = language is not None
        elif carries == c.WORD_MASK:
            # Attention over no word at all would be 0/0; one word stays open, and use_language removes its
            # effect.
            array[row] = 1.0 if language is None else language.word_mask
        elif carries in _WORDS:
            if language is not None and (value := getattr(language, _WORDS[carries])) is not None:
                array[row] = value
        elif carries == c.USE_REFERENCE:
            array[row] = [reference is not None for reference in masks]
        elif carries != c.ATTENDED:
            for place, reference in enumerate(masks):
                if reference is not None:
                    array[row, place] = _of_reference(reference, port)


_WORDS = {c.WORDS: "words", c.SENTENCE: "sentence", c.NOUN: "noun"}
_REFERENCE = {c.KEY: "keys", c.VALUE: "values", c.EMBED: "embeds"}


def _of_reference(reference: MaskReference, port: Port) -> Any:
    if port.carries == c.LOOK:
        return reference.look
    return getattr(reference, _REFERENCE[port.carries])[port.level]
