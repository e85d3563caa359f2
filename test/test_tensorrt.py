"""Engines: the cache, the parity gate, and the whole runtime on a double of TensorRT whose GPU is this
process.

The double keeps what matters of the real interface: engines are bytes that may be refused, tensors have
addresses, and
nothing runs that was not uploaded first. It computes with ONNX Runtime. Building with TensorRT for RTX,
where installed, is the real thing; it needs no GPU.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from uniref_model.errors import RuntimeUnavailable
from uniref_model.runtime import ObjectReferences, load_runtime
from uniref_model.runtime.files import WEIGHTS
from uniref_model.runtime.trt import engines, parity
from uniref_model.runtime.trt.build import build_engine
from uniref_model.runtime.trt.engines import EngineCache, EngineKey
from uniref_model.runtime.trt.library import Library, load_library
from uniref_model.runtime.trt.runtime import TensorRtRuntime

MODEL = Path(os.environ.get("UNIREF_TEST_MODEL", WEIGHTS / "uniref_nano"))
needs_model = pytest.mark.skipif(
    not (MODEL / "model.json").is_file(), reason=f"no exported model in {MODEL} (set UNIREF_TEST_MODEL)"
)
KEY = EngineKey("segment_x1", {"graph": "abc", "gpu": "double", "objects": 1})


# --- the cache ---------------------------------------------------------------------------------------------


def test_an_engine_is_built_once_and_found_again(tmp_path):
    cache = EngineCache(tmp_path / "new" / "folder")
    assert cache.get(KEY, lambda: b"engine") == (b"engine", True)
    assert cache.get(KEY, pytest.fail) == (b"engine", False)
    other = EngineKey(KEY.name, {**KEY.facts, "gpu": "another"})
    assert cache.get(other, lambda: b"other") == (b"other", True)
    assert not list(cache.folder.glob("*.part"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda engine, note: engine.write_bytes(engine.read_bytes()[:3]),
        lambda engine, note: engine.unlink(),
        lambda engine, note: note.unlink(),
        lambda engine, note: note.write_text("{"),
        lambda engine, note: note.write_text("[]"),
        lambda engine, note: note.write_text(json.dumps({"facts": {}, "sha256": ""})),
    ],
)
def test_a_damaged_engine_is_built_again(tmp_path, damage):
    cache = EngineCache(tmp_path)
    cache.get(KEY, lambda: b"engine")
    damage(tmp_path / f"{KEY.stem}.engine", tmp_path / f"{KEY.stem}.json")
    assert cache.get(KEY, lambda: b"again") == (b"again", True)
    assert cache.get(KEY, pytest.fail) == (b"again", False)


def test_a_failed_build_leaves_nothing(tmp_path):
    cache = EngineCache(tmp_path)
    with pytest.raises(RuntimeUnavailable):
        cache.get(KEY, lambda: (_ for _ in ()).throw(RuntimeUnavailable("no")))
    assert not list(tmp_path.glob("*.engine")) and not list(tmp_path.glob("*.json"))
    assert cache.get(KEY, lambda: b"engine") == (b"engine", True)


def test_two_at_once_build_once(tmp_path):
    started, go = threading.Event(), threading.Event()
    built, results = [], []

    def build() -> bytes:
        built.append(1)
        started.set()
        assert go.wait(30)
        return b"engine"

    threads = [
        threading.Thread(target=lambda: results.append(EngineCache(tmp_path).get(KEY, build)))
        for _ in range(2)
    ]
    threads[0].start()
    assert started.wait(30)
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(30)
    assert len(built) == 1 and sorted(new for _, new in results) == [False, True]


def test_a_long_build_says_please_wait(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(engines, "PATIENCE", 0.01)
    said = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record):
            if "still building" in record.getMessage():
                said.set()

    listener = Listener()
    logging.getLogger(engines.__name__).addHandler(listener)
    try:
        with caplog.at_level(logging.INFO):
            EngineCache(tmp_path).get(KEY, lambda: b"engine" if said.wait(30) else b"")
    finally:
        logging.getLogger(engines.__name__).removeHandler(listener)
    assert said.is_set() and "please wait" in caplog.text and "built in" in caplog.text


# --- the gate ----------------------------------------------------------------------------------------------


def answers() -> dict[str, np.ndarray]:
    logits = np.full((2, 32, 56), -5.0, np.float32)
    logits[:, 8:24, 10:40] = 5.0
    return {
        "score": np.array([0.9, 0.1], np.float32),
        "box": np.full((2, 4), 0.5, np.float32),
        "mask_logits": logits,
        "src0": np.linspace(-3, 3, 60, dtype=np.float32),
    }


def test_equal_and_slightly_different_answers_pass():
    assert parity.compare(answers(), answers()) == []
    near = {name: value + np.float32(0.004) for name, value in answers().items()}
    assert parity.compare(answers(), near) == []


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("score", lambda a: a + 0.03, "score: differs"),
        ("box", lambda a: a + 0.02, "box: differs"),
        ("mask_logits", lambda a: np.roll(a, 1, axis=2), "mask IoU"),
        ("mask_logits", lambda a: np.stack([a[0], -a[1]]), "mask IoU 0.0000"),
        ("src0", lambda a: a * 1.05, "relative error"),
        ("src0", lambda a: np.where(a > 2, np.nan, a), "not finite"),
        ("box", lambda a: a[:1], "shape"),
    ],
)
def test_wrong_answers_do_not_pass(name, change, message):
    found = answers()
    found[name] = change(found[name])
    (problem,) = parity.compare(answers(), found)
    assert message in problem


def test_empty_masks_agree_when_nearly_empty():
    expected, found = answers(), answers()
    expected["mask_logits"][:] = found["mask_logits"][:] = -5.0
    found["mask_logits"][0, 3, 3] = 5.0
    assert parity.compare(expected, found) == []


# --- the whole runtime on the double -----------------------------------------------------------------------


class DoubleDevice:
    """A GPU whose memory is a dict of byte arrays, each with an address of its own."""

    stream = 7

    def __init__(self) -> None:
        self.memory: dict[int, bytearray] = {}
        self.next = 4096

    def facts(self) -> dict[str, object]:
        return {"gpu": "double", "capability": "0.0"}

    def allocate(self, size: int) -> int:
        self.next += 1 << 32
        self.memory[self.next] = bytearray(size)
        return self.next

    def free(self, address: int) -> None:
        del self.memory[address]

    def upload(self, address: int, array: np.ndarray) -> None:
        assert array.flags.c_contiguous and array.nbytes == len(self.memory[address])
        self.memory[address][:] = array.tobytes()

    def download(self, array: np.ndarray, address: int) -> None:
        assert array.nbytes == len(self.memory[address])
        array.reshape(-1).view(np.uint8)[:] = np.frombuffer(self.memory[address], np.uint8)

    def wait(self) -> None:
        pass


TYPES = {"tensor(float)": "FLOAT", "tensor(uint8)": "UINT8"}


class DoubleEngine:
    """An ONNX graph that pretends to be an engine; wrong: a factor its scores and features are off by."""

    def __init__(self, device: DoubleDevice, path: str, bucket: int, wrong: float) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.add_free_dimension_override_by_name("objects", bucket)
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.device, self.wrong = device, wrong
        self.inputs = {node.name: node for node in self.session.get_inputs()}
        self.outputs = {node.name: node for node in self.session.get_outputs()}
        self.names = [*self.inputs, *self.outputs]
        self.num_io_tensors = len(self.names)
        self.addresses: dict[str, int] = {}

    def get_tensor_name(self, index):
        return self.names[index]

    def get_tensor_mode(self, name):
        return "INPUT" if name in self.inputs else "OUTPUT"

    def get_tensor_shape(self, name):
        return (self.inputs | self.outputs)[name].shape

    def get_tensor_dtype(self, name):
        return TYPES[(self.inputs | self.outputs)[name].type]

    def create_execution_context(self):
        return self

    def set_input_shape(self, name, shape):
        assert tuple(self.inputs[name].shape) == shape

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def execute_async_v3(self, stream):
        assert stream == self.device.stream
        fed = {
            name: np.frombuffer(
                self.device.memory[self.addresses[name]],
                np.uint8 if node.type == "tensor(uint8)" else np.float32,
            ).reshape(node.shape)
            for name, node in self.inputs.items()
        }
        for name, value in zip(self.outputs, self.session.run(list(self.outputs), fed), strict=True):
            self.device.memory[self.addresses[name]][:] = (value * np.float32(self.wrong)).tobytes()
        return True


class DoubleTrt:
    """The module, as far as the runtime uses it. Its builder is replaced by `build` below."""

    DataType = SimpleNamespace(FLOAT="FLOAT", HALF="HALF", UINT8="UINT8")
    TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")

    def __init__(self, device: DoubleDevice) -> None:
        self.device = device
        self.built: list[str] = []
        self.wrong: dict[str, float] = {}
        self.refuses: set[str] = set()

    def Runtime(self, logger):
        return self

    def deserialize_cuda_engine(self, content: bytes):
        path, bucket, factor = json.loads(content)
        if Path(path).stem.rpartition("_")[0] in self.refuses:
            return None
        return DoubleEngine(self.device, path, bucket, factor)

    def build(self, library: Library, path: Path, bucket: int) -> bytes:
        graph = path.stem.rpartition("_")[0]
        self.built.append(f"{graph} x{bucket}")
        return json.dumps([str(path), bucket, self.wrong.get(graph, 1.0)]).encode()


@pytest.fixture
def double(monkeypatch) -> DoubleTrt:
    trt = DoubleTrt(DoubleDevice())
    monkeypatch.setattr("uniref_model.runtime.trt.runtime.build_engine", trt.build)
    return trt


def load(double: DoubleTrt, cache: Path) -> TensorRtRuntime:
    library = Library(double, "double", "1.0", None)
    return TensorRtRuntime(
        MODEL, size="192x320", threads=1, cache=cache, library=library, device=double.device, buckets=(1, 2)
    )


def ask(runtime) -> list[np.ndarray]:
    frame = runtime.encode_image(np.full((*runtime.size, 3), 90, np.uint8))
    masks = np.zeros((3, *runtime.size), np.float32)
    masks[:, 50:120, 80:200] = 1
    references = runtime.encode_reference(frame, masks)
    words = runtime.encode_text("the red mug")
    objects = [
        ObjectReferences(words),
        ObjectReferences(first=references[1]),
        ObjectReferences(words, references[2]),
    ]
    return [answer.mask_logits for answer in runtime.segment(frame, objects)]


@needs_model
def test_engines_answer_as_onnx_runtime_and_are_kept(double, tmp_path):
    with load_runtime(MODEL, "192x320", threads=1) as plain:
        expected = ask(plain)
    with load(double, tmp_path) as runtime:
        for wanted, found in zip(expected, ask(runtime), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-3)
        assert runtime.describe()["replaced by onnxruntime"] == "nothing"
        assert double.device.memory
    assert not double.device.memory  # all freed
    assert sorted(double.built) == [
        "encode_image x1", "encode_reference x1", "encode_reference x2", "segment x1", "segment x2",
    ]  # fmt: skip
    double.built.clear()
    with load(double, tmp_path) as runtime:
        ask(runtime)
    assert double.built == []


@needs_model
@pytest.mark.parametrize("graph", ["encode_image", "encode_reference", "segment"])
def test_a_miscompiled_engine_is_replaced_and_said_so(double, tmp_path, graph, caplog):
    """Silently wrong engines are known; nothing wrong may reach the tracker."""
    double.wrong = {graph: 1.2}
    with load_runtime(MODEL, "192x320", threads=1) as plain:
        expected = ask(plain)
    with load(double, tmp_path) as runtime:
        for wanted, found in zip(expected, ask(runtime), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-3)
        assert f"{graph} x1" in runtime.describe()["replaced by onnxruntime"]
    assert "disagrees with ONNX Runtime" in caplog.text
    assert not double.device.memory


@needs_model
def test_an_engine_that_is_refused_is_built_once_more_and_then_replaced(double, tmp_path, caplog):
    with load(double, tmp_path):
        pass
    double.built.clear()
    double.refuses = {"encode_image"}
    with load(double, tmp_path) as runtime:
        assert "refuses the engine" in runtime.describe()["replaced by onnxruntime"]
        runtime.encode_image(np.zeros((*runtime.size, 3), np.uint8))
    assert double.built == ["encode_image x1"]
    assert "built again" in caplog.text


# --- the real library --------------------------------------------------------------------------------------


def _real_library() -> Library | None:
    try:
        return load_library()
    except RuntimeUnavailable:
        return None


@needs_model
@pytest.mark.parametrize("graph", ["encode_image", "encode_reference"])
def test_the_image_is_cast_before_anything_else(graph):
    """TensorRT refuses a uint8 input that goes anywhere but into a Cast (found by building these graphs)."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    model = onnx.load(MODEL / f"{graph}_192x320.onnx", load_external_data=False)
    assert {node.op_type for node in model.graph.node if "image" in node.input} == {"Cast"}


@needs_model
@pytest.mark.skipif(_real_library() is None, reason="no TensorRT library is installed (see load_library)")
@pytest.mark.parametrize("graph", ["encode_image", "encode_reference", "segment"])
def test_the_real_library_builds_the_graphs(tmp_path, graph):
    library = _real_library()
    path = MODEL / f"{graph}_192x320.onnx"
    cache = EngineCache(tmp_path)
    content, new = cache.get(KEY, lambda: build_engine(library, path, 2))
    assert new and len(content) > 10_000
    assert cache.get(KEY, pytest.fail)[0] == content


@needs_model
@pytest.mark.skipif(_real_library() is None, reason="no TensorRT library is installed (see load_library)")
def test_the_real_library_refuses_a_damaged_graph_with_a_reason(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes((MODEL / "segment_192x320.onnx").read_bytes()[:5000])
    with pytest.raises(RuntimeUnavailable, match=r"cannot read broken\.onnx"):
        build_engine(_real_library(), broken, 1)
