"""Back ends that are trusted only where they agree with ONNX Runtime: TensorRT, OpenVINO."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import RuntimeUnavailable
from .contract import Graph
from .engines import EngineCache, EngineKey
from .example import fill_example
from .graph_runtime import Backend, BoundGraph, GraphRuntime
from .parity import Tolerance, compare

_log = logging.getLogger(__name__)


class Engine(BoundGraph, Protocol):
    """A graph that a library has compiled."""

    def close(self) -> None:
        """Release it."""


@dataclass(frozen=True)
class Candidate:
    """One way to run a graph: its name, how far it may be from ONNX Runtime, and how to make it."""

    name: str
    allowed: Tolerance
    bind: Callable[[], Engine]


class CheckedBackend(Backend):
    """Of every graph and batch size the first candidate that can be made and agrees with `reference` on fixed
    inputs, whenever it is loaded; where none does, `reference` takes the graph's place, with a warning, and
    `describe()` says which and why.

    reference: the same model on ONNX Runtime, closed with this. It also runs the prompts: once each, and
    exact on the CPU.
    """

    runs: tuple[str, ...] = ("first run", "second run")
    """How often a candidate has to agree, each with a word for it."""
    second_choice: str
    """What it means that not the first candidate runs, for `describe`."""

    def __init__(self, reference: GraphRuntime, cache: EngineCache) -> None:
        self.reference, self.spec, self.cache = reference, reference.spec, cache
        self.replaced: dict[str, str] = {}
        """Graph and batch size -> why ONNX Runtime runs it."""
        self.bound: dict[str, Engine] = {}
        """Graph and batch size -> what runs it here."""
        self._passed_over: dict[str, str] = {}

    @abstractmethod
    def candidates(self, graph: Graph, bucket: int) -> Sequence[Candidate]:
        """The best first; none for what `reference` always runs."""

    @property
    def engines(self) -> int:
        """How many graphs run here and not in `reference`."""
        return len(self.bound)

    def describe(self) -> dict[str, str]:
        facts = super().describe() | {
            "engines": str(self.engines),
            "replaced by onnxruntime": listed(self.replaced) or "nothing",
        }
        return facts | ({self.second_choice: listed(self._passed_over)} if self._passed_over else {})

    def bind(self, graph: Graph, bucket: int) -> BoundGraph:
        reference = self.reference.bound(graph.name, bucket)  # kept: the gates of later ones need it too
        candidates = self.candidates(graph, bucket)
        if not candidates:
            return reference
        what, reasons = f"{graph.name} x{bucket}", []
        for candidate in candidates:
            try:
                engine = self._check(candidate, graph, bucket, reference)
            except Exception as error:  # whatever a library does, there is ONNX Runtime to go on with
                known = isinstance(error, RuntimeUnavailable)
                reason = str(error) if known else f"{type(error).__name__}: {error}"
                _log.warning("%s: %s: %s", what, candidate.name, reason, exc_info=None if known else error)
                reasons.append(f"{candidate.name}: {reason}")
                continue
            if reasons:
                self._passed_over[what] = "; ".join(reasons)
            self.bound[what] = engine
            return engine
        self.cache.say(f"{what} runs on ONNX Runtime: {'; '.join(reasons)}")
        self.replaced[what] = "; ".join(reasons)
        return reference

    def trim(self) -> None:
        self.reference.trim()

    def close(self) -> None:
        for engine in self.bound.values():
            engine.close()
        self.bound.clear()
        self.reference.close()

    def kept_or_built(
        self, key: EngineKey, build: Callable[[], bytes], load: Callable[[bytes], Any | None]
    ) -> Any:
        """What `load` makes of the engine in the cache, or of one that is built; one that it refuses (None)
        is built again, once. Raises RuntimeUnavailable where it refuses that too."""
        for _ in range(2):
            content, new = self.cache.get(key, build)
            loaded = load(content)
            if loaded is not None:
                return loaded
            self.cache.discard(key)
            if new:
                break
            _log.warning("engine %s was refused by %s and is built again", key.name, self.name)
        raise RuntimeUnavailable(f"{self.name} refuses the engine of {key.name}")

    def _check(self, candidate: Candidate, graph: Graph, bucket: int, reference: BoundGraph) -> Engine:
        engine = candidate.bind()
        try:
            shared = fill_example(self.reference, graph, bucket)
            for name, array in reference.inputs.items():
                engine.inputs[name][...] = array
            wanted = reference.run(shared)
            for how in self.runs:
                found = {name: np.asarray(value) for name, value in engine.run(shared).items()}
                if problems := compare(wanted, found, candidate.allowed):
                    raise RuntimeUnavailable(
                        f"the engine ({how}) disagrees with ONNX Runtime: {'; '.join(problems)}"
                    )
        except BaseException:
            engine.close()
            raise
        self.cache.say(f"{candidate.name} x{bucket}: the engine agrees with ONNX Runtime")
        return engine


def listed(reasons: Mapping[str, str]) -> str:
    """ "graph (reason), …" for people."""
    return ", ".join(f"{graph} ({reason})" for graph, reason in reasons.items())
