"""The contract of the graphs: what goes into each and what comes out. Nothing else spells their names.

The exporter writes it into model.json, port by port, and runtimes read it there. A port says what it carries
(and of which feature level, and for graphs that look at several reference frames, of which of them), whether
every object has its own, and whether it stays on the device from graph to graph.

Shapes are roles: N objects; H, W model size; h0, w0 … of feature level 0 …; S tokens of all levels; C hidden
width; L `max_words`; T0 … tokens of a reference's level 0 …; I width of the fusion's attention; K of what
references keep; D width of a noun; A of a look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..errors import ModelFileError
from .json_checks import Keys, flag, integer, listed, mapping, one_of, short_text

VERSION = 3
"""Of model.json and the graphs it describes."""

LEVELS = range(4)
"""Feature levels of the network: strides 8, 16, 32, 64."""

PLACES = ("first", "previous")
"""Reference frames, in the order in which the authors join them."""

ENCODE_IMAGE, ENCODE_REFERENCE, ENCODE_TEXT = "encode_image", "encode_reference", "encode_text"
SEGMENT, SEGMENT_SHARED = "segment", "segment_shared"
ATTEND = {1: "attend_one", 2: "attend_two"}
"""Graphs by the number of reference frames they look at."""

ENGINE_GRAPHS = (ENCODE_IMAGE, ENCODE_REFERENCE, SEGMENT)
"""Graphs that become engines."""

IMAGE, MASKS, TOKENS, TOKEN_MASK = "image", "masks", "tokens", "token_mask"
LATERAL, SOURCE, KEY, EMBED, QUERY, CLASSES = "lateral", "source", "key", "embed", "query", "classes"
LOOKS, LOOK = "looks", "look"
VALUE, ATTENDED = "value", "attended"
WORDS, WORD_MASK, SENTENCE, NOUN = "words", "word_mask", "sentence", "noun"
USE_LANGUAGE, USE_REFERENCE = "use_language", "use_reference"
SCORE, BOX, MASK_LOGITS = "score", "box", "mask_logits"

KEPT = (KEY, EMBED)
"""What a reference keeps of its frame."""

_STAY = {LATERAL, SOURCE, QUERY, CLASSES, LOOKS, LOOK, *KEPT, VALUE, ATTENDED}
_TYPES = {IMAGE: "uint8", TOKENS: "int64", TOKEN_MASK: "int64"}

Part = tuple[str, int]
"""What a port carries, and of which level."""


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    carries, level: see above; level is 0 for what has none. place: of `PLACES`, where a graph takes those
    apart. per_object: its first dimension is N, else all objects share it. stays: it goes from graph to graph
    without being looked at, so it need not leave the device.
    """

    name: str
    carries: str
    level: int = 0
    place: int = 0
    per_object: bool = False
    stays: bool = False
    dtype: str = "float32"
    shape: tuple[int | str, ...] = ()

    @property
    def part(self) -> Part:
        return self.carries, self.level


@dataclass(frozen=True)
class Graph:
    """Ports in the order of the exported module's arguments and results."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @cached_property
    def object_inputs(self) -> tuple[Port, ...]:
        return tuple(port for port in self.inputs if port.per_object)

    @cached_property
    def shared_inputs(self) -> tuple[Port, ...]:
        return tuple(port for port in self.inputs if not port.per_object)

    @cached_property
    def output_names(self) -> dict[Part, str]:
        return {port.part: port.name for port in self.outputs}

    @cached_property
    def input_names(self) -> dict[Part, str]:
        """By part; where it takes several reference frames apart, of the last of them."""
        return {port.part: port.name for port in self.inputs}


# Ports are written as "name=what it carries@place shape": what it carries is left out where that is its name,
# and a star stands for each feature level.
_SOURCE, _QUERY, _CLASSES = "src*=source 1 C h* w*", "query 1 S I", "classes 1 D+2 H/32 W/32"
_LOOKS = "looks 1 A H/32 W/32"
_FRAME = f"lateral 1 8 H/4 W/4, {_SOURCE}"
_LANGUAGE = "words N L C, word_mask N L, sentence N C, noun N D+1, use_language N"
_SEEN = "embed* N 2 C, look N 2 A, use_reference N 2"
_ANSWER = "score N, box N 4, mask_logits N H/4 W/4"


def describe(*, projected: bool, nouns: bool, looks: bool, shared: bool, text: bool) -> dict[str, Graph]:
    """The graphs of a model.

    projected: frames give the query, and references are kept projected. nouns: it looks for nouns. looks: it
    compares looks. shared: it has the graphs for shared attention; text: for prompts.
    """
    references = "key* N 2 T* K, value* N 2 T* K"
    table = {
        ENCODE_IMAGE: ("image 1 H W 3", f"{_FRAME}, key* 1 T* K, embed* 1 C, {_QUERY}, {_CLASSES}, {_LOOKS}"),
        ENCODE_REFERENCE: (
            f"image 1 H W 3, masks N 1 H W, {_SOURCE}, {_LOOKS}",
            "value* N T* K, look N A",
        ),
        SEGMENT: (f"{_FRAME}, {_CLASSES}, {_LOOKS}, {_LANGUAGE}, {references}, {_SEEN}", _ANSWER),
    }
    if shared:
        for count, graph in ATTEND.items():
            places = list(enumerate(PLACES[:count]))
            keys = [f"{word}_key*=key@{place} 1 T* K" for place, word in places]
            values = [f"{word}_value*=value@{place} N T* K" for place, word in places]
            table[graph] = ", ".join([_QUERY if projected else _SOURCE, *keys, *values]), "attended N S I"
        inputs = f"{_FRAME}, {_QUERY}, {_CLASSES}, {_LOOKS}, {_LANGUAGE}, attended N S I, {_SEEN}"
        table[SEGMENT_SHARED] = inputs, _ANSWER
    if text:
        tokens = "input_ids=tokens 1 L, attention_mask=token_mask 1 L"
        table[ENCODE_TEXT] = tokens, "words 1 L C, sentence 1 C, noun 1 D+1"
    absent = ({QUERY} if not projected else set()) | ({CLASSES, NOUN} if not nouns else set())
    absent |= {LOOKS, LOOK} if not looks else set()
    return {
        graph: Graph(graph, *(tuple(_ports(side, absent)) for side in sides))
        for graph, sides in table.items()
    }


def _ports(text: str, absent: set[str]) -> Iterator[Port]:
    for entry in text.split(", "):
        name, *shape = entry.split()
        name, _, carries = name.partition("=")
        carries, _, place = carries.partition("@")
        carries = carries or name.removesuffix("*")
        if carries in absent:
            continue
        for level in LEVELS if name.endswith("*") else LEVELS[:1]:
            sides = (side.replace("*", str(level)) for side in shape)
            yield Port(
                name.replace("*", str(level)),
                carries,
                level,
                int(place or 0),
                per_object=shape[0] == "N",
                stays=carries in _STAY,
                dtype=_TYPES.get(carries, "float32"),
                shape=tuple(int(side) if side.isdigit() else side for side in sides),
            )


def recognise(outputs: Iterable[str], graphs: Iterable[str]) -> dict[str, Graph]:
    """The contract of graphs that were exported without one (version 2): from encode_image's outputs and
    the names of the graphs that there are."""
    outputs, graphs = set(outputs), set(graphs)
    return describe(
        projected=QUERY in outputs,
        nouns=CLASSES in outputs,
        looks=LOOKS in outputs,
        shared=SEGMENT_SHARED in graphs,
        text=ENCODE_TEXT in graphs,
    )


_EVERY = describe(projected=True, nouns=True, looks=True, shared=True, text=True)
_CARRIED = tuple(dict.fromkeys(p.carries for g in _EVERY.values() for p in (*g.inputs, *g.outputs)))
STAYING = frozenset(p.name for g in _EVERY.values() for p in (*g.inputs, *g.outputs) if p.stays)
"""Names of ports that stay on the device; in no graph does a name mean another thing."""

ANSWERS = {port.name: port.carries for port in _EVERY[SEGMENT].outputs}
"""What is answered about an object, by port name: score, box, mask logits."""


def to_json(graphs: Mapping[str, Graph]) -> dict[str, Any]:
    """For model.json; what is as usual is left out."""

    def port(item: Port) -> dict[str, Any]:
        usual = Port("", "")
        values = {key: getattr(item, key) for key in Port.__dataclass_fields__}
        kept = {k: v for k, v in values.items() if v != getattr(usual, k)}
        return kept | {"shape": list(item.shape)}

    return {
        graph.name: {
            "inputs": [port(item) for item in graph.inputs],
            "outputs": [port(item) for item in graph.outputs],
        }
        for graph in graphs.values()
    }


def from_json(values: Mapping[str, Any], where: str) -> dict[str, Graph]:
    """From model.json. Raises ModelFileError naming `where`, the key, its value and what was expected, also
    for what a runtime could not fill or does not get."""
    graphs, every = {}, Keys(values, where, "graphs.")
    for graph in values:
        keys = Keys(every.take(graph, mapping), where, f"graphs.{graph}.")
        ports = (
            tuple(_port(item, where, f"graphs.{graph}.{side}[{index}].") for index, item in enumerate(items))
            for side, items in ((side, keys.take(side, listed(mapping))) for side in ("inputs", "outputs"))
        )
        graphs[graph] = Graph(graph, *ports)
    _check(graphs, where)
    return graphs


def _port(values: dict[str, Any], where: str, prefix: str) -> Port:
    keys = Keys(values, where, prefix)
    return Port(
        keys.take("name", short_text),
        keys.take("carries", one_of(_CARRIED)),
        keys.take("level", integer(0, LEVELS[-1]), 0),
        keys.take("place", integer(0, len(PLACES) - 1), 0),
        keys.take("per_object", flag, False),
        keys.take("stays", flag, False),
        keys.take("dtype", one_of(("float32", "uint8", "int64")), "float32"),
        tuple(keys.take("shape", listed(_dimension))),
    )


def _dimension(value: Any) -> int | str:
    return short_text(value) if isinstance(value, str) else integer(1, 1 << 31)(value)


def _check(graphs: Mapping[str, Graph], where: str) -> None:
    """That every graph there has to be is there, and that its inputs and outputs are enough to run it."""
    for needed in ENGINE_GRAPHS:
        if needed not in graphs:
            raise ModelFileError(f"{where} lacks the key 'graphs.{needed}'")
    given = {port.part for port in graphs[ENCODE_IMAGE].outputs}
    for graph in graphs.values():
        known = _EVERY.get(graph.name)
        if known is None:
            raise ModelFileError(f"{where}: no graph {graph.name!r} is known, expected {', '.join(_EVERY)}")
        carried = {port.carries for port in known.inputs} | {
            SOURCE
        }  # in place of a query, where there is none
        for port in graph.inputs:
            if port.carries not in carried:
                raise ModelFileError(
                    f"{where}: graphs.{graph.name} takes {port.carries!r} as {port.name!r}, expected some of "
                    f"{', '.join(sorted(carried))}"
                )
            from_frame = not port.per_object and graph.name != ENCODE_TEXT and port.carries != IMAGE
            if from_frame and port.part not in given:
                what = f"{port.carries} {port.level}"
                raise ModelFileError(f"{where}: graphs.{graph.name} takes {what}, which no frame gives")
        optional = {QUERY, CLASSES, NOUN, LOOKS, LOOK}
        wanted = {port.part for port in known.outputs if port.carries not in optional}
        if missing := wanted - graph.output_names.keys():
            what = ", ".join(sorted(f"{carries} {level}" for carries, level in missing))
            raise ModelFileError(f"{where}: graphs.{graph.name} does not give {what}")


def check_names(graph: Graph, takes: Iterable[str], gives: Iterable[str]) -> None:
    """Raise ModelFileError where a graph's file takes what its contract does not know, or does not give all
    that it says. What a graph has no use for may be missing from what it takes."""
    unknown = set(takes) - {port.name for port in graph.inputs}
    missing = {port.name for port in graph.outputs} - set(gives)
    if unknown or missing:
        raise ModelFileError(
            f"the file of graph {graph.name} is not as model.json says: it takes "
            f"{sorted(unknown) or 'nothing'} besides, and does not give {sorted(missing) or 'nothing'}"
        )
