"""What every back end gets from `GraphRuntime`, and what it has to give: on numpy in 60 lines, and on ONNX
Runtime with the CPU in a device's place."""

from __future__ import annotations

import ast
import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_runtime import COLOURS, overlap, rectangle, scene
from numpy_backend import NumpyBackend
from three_frames import three_frames

from uniref_model.cli import main
from uniref_model.errors import ModelFileError, NetworkError, RuntimeUnavailable
from uniref_model.runtime import ModelSpec, ObjectReferences, contract, load_runtime
from uniref_model.runtime.files import WEIGHTS
from uniref_model.runtime.graph_runtime import GraphRuntime
from uniref_model.runtime.onnx import OnnxBackend, OrtDevice, load_onnx
from uniref_model.runtime.renewal import renew
from uniref_model.runtime.spec import read_json, write_json
from uniref_model.tracking import Tracker, TrackerConfig, TrackState

MODEL = WEIGHTS / "uniref_nano"
needs_model = pytest.mark.skipif(not (MODEL / "model.json").is_file(), reason=f"no exported model in {MODEL}")
ROOT = WEIGHTS.parent
SIZE = (64, 112)
BOX = (40, 32, 48, 40)


# --- a back end in numpy -----------------------------------------------------------------------------------


def tokenizer(text: str):
    colour = next(COLOURS[word] for word in text.split() if word in COLOURS)
    return np.array([[int(np.dot(colour, (65536, 256, 1)))]]), np.ones((1, 1), np.int64), False


@pytest.fixture
def runtime() -> GraphRuntime:
    graphs = contract.describe(projected=False, nouns=False, looks=False, shared=False, text=True)
    spec = ModelSpec("colours", 3, 1, (SIZE,), mask_upsample="bilinear", buckets=(1, 2), graphs=graphs)
    with GraphRuntime(NumpyBackend(SIZE), spec, SIZE, tokenizer=tokenizer) as loaded:
        yield loaded


def test_the_tracker_runs_on_a_back_end_of_sixty_lines(runtime):
    assert len(Path(__file__).with_name("numpy_backend.py").read_text().splitlines()) <= 60  # imports and all
    tracker = Tracker(runtime)
    red = tracker.add_text("the red box")
    green = tracker.add_mask(rectangle((120, 60, 50, 40)))
    blue = tracker.add_text("blue")
    frame = tracker.step(scene(("red", BOX), ("green", (120, 60, 50, 40))))
    assert overlap(frame.label_image == frame.object(red).slot, rectangle(BOX)) > 0.85
    assert frame.object(blue).state is TrackState.SEARCHING
    made = []
    for shift in range(12):
        boxes = (40 + 2 * shift, 32, 48, 40), (120, 60 - 2 * shift, 50, 40)
        frame = tracker.step(scene(("red", boxes[0]), ("green", boxes[1])))
        for name, box in zip((red, green), boxes, strict=True):
            assert overlap(frame.label_image == frame.object(name).slot, rectangle(box)) > 0.7  # cells of 8
        made.append(runtime.state)
    assert made[-1] == made[2], "arrays are made for new frames"
    assert runtime.describe()["runtime"] == "numpy" and runtime.name == "numpy"


def test_frames_are_numbered_and_references_say_which_they_are_of(runtime):
    frames = [runtime.encode_image(np.zeros((*SIZE, 3), np.uint8)) for _ in range(3)]
    assert len({frame.number for frame in frames}) == 3
    for frame in frames:
        references = runtime.encode_reference(frame, np.ones((3, *SIZE), np.float32))
        assert [reference.frame for reference in references] == [frame.number] * 3


def test_a_back_end_that_answers_nonsense_is_an_error_and_not_tracked(runtime):
    tracker = Tracker(runtime)
    tracker.add_text("red")
    bound = runtime.bound(contract.SEGMENT, 1)
    real = bound.segment
    bound.segment = lambda given: real(given) | {(contract.SCORE, 0): np.nan}
    with pytest.raises(NetworkError, match="a score that is not finite"):
        tracker.step(scene(("red", BOX)))
    bound.segment = real
    assert tracker.step(scene(("red", BOX))).objects[0].state is TrackState.TRACKED


def test_sizes_are_built_by_prepare_alone_where_that_takes_long(runtime):
    class Slow(NumpyBackend):
        builds = True

        def __init__(self) -> None:
            super().__init__(SIZE)
            self.built: list[tuple[str, int]] = []

        def bind(self, graph, bucket):
            self.built.append((graph.name, bucket))
            return super().bind(graph, bucket)

    backend = Slow()
    slow = GraphRuntime(backend, runtime.spec, SIZE)
    assert backend.built == []
    slow.prepare([1])
    frame = slow.encode_image(np.zeros((*SIZE, 3), np.uint8))
    slow.encode_reference(frame, np.ones((2, *SIZE), np.float32))
    assert {bucket for _, bucket in backend.built} == {1}, "two objects took the size of one, twice"
    slow.prepare()
    slow.encode_reference(frame, np.ones((2, *SIZE), np.float32))
    assert {bucket for _, bucket in backend.built} == {1, 2}
    slow.close()
    with pytest.raises(RuntimeUnavailable, match="closed"):
        slow.encode_image(np.zeros((*SIZE, 3), np.uint8))


# --- the contract ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", itertools.product([False, True], repeat=5))
def test_a_contract_is_read_as_it_was_written(flags, tmp_path):
    options = dict(zip(("projected", "nouns", "looks", "shared", "text"), flags, strict=True))
    graphs = contract.describe(**options)
    write_json(tmp_path / "model.json", {"graphs": contract.to_json(graphs)})
    assert contract.from_json(read_json(tmp_path / "model.json")["graphs"], "model.json") == graphs
    for graph in graphs.values():
        for ports in (graph.inputs, graph.outputs):
            assert len({port.name for port in ports}) == len({(port.part, port.place) for port in ports})


OTHER_MEANINGS = {"image", "masks", "words", "sentence", "noun", "score", "box", "mask_logits"}
"""Names of ports that are fields of values too."""


@pytest.mark.parametrize(
    "path", sorted(p for room in ("runtime", "export", "benchmark") for p in (ROOT / room).rglob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT)),
)  # fmt: skip
def test_nothing_but_the_contract_spells_a_port_or_a_kind_of_graph(path):
    """Nor the beginning of a name that ends in a level or begins with a place."""
    if path.name == "contract.py":
        return
    graphs = contract.describe(projected=True, nouns=True, looks=True, shared=True, text=True)
    ports = {port.name for graph in graphs.values() for port in (*graph.inputs, *graph.outputs)}
    names = ports - OTHER_MEANINGS | {
        contract.SEGMENT_SHARED,
        contract.ENCODE_TEXT,
        *contract.ATTEND.values(),
    }
    names |= {"src", "key", "embed", "use_", "first_", "previous_", "first_key", "first_value"}
    found = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    assert not names & found


def whole() -> dict:
    return contract.to_json(contract.describe(projected=True, nouns=True, looks=True, shared=True, text=True))


def port(graphs: dict, graph: str, name: str) -> dict:
    return next(p for side in graphs[graph].values() for p in side if p["name"] == name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.pop("segment"), "lacks the key 'graphs.segment'"),
        (lambda g: g["segment"].pop("inputs"), "lacks the key 'graphs.segment.inputs'"),
        (lambda g: g.update(segmnt=g["segment"]), "no graph 'segmnt' is known"),
        (lambda g: port(g, "segment", "sentence").update(carries="sentence2"), "carries is .*sentence2"),
        (lambda g: port(g, "segment", "sentence").update(carries="masks"), "takes 'masks' as 'sentence'"),
        (lambda g: port(g, "segment", "src3").update(level=9), "level is '9', expected .* 0 to 3"),
        (lambda g: port(g, "segment", "key1").update(stays="yes"), "stays is .*, expected true or false"),
        (lambda g: port(g, "segment", "key1").update(dtype="float8"), "dtype is .*float8"),
        (lambda g: port(g, "segment", "key1").update(shape=[]), "shape is"),
        (lambda g: port(g, "segment", "score").update(carries="box"), "does not give score 0"),
        (lambda g: g["encode_image"]["outputs"].pop(2), "does not give source 1"),
        (lambda g: g["encode_reference"]["outputs"].pop(3), "does not give value 3"),
        (lambda g: g.update(segment=5), "graphs.segment is .*, expected an object"),
    ],
)
def test_a_contract_that_cannot_be_kept_is_refused(change, message):
    graphs = whole()
    change(graphs)
    spec = {"version": 3, "name": "a", "hidden": 64, "max_words": 24, "sizes": [[64, 64]], "graphs": graphs}
    with pytest.raises(ModelFileError, match=message):
        ModelSpec.from_dict(spec)


# --- ONNX Runtime ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    """The shipped model, to be changed."""
    return shutil.copytree(
        MODEL, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors", "*.png", "*.jpg")
    )


@needs_model
def test_a_graph_that_is_not_as_its_contract_says_is_refused(folder):
    values = read_json(folder / "model.json")
    port(values["graphs"], "segment_shared", "sentence")["name"] = "sentence2"
    write_json(folder / "model.json", values)
    with pytest.raises(ModelFileError, match=r"segment_shared is not as model.json says.*'sentence'"):
        load_onnx(folder, threads=1)
    values = read_json(MODEL / "model.json")
    port(values["graphs"], "segment_shared", "sentence")["dtype"] = "int64"
    write_json(folder / "model.json", values)
    with pytest.raises(ModelFileError, match=r"sentence is tensor\(float\).*expected int64"):
        load_onnx(folder, threads=1)


def answers(runtime) -> list:
    words, first, previous, frame = three_frames(runtime)
    objects = [ObjectReferences(None, a, b) for a, b in zip(first, previous, strict=True)]
    objects += [
        ObjectReferences(words),
        ObjectReferences(words, first[0]),
        ObjectReferences(previous=first[1]),
    ]
    return runtime.segment(frame, objects) + runtime.segment(frame, objects[:1])


@needs_model
@pytest.mark.parametrize("attention", ["batched", "shared"])
def test_features_and_references_stay_on_a_device(attention, monkeypatch):
    """ONNX Runtime's CPU stands in for CUDA: the same calls, on memory that numpy is not shown."""
    with load_onnx("uniref_nano", size="192x320", threads=1, attention=attention) as plain:
        expected = answers(plain)
    moved: list[int] = []
    real = OrtDevice._run

    def run(self, from_device, source, to_device, target, size):
        known = [range(a, a + v.shape()[0]) for a, v in self._values.items()]
        inside = [any(place in block for block in known) for place in (source, target)]
        if not all(inside) and size > 4:
            moved.append(size)
        real(self, from_device, source, to_device, target, size)

    on_device = OnnxBackend.__init__

    def init(self, *arguments, **options):
        on_device(self, *arguments, **options)
        self.kept = OrtDevice(self._ort, "cpu")

    monkeypatch.setattr(OnnxBackend, "__init__", init)
    with load_onnx("uniref_nano", size="192x320", threads=1, attention=attention) as runtime:
        found = answers(runtime)
        for wanted, answer in zip(expected, found, strict=True):
            assert answer.score == pytest.approx(wanted.score, abs=1e-5)
            np.testing.assert_allclose(answer.mask_logits, wanted.mask_logits, atol=1e-3)
        frame = runtime.encode_image(np.zeros((*runtime.size, 3), np.uint8))
        (reference,) = runtime.encode_reference(frame, np.ones((1, *runtime.size), np.float32))
        parts = (*reference.keys, *reference.values, *reference.embeds, *frame.parts.values())
        assert all(part.device is runtime.backend.kept for part in parts)
        downloads = []
        monkeypatch.setattr(OrtDevice, "download", lambda *_: downloads.append(1))
        runtime.segment(frame, [ObjectReferences(first=reference)])
        assert not downloads, "nothing that stays was looked at"
        state = runtime.state
        for _ in range(3):
            answers_again = runtime.encode_image(frame.image)
        assert (
            runtime.state["object values"] == state["object values"] and answers_again.number > frame.number
        )
        kept = len(runtime.backend.kept._values)
        del frame, reference, parts, answers_again
    assert kept and not runtime.backend.kept._values, "all is given back"


@needs_model
def test_a_tracker_on_a_device_makes_no_state_after_the_first_frames(monkeypatch):
    on_device = OnnxBackend.__init__

    def init(self, *arguments, **options):
        on_device(self, *arguments, **options)
        self.kept = OrtDevice(self._ort, "cpu")

    monkeypatch.setattr(OnnxBackend, "__init__", init)
    with load_onnx("uniref_nano", size="192x320", threads=1) as runtime:
        tracker = Tracker(runtime, TrackerConfig(mask_threshold=0.0))
        for box in (BOX, (120, 60, 50, 40)):
            tracker.add_mask(rectangle(box))
        made = []
        for _ in range(8):
            tracker.step(scene(("red", BOX), ("green", (120, 60, 50, 40))))
            made.append(runtime.state)
        assert made[-1] == made[3]


# --- renewing ----------------------------------------------------------------------------------------------


def as_version_2(folder: Path) -> dict:
    values = json.loads((folder / "model.json").read_text())
    del values["version"]
    values["graphs"] = 2
    (folder / "model.json").write_text(json.dumps(values))
    return values


@needs_model
def test_a_folder_of_version_2_is_refused_with_the_command_that_renews_it(folder, capsys):
    wanted = read_json(folder / "model.json")
    as_version_2(folder)
    with pytest.raises(
        ModelFileError, match=r"is of version 2.* reads version 3: run 'uniref renew .*model'"
    ):
        load_runtime(folder, runtime="onnxruntime")
    assert main(["renew", str(folder)]) == 0
    assert read_json(folder / "model.json") == wanted
    assert main(["renew", str(folder)]) == 0
    assert "as it has to be" in capsys.readouterr().out.replace("\n", " ")
    with load_runtime(folder, runtime="onnxruntime", threads=1) as runtime:
        assert runtime.shared


@needs_model
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"graphs": 1}, "version 1.*uniref export"),
        ({"graphs": 7}, "version 7"),
        ({"sizes": "big"}, "sizes is"),
        ({"sha256": {"encode_image_192x320.onnx": "0" * 64}}, "is not the file its model.json describes"),
    ],
)
def test_what_cannot_be_renewed_is_refused_and_left_as_it_is(folder, change, message):
    before = as_version_2(folder) | change
    (folder / "model.json").write_text(json.dumps(before))
    with pytest.raises(ModelFileError, match=message):
        renew(folder)
    assert read_json(folder / "model.json") == before


def test_the_spec_can_be_replaced_in_part(runtime):
    """Graphs that a model was exported without are named when they are asked for."""
    runtime.spec = replace(runtime.spec, graphs={})
    runtime._bound.clear()
    with pytest.raises(ModelFileError, match="exported without the graph encode_image"):
        runtime.encode_image(np.zeros((*SIZE, 3), np.uint8))
