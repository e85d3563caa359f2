"""The OpenVINO back end, on this CPU, with the model that ships; held against ONNX Runtime."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_runtime import FakeColourRuntime

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed (pip install openvino)")
from three_frames import three_frames  # noqa: E402

from uniref_model.cli import main  # noqa: E402
from uniref_model.errors import ModelFileError, RuntimeUnavailable  # noqa: E402
from uniref_model.runtime import ObjectReferences, available_runtimes, choose, contract, load_runtime  # noqa: E402
from uniref_model.runtime.files import WEIGHTS  # noqa: E402
from uniref_model.runtime.onnx import load_onnx  # noqa: E402
from uniref_model.runtime.openvino import BoundModel, load_openvino  # noqa: E402
from uniref_model.tracking import Tracker  # noqa: E402
from uniref_model.video import open_source  # noqa: E402

MODEL = WEIGHTS / "uniref_nano"
pytestmark = pytest.mark.skipif(
    not (MODEL / "model.json").is_file(), reason="the weights of uniref_nano are not there"
)
MEDIA = Path(__file__).resolve().parents[2] / "media"
HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def load(cache: Path, **options):
    return load_openvino(MODEL, size="192x320", threads=1, device="cpu", cache=cache, **options)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """A folder that the first test fills."""
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="module")
def plain():
    with load_onnx(MODEL, size="192x320", threads=1) as runtime:
        yield runtime


@pytest.fixture
def runtime(cache):
    with load(cache) as loaded:
        yield loaded


def answers(runtime) -> list:
    """Three frames, four objects with words, masks and both, and one alone."""
    words, first, previous, frame = three_frames(runtime)
    objects = [ObjectReferences(None, a, b) for a, b in zip(first[:2], previous[:2], strict=True)]
    objects += [ObjectReferences(words), ObjectReferences(words, first[2])]
    return runtime.segment(frame, objects) + runtime.segment(frame, objects[:1])


def assert_same(found, wanted, tolerance=1e-4):
    for one, other in zip(found, wanted, strict=True):
        assert one.score == pytest.approx(other.score, abs=tolerance)
        np.testing.assert_allclose(one.box, other.box, atol=tolerance)
        scale = np.abs(other.mask_logits).max()
        np.testing.assert_allclose(one.mask_logits, other.mask_logits, atol=tolerance * scale)


def test_it_answers_as_onnx_runtime_does(runtime, plain):
    assert_same(answers(runtime), answers(plain))
    facts = runtime.describe()
    assert facts["runtime"] == "openvino" and facts["device"].startswith("CPU (")
    assert facts["replaced by onnxruntime"] == "nothing" and facts["precision"] == "fp32"


def test_a_frame_is_encoded_as_by_onnx_runtime(runtime, plain):
    image = np.random.default_rng(1).integers(0, 256, (*runtime.size, 3), np.uint8)
    frames = [one.encode_image(image) for one in (runtime, plain)]
    assert frames[0].parts.keys() == frames[1].parts.keys()
    for part, wanted in frames[1].parts.items():
        error = np.abs(frames[0].parts[part] - wanted).max() / np.abs(wanted).max()
        assert error < 1e-4, part


def test_graphs_of_batched_attention_run_for_one_object_too(tmp_path, plain):
    """OpenVINO sees that what is repeated for one object is the input itself, which has two names then."""
    with load(tmp_path, attention="batched", buckets=(1,)) as batched:
        assert batched.describe()["replaced by onnxruntime"] == "nothing" and not batched.shared
        words, first, previous, frame = three_frames(batched)
        found = batched.segment(frame, [ObjectReferences(words, first[0], previous[0])])
    words, first, previous, frame = three_frames(plain)
    assert_same(found, plain.segment(frame, [ObjectReferences(words, first[0], previous[0])]))


def test_label_images_of_a_real_video_are_equal(runtime, plain):
    frames = [
        frame.image
        for index, frame in zip(range(24), open_source(str(MEDIA / "box.mp4")), strict=False)
        if index % 3 == 0
    ]
    trackers = [Tracker(one) for one in (runtime, plain)]
    for tracker in trackers:
        tracker.add_text("the yellow box")
        tracker.add_box((0, 0, 200, 200))
    for image in frames:
        labels = [tracker.step(image).label_image for tracker in trackers]
        assert np.count_nonzero(labels[0] != labels[1]) <= 1e-4 * labels[0].size
    assert labels[0].any()


def test_frames_make_nothing_after_the_first(runtime):
    tracker = Tracker(runtime)
    image = np.random.default_rng(2).integers(0, 256, (240, 320, 3), np.uint8)
    mask = np.zeros((240, 320), bool)
    mask[50:150, 60:200] = True
    tracker.add_mask(mask)
    made = []
    for _ in range(8):
        tracker.step(image)
        made.append(runtime.state)
    assert made[-1] == made[3]


# --- on disk -----------------------------------------------------------------------------------------------


def test_compiled_graphs_are_kept_and_answer_the_same(tmp_path):
    heard: list[str] = []
    with load(tmp_path, progress=heard.append) as compiled:
        wanted = answers(compiled)
    assert any("building" in text for text in heard)
    kept = {path.name for path in tmp_path.glob("*.engine")}
    heard.clear()
    with load(tmp_path, progress=heard.append) as again:
        assert_same(answers(again), wanted, 1e-7)
    assert not any("building" in text for text in heard)
    assert {path.name for path in tmp_path.glob("*.engine")} == kept
    with load_openvino(MODEL, size="192x320", threads=2, device="cpu", cache=tmp_path, progress=heard.append):
        assert any("building" in text for text in heard), "another number of threads is another engine"


@pytest.mark.parametrize("damage", ["cut", "of another library"])
def test_what_cannot_be_read_back_is_compiled_again(cache, damage, tmp_path):
    load(tmp_path).close()
    (engine,) = tmp_path.glob("*encode_image*.engine")
    content = engine.read_bytes()[:100] if damage == "cut" else b"no model of OpenVINO's"
    engine.write_bytes(content)
    if damage == "of another library":
        note = engine.with_suffix(".json")
        facts = json.loads(note.read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}
        note.write_text(json.dumps(facts))
    with load(tmp_path) as runtime:
        assert runtime.describe()["replaced by onnxruntime"] == "nothing"
    assert len(engine.read_bytes()) > 1e6


# --- the gate ----------------------------------------------------------------------------------------------


def test_a_graph_that_answers_wrongly_runs_on_onnx_runtime(cache, plain, monkeypatch, caplog):
    real = BoundModel.run

    def run(self, shared):
        out = real(self, shared)
        if contract.SCORE in out:
            out[contract.SCORE][:] += 0.1
        return out

    monkeypatch.setattr(BoundModel, "run", run)
    with caplog.at_level(logging.WARNING), load(cache) as runtime:
        assert_same(answers(runtime), answers(plain))
        replaced = runtime.describe()["replaced by onnxruntime"]
    assert replaced.startswith("segment_shared x1 (segment_shared_192x320 in fp32")
    assert "score: differs by 0.1000, allowed 0.005" in replaced and "score: differs" in caplog.text


def test_a_graph_that_cannot_be_compiled_runs_on_onnx_runtime(tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("no kernel")

    monkeypatch.setattr("uniref_model.runtime.openvino.OpenVinoBackend._read", fails)
    with load(tmp_path) as runtime:
        assert runtime.backend.engines == 0
        assert "RuntimeError: no kernel" in runtime.describe()["replaced by onnxruntime"]
    assert not list(tmp_path.glob("*.engine"))


@pytest.mark.skipif(not HAS_BF16, reason="this CPU does not compute in bf16")
def test_bf16_runs_what_passes_its_check_and_names_the_rest(cache, plain):
    with load(cache, precision="bf16") as runtime:
        found, facts = answers(runtime), runtime.describe()
        graphs = {name for name, _ in runtime._bound} - {contract.ENCODE_TEXT}
    assert facts["precision"] == "bf16" and facts["replaced by onnxruntime"] == "nothing"
    passed = {graph for graph in graphs if f"{graph} x" not in facts.get("not in bf16", "")}
    assert passed, "some graph runs in bf16"
    for one, other in zip(found, answers(plain), strict=True):
        assert abs(one.score - other.score) < 0.05


# --- what is refused ---------------------------------------------------------------------------------------


def test_what_is_not_here_is_refused_with_what_is(monkeypatch):
    with pytest.raises(RuntimeUnavailable, match=r"no device 'npu' here, it finds .*CPU"):
        load_openvino(MODEL, device="npu")
    has = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    lacks = next((kind for kind in ("fp16", "bf16") if kind.upper() not in has), None)
    if lacks is not None:
        with pytest.raises(RuntimeUnavailable, match=f"does not compute in {lacks}, it has .*fp32"):
            load_openvino(MODEL, device="cpu", precision=lacks)
    with pytest.raises(RuntimeUnavailable, match="no precision 'fp8', expected auto or one of fp32"):
        load_runtime(MODEL, runtime="openvino", precision="fp8")
    with pytest.raises(RuntimeUnavailable, match="ONNX Runtime computes in fp32, not in bf16"):
        load_runtime(MODEL, runtime="onnxruntime", precision="bf16")
    with pytest.raises(ModelFileError, match="no size '1x1'"):
        load_openvino(MODEL, size="1x1", device="cpu")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeUnavailable, match="pip install openvino"):
        load_openvino(MODEL)
    assert available_runtimes()["openvino"].startswith("unavailable: OpenVINO is not installed")


def test_doctor_names_its_version_and_devices(capsys):
    main(["doctor"])
    shown = "".join(capsys.readouterr().out.split())
    assert f"openvino│{openvino.__version__.partition('-')[0]}(" in shown and "CPU" in shown


# --- auto --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "name"), [(0.7, "openvino"), (0.99, "onnxruntime"), (1.4, "onnxruntime")])
def test_auto_takes_it_where_it_is_faster(part, name, cache, monkeypatch):
    monkeypatch.setenv("UNIREF_ENGINES", str(cache))
    monkeypatch.setattr(choose, "trial", lambda one, other: part)
    with load_runtime(MODEL, "192x320", threads=1, device="cpu") as runtime:
        assert runtime.name == name
        assert f"OpenVINO takes {part:.2f} of ONNX Runtime's time" in runtime.describe()["chosen"]


def test_auto_without_a_trial_is_always_the_same(cache, monkeypatch):
    monkeypatch.setenv("UNIREF_ENGINES", str(cache))
    monkeypatch.setattr(choose, "trial", lambda *_: pytest.fail("nothing to try"))
    with load_runtime(MODEL, "192x320", threads=1, device="cpu", timed=False) as runtime:
        assert runtime.name == "openvino" and "neither was timed" in runtime.describe()["chosen"]


def test_auto_leaves_it_where_a_graph_fails_its_check(cache, monkeypatch):
    monkeypatch.setenv("UNIREF_ENGINES", str(cache))
    monkeypatch.setattr(choose, "trial", lambda *_: pytest.fail("nothing to try"))
    monkeypatch.setattr("uniref_model.runtime.checked.compare", lambda *_: ["all wrong"])
    with load_runtime(MODEL, "192x320", threads=1, device="cpu") as runtime:
        assert runtime.name == "onnxruntime"
        assert "OpenVINO cannot run all graphs: encode_image x1" in runtime.describe()["chosen"]


def test_a_precision_that_only_it_has_is_not_given_up_in_silence(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIREF_ENGINES", str(tmp_path))
    monkeypatch.setattr("uniref_model.runtime.openvino.OpenVinoBackend._read", lambda *_: [][0])
    with pytest.raises(RuntimeUnavailable, match=r"no runtime works on the device 'cpu' here in (fp|bf)16: "):
        load_runtime(MODEL, "192x320", threads=1, device="cpu", precision="bf16" if HAS_BF16 else "fp16")


def test_a_trial_says_what_part_of_the_time_one_takes():
    class Slow(FakeColourRuntime):
        def segment(self, frame, objects):
            time.sleep(0.02)
            return super().segment(frame, objects)

    assert choose.trial(Slow(), FakeColourRuntime(), 3) > 1.5
    assert choose.trial(FakeColourRuntime(), Slow(), 3) < 0.67
