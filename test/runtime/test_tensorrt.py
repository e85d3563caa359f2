"""The TensorRT runtime on a double of TensorRT (`tensorrt_double`)."""

from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tensorrt_double import HALF, MODEL, TYPES, DoubleDevice, DoubleTrt, ask, load

from uniref_model.errors import ModelFileError, RuntimeUnavailable
from uniref_model.runtime import available_runtimes, load_runtime
from uniref_model.runtime.trt.library import Library

needs_model = pytest.mark.skipif(
    not (MODEL / "model.json").is_file(), reason=f"no exported model in {MODEL} (set UNIREF_TEST_MODEL)"
)


def _gpu() -> object | None:
    from uniref_model.runtime.trt.device import CudaDevice

    try:
        return CudaDevice()
    except RuntimeUnavailable:
        return None


@pytest.fixture
def double(monkeypatch) -> DoubleTrt:
    trt = DoubleTrt(DoubleDevice())
    monkeypatch.setattr("uniref_model.runtime.trt.backend.build_engine", trt.build)
    return trt


@needs_model
def test_engines_answer_as_onnx_runtime_and_are_kept(double, tmp_path):
    with load_runtime(MODEL, "192x320", "onnxruntime", threads=1) as plain:
        expected = ask(plain)
    with load(double, tmp_path) as runtime:
        runtime.prepare()
        for wanted, found in zip(expected, ask(runtime), strict=True):
            np.testing.assert_allclose(found, wanted, atol=HALF)
        assert runtime.describe()["replaced by onnxruntime"] == "nothing"
        assert double.device.memory
    assert not double.device.memory and not double.device.host_arrays  # all freed
    assert double.device.stream is None and double.device.graphs == 0
    assert sorted(double.built) == [
        "encode_image x1", "encode_reference x1", "encode_reference x2", "segment x1", "segment x2",
    ]  # fmt: skip
    double.built.clear()
    with load(double, tmp_path) as runtime:
        ask(runtime)
    assert double.built == []


@needs_model
def test_frames_allocate_nothing_and_run_as_cuda_graphs(double, tmp_path):
    with load(double, tmp_path, buckets=(1,)) as runtime:
        runtime.prepare()
        ask(runtime)
        before = double.device.allocations, double.device.host_arrays
        launched, state = double.device.launches, runtime.state
        double.device.moved.clear()
        ask(runtime)  # three objects through the batch of one
        assert (double.device.allocations, double.device.host_arrays) == before
        assert double.device.launches - launched == 1 + 3 + 3
        assert runtime.state == state and state["object values"][0] == 3
        # neither features nor references cross the bus
        height, width = runtime.size
        image, mask, answer = 3 * height * width, 4 * height * width, height * width // 16 * 4
        words = 16 * 1024
        assert sum(double.device.moved) < image + 3 * (image + mask) + 3 * (answer + words)
        assert "without CUDA graph" not in runtime.describe()


@needs_model
def test_without_cuda_graphs_it_works_and_says_so(double, tmp_path, caplog):
    double.device.cannot_capture = True
    with load_runtime(MODEL, "192x320", "onnxruntime", threads=1) as plain:
        expected = ask(plain)
    with load(double, tmp_path, buckets=(1,)) as runtime:
        for wanted, found in zip(expected, ask(runtime), strict=True):
            np.testing.assert_allclose(found, wanted, atol=HALF)
        assert "CaptureUnsupported" in runtime.describe()["without CUDA graph"]
    assert double.device.launches == 0


@needs_model
def test_a_frame_never_waits_for_an_engine(double, tmp_path):
    """Batch sizes without engine are not built between frames: what there is runs more often."""
    with load(double, tmp_path) as runtime:
        ask(runtime)
        assert sorted(double.built) == ["encode_image x1", "encode_reference x1", "segment x1"]
        runtime.prepare([2])
        assert "segment x2" in double.built
    double.built.clear()
    with load(double, tmp_path) as runtime:  # kept ones are there from the start
        assert [bucket for _, bucket in runtime._chunks(3)] == [2, 1]
    assert double.built == []


@needs_model
@pytest.mark.parametrize("damage", ["truncate", "corrupt", "swap", "remove"])
def test_a_damaged_engine_on_disk_ends_with_a_working_tracker(double, tmp_path, damage):
    with load(double, tmp_path, buckets=(1,)) as runtime:
        expected = ask(runtime)
    (engine,) = tmp_path.glob("*segment*.engine")
    (other,) = tmp_path.glob("*encode_image*.engine")
    content = engine.read_bytes()
    double.built.clear()
    if damage == "truncate":
        engine.write_bytes(content[: len(content) // 2])
    elif damage == "corrupt":
        engine.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "swap":  # another engine, whole and with a note that agrees with it
        engine.write_bytes(other.read_bytes())
        engine.with_suffix(".json").write_bytes(other.with_suffix(".json").read_bytes())
    else:
        engine.unlink()
    with load(double, tmp_path, buckets=(1,)) as runtime:
        for wanted, found in zip(expected, ask(runtime), strict=True):
            np.testing.assert_array_equal(found, wanted)
        assert runtime.describe()["replaced by onnxruntime"] == "nothing"
    assert double.built == ["segment x1"]
    assert engine.read_bytes() == content


@pytest.fixture
def both_forms(tmp_path) -> Path:
    """The shipped model with a second form of `segment` (the same graph: the double tells them by name)."""
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns("*.png", "*.safetensors"))
    shutil.copyfile(folder / "segment_192x320.onnx", folder / "segment_192x320.gather.onnx")
    spec = json.loads((folder / "model.json").read_text())
    spec["engines"] = {"precision": "fp32", "attention": ["grid_sample", "gather"]}
    spec["sha256"]["segment_192x320.gather.onnx"] = spec["sha256"]["segment_192x320.onnx"]
    (folder / "model.json").write_text(json.dumps(spec))
    return folder


@needs_model
def test_the_gather_form_is_tried_when_grid_sample_is_wrong(double, tmp_path, both_forms, caplog):
    double.wrong = {"segment_192x320": 1.2}
    heard: list[str] = []
    with load(double, tmp_path / "engines", both_forms, buckets=(1,), progress=heard.append) as runtime:
        ask(runtime)
        facts = runtime.describe()
        assert facts["replaced by onnxruntime"] == "nothing" and runtime.backend.engines == 3
        assert "disagrees" in facts["by gather instead of grid_sample"]
    assert double.built.count("segment x1") == 2
    assert any("segment_192x320.gather" in text and "agrees" in text for text in heard)
    assert any("building" in text for text in heard)


@needs_model
def test_when_both_forms_are_wrong_onnx_runtime_takes_over(double, tmp_path, both_forms):
    double.wrong = {"segment_192x320": 1.2}
    double.refuses = {"segment_192x320.gather"}
    with load_runtime(MODEL, "192x320", "onnxruntime", threads=1) as plain:
        expected = ask(plain)
    with load(double, tmp_path / "engines", both_forms, buckets=(1,)) as runtime:
        for wanted, found in zip(expected, ask(runtime), strict=True):
            np.testing.assert_allclose(found, wanted, atol=HALF)
        reason = runtime.describe()["replaced by onnxruntime"]
        assert "segment_192x320.onnx: the engine" in reason and "segment_192x320.gather.onnx" in reason


@needs_model
@pytest.mark.parametrize("engines_work", [True, False])
def test_auto_takes_tensorrt_where_it_passes_and_says_why(double, tmp_path, monkeypatch, engines_work):
    monkeypatch.setenv("UNIREF_ENGINES", str(tmp_path))
    module = "uniref_model.runtime.trt.backend"
    monkeypatch.setattr(f"{module}.load_library", lambda: Library(double, "double", "1.0", None))
    monkeypatch.setattr(f"{module}.CudaDevice", double.device.open)
    if not engines_work:
        double.refuses = {"encode_image", "encode_reference", "segment"}
    heard: list[str] = []
    with load_runtime(MODEL, "192x320", threads=1, progress=heard.append) as runtime:
        assert (runtime.name == "tensorrt") is engines_work
        chosen = runtime.describe()["chosen"]
    assert ("engines agree" if engines_work else "refuses the engine") in chosen
    assert chosen in heard[-1]
    with load_runtime(MODEL, "192x320", threads=1, device="cpu") as runtime:
        assert runtime.name != "tensorrt" and "asked for" in runtime.describe()["chosen"]


@needs_model
@pytest.mark.skipif(_gpu() is not None, reason="there is a GPU")
def test_auto_without_a_gpu_says_what_is_missing():
    with load_runtime(MODEL, "192x320", threads=1) as runtime:
        assert runtime.name in ("openvino", "onnxruntime")
        assert "GPU" in runtime.describe()["chosen"] or "not installed" in runtime.describe()["chosen"]
    with pytest.raises(RuntimeUnavailable, match="no runtime works on a GPU here"):
        load_runtime(MODEL, "192x320", device="cuda")


@needs_model
@pytest.mark.parametrize("graph", ["encode_image", "encode_reference", "segment"])
def test_a_miscompiled_engine_is_replaced_and_said_so(double, tmp_path, graph, caplog):
    """Silently wrong engines are known; nothing wrong may reach the tracker."""
    double.wrong = {graph: 1.2}
    with load_runtime(MODEL, "192x320", "onnxruntime", threads=1) as plain:
        expected = ask(plain)
    with load(double, tmp_path) as runtime:
        for wanted, found in zip(expected, ask(runtime), strict=True):
            np.testing.assert_allclose(found, wanted, atol=HALF)
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


NO_ENGINES = [
    pytest.param(
        lambda double: setattr(double, "raises", AttributeError("no 'x' in this TensorRT")),
        id="AttributeError",
    ),
    pytest.param(lambda double: setattr(double, "raises", KeyError("BF16")), id="KeyError"),
    pytest.param(
        lambda double: setattr(double, "types", dict.fromkeys(TYPES, "BF16")), id="no such number type"
    ),
    pytest.param(lambda double: setattr(double.device, "host_array", None), id="TypeError inside the device"),
]


@needs_model
@pytest.mark.parametrize("breaks", NO_ENGINES)
def test_whatever_an_engine_fails_with_onnx_runtime_takes_its_place(double, tmp_path, breaks, caplog):
    with load_runtime(MODEL, "192x320", "onnxruntime", threads=1) as plain:
        expected = ask(plain)
    breaks(double)
    with load(double, tmp_path, buckets=(1,)) as runtime:
        for wanted, found in zip(expected, ask(runtime), strict=True):
            np.testing.assert_allclose(found, wanted, atol=HALF)
        assert (
            runtime.backend.engines == 0
            and "encode_image x1" in runtime.describe()["replaced by onnxruntime"]
        )
    assert not double.device.memory and not double.device.host_arrays and double.device.closed


@needs_model
@pytest.mark.parametrize("place", ["load_library", "CudaDevice", "EngineCache"])
def test_whatever_a_gpu_candidate_fails_with_auto_goes_on(double, tmp_path, monkeypatch, place, caplog):
    module = "uniref_model.runtime.trt.backend"
    monkeypatch.setattr(f"{module}.load_library", lambda: Library(double, "double", "1.0", None))
    monkeypatch.setattr(f"{module}.CudaDevice", double.device.open)
    monkeypatch.setattr(f"{module}.{place}", lambda *_: [][0])
    with load_runtime(MODEL, "192x320", threads=1) as runtime:
        assert runtime.name in ("openvino", "onnxruntime")
        assert "IndexError" in runtime.describe()["chosen"]
    assert "Traceback" in caplog.text
    with pytest.raises(RuntimeUnavailable, match=r"no runtime works on a GPU here.*IndexError"):
        load_runtime(MODEL, "192x320", device="cuda")
    assert "unavailable" in available_runtimes()["tensorrt"]


@needs_model
def test_a_start_that_fails_leaves_nothing_on_the_gpu(double, tmp_path):
    with pytest.raises(ModelFileError):
        load(double, tmp_path, tmp_path)
    assert double.device.closed and not double.device.memory


def test_an_upload_keeps_its_array_until_the_copy_is_done():
    """Queued copies from pageable memory read it when their turn comes."""
    from uniref_model.runtime.trt.device import CudaDevice

    calls: list[str] = []

    class Cuda:
        """The runtime's functions, as far as uploads go."""

        cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1)

        def cudaMemcpyAsync(self, *arguments):
            calls.append("copy")
            return (0,)

        def cudaStreamSynchronize(self, stream):
            return (0,)

        def cudaStreamDestroy(self, stream):
            calls.append("destroy")
            return (0,)

    device = CudaDevice.__new__(CudaDevice)
    device._cuda, device._read, device.stream = Cuda(), [], 1
    array = np.ones(3)
    alive = weakref.ref(array)
    device.upload(0, array)
    del array
    assert alive() is not None
    device.wait()
    assert alive() is None
    device.close()
    device.close()
    assert calls == ["copy", "destroy"]
