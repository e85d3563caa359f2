"""`uniref bench`: what it reports, the state it promises, and other orders of work with the same answers."""

from __future__ import annotations

import importlib.util
import json
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from uniref_model.cli import main
from uniref_model.errors import UniRefError
from uniref_model.export.undone import SAVINGS, Undone, undone
from uniref_model.profiling.compare import compare
from uniref_model.profiling.latency import flatness
from uniref_model.profiling.state import held_bytes, state_bytes
from uniref_model.runtime import load_runtime
from uniref_model.runtime.files import WEIGHTS
from uniref_model.scene import boxes
from uniref_model.tracking import Tracker, TrackerConfig

pytestmark = pytest.mark.skipif(
    not (WEIGHTS / "uniref_nano" / "model.json").is_file(), reason="the weights of uniref_nano are not there"
)


@pytest.fixture(scope="module")
def runtime():
    with load_runtime("uniref_nano", "192x320", "onnxruntime", threads=1) as loaded:
        yield loaded


def test_the_tracker_holds_the_state_that_bench_states_and_no_more(runtime):
    count = 3
    promised = state_bytes(runtime)
    config = TrackerConfig(max_objects=count, mask_threshold=0.0, language_threshold=0.0)
    tracker = Tracker(runtime, config)
    pictures, masks = boxes(count, (240, 320))
    for mask in masks:
        tracker.add_mask(mask, prompt="a box")
    held = []
    for index in range(12):
        tracker.step(pictures[index % 4])
        targets = tracker._snapshot()
        references = [part for target in targets for part in (target.first, target.previous)]
        words = sum(
            array.nbytes
            for item in (target.language for target in targets)
            for array in (item.words, item.word_mask, item.sentence)
        )
        held.append(held_bytes(references) + words)
    assert len(set(held[1:])) == 1  # the same in every frame
    shared = count * promised.object + promised.first_frame + promised.camera
    assert held[-1] == shared <= promised.total(count)


def test_flatness_compares_the_ends():
    table = {"frame": np.r_[np.full(50, 10.0), np.full(50, 11.0)], "memory": np.full(100, 200.0)}
    flat = flatness(table, 1000)
    assert (flat["frames_at_each_end"], flat["latency_ratio"], flat["memory_ratio"]) == (10, 1.1, 1.0)


def test_the_command_reports_steps_state_and_memory(tmp_path):
    out, plot = tmp_path / "a" / "bench.json", tmp_path / "bench.svg"
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    options = ["--size", "192x320", "--frames", "5", "--frame-size", "240x320", "--json", str(out)]
    assert main(["bench", "--objects", "1", *options, "--plot", str(plot)]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert set(row["ms"]["frame"]) == {"p50", "p95", "p99"} and row["warm_up"] > 0
    assert row["ms"]["network"]["p50"] <= row["ms"]["frame"]["p50"]
    assert row["state_bytes"]["object"] > 0 and row["memory_mb"]["peak"] > 50
    assert "svg" in plot.read_text()[:400]
    assert main(["bench", "--objects", "1", "--long", "20", *options, "--plot", str(plot)]) == 0
    assert json.loads(out.read_text())["rows"][0]["flatness"]["frames_at_each_end"] == 2


@pytest.mark.parametrize("without", [["batching"], ["attention"], ["backbone", "text"]])
def test_without_a_saving_the_answers_are_the_same(runtime, without):
    with undone(runtime, without) as other:
        for words in (False, True):
            found = compare(runtime, other, 2, frames=2, warm_up=0, words=words)
            assert found["worst_mask_iou"] > 0.999 and found["worst_score_difference"] < 1e-3


def test_what_is_undone_runs_on_the_same_library(tmp_path):
    pytest.importorskip("openvino", reason="OpenVINO is not installed (pip install openvino)")
    from uniref_model.runtime.openvino import load_openvino

    ours = load_openvino(size="192x320", threads=1, device="cpu", cache=tmp_path)
    with ours, undone(ours, ["attention", "batching"]) as other:
        assert (other.inner.name, other.inner.shared, other.buckets) == ("openvino", False, (1,))
        assert other.inner.backend.threads == 1
        assert compare(ours, other, 1, frames=1, warm_up=0)["worst_mask_iou"] > 0.999


def test_where_nothing_can_be_undone_that_is_said():
    elsewhere = SimpleNamespace(name="tensorrt", backend=object())
    refusal = pytest.raises(UniRefError, match="on tensorrt: only on onnxruntime, openvino and torch")
    with refusal, undone(elsewhere, ["backbone"]):
        pass


def test_a_prompt_is_encoded_again_only_where_that_saving_is_undone(runtime, monkeypatch):
    anew = Mock(wraps=runtime.encode_prompt.encode_anew)
    monkeypatch.setattr(runtime.encode_prompt, "encode_anew", anew)
    compare(runtime, Undone(runtime, ["text"]), 2, frames=2, warm_up=0, words=True)
    assert anew.call_count == 2 * 2  # two objects in two frames, of one side only
    compare(runtime, Undone(runtime, ["batching"]), 2, frames=1, warm_up=0, words=True)
    assert anew.call_count == 2 * 2


def test_an_unknown_saving_or_missing_weights_are_named(runtime, tmp_path):
    with pytest.raises(UniRefError, match=r"'sleep'.*backbone"), undone(runtime, ["sleep"]):
        pass


def test_the_authors_order_does_the_work_again_and_agrees():
    torch = pytest.importorskip("torch", reason="the network needs PyTorch")
    if importlib.util.find_spec("timm") is None:
        pytest.skip("the network needs timm")
    from uniref_model.network.config import ModelConfig
    from uniref_model.network.model import UniRef
    from uniref_model.runtime.pytorch import TorchRuntime

    torch.manual_seed(0)
    network = UniRef(ModelConfig.from_name("uniref_nano"), with_text=False).eval()
    ours = TorchRuntime(network, size=(64, 128))
    with undone(ours, SAVINGS) as theirs:
        assert isinstance(theirs, Undone) and theirs.inner.all_masks
        assert not theirs.inner._loaded().fusion.projects_ahead
        encoded = []
        backbone = theirs.inner._loaded().backbone
        backbone.register_forward_hook(lambda *_: encoded.append(1))
        found = compare(ours, theirs, 2, frames=2, warm_up=0)
    assert len(encoded) == 1 + 2 * 3  # the first frame, then once and once an object
    assert found["worst_mask_iou"] > 0.999


def test_the_host_alone_is_measured_without_a_network(tmp_path, capsys):
    options = [
        "--frames",
        "2",
        "--objects",
        "1,2",
        "--size",
        "192x320",
        "--json",
        str(tmp_path / "host.json"),
    ]
    assert main(["bench", "--host", *options]) == 0
    report = json.loads((tmp_path / "host.json").read_text())
    assert [(row["frame"], row["objects"]) for row in report["rows"]] == [
        (frame, count) for frame in ("480p", "720p", "1080p") for count in (1, 2)
    ]
    assert report["facts"]["runtime"] == "none" and "1080p" in capsys.readouterr().out
