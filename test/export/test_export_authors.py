"""The authors' models, with made-up weights, from `uniref export` to TensorRT for RTX. Minutes each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the exporter needs PyTorch")
onnx = pytest.importorskip("onnx", reason="the exporter needs onnx")
pytest.importorskip("onnxscript", reason="torch's exporter needs onnxscript")

from golden_port import made_up_model  # noqa: E402

from uniref_model.cli import main  # noqa: E402
from uniref_model.errors import RuntimeUnavailable  # noqa: E402
from uniref_model.export.operators import unsupported  # noqa: E402
from uniref_model.network.loading import save_weights  # noqa: E402
from uniref_model.runtime.contract import ENGINE_GRAPHS  # noqa: E402
from uniref_model.runtime.files import graph_file  # noqa: E402
from uniref_model.runtime.trt.build import build_engine, fused_attentions  # noqa: E402
from uniref_model.runtime.trt.library import Library, load_library  # noqa: E402

pytestmark = pytest.mark.slow


def _library() -> Library | None:
    try:
        return load_library()
    except RuntimeUnavailable:
        return None


@pytest.fixture(scope="module", params=[("r50", "480x864"), ("swinl", "192x320")], ids=["r50", "swinl"])
def exported(request, tmp_path_factory) -> tuple[str, Path, tuple[int, int]]:
    """Exported as a user does it, which fails where a graph differs too much from PyTorch."""
    name, size = request.param
    folder = tmp_path_factory.mktemp(name)
    model = made_up_model(name, "bert-base", True, False)
    weights = {key: value for key, value in model.state_dict().items() if not key.startswith("text_encoder.")}
    save_weights(weights, model.config, folder / "weights.safetensors")
    made_up_model.cache_clear()
    del model, weights
    arguments = ["--model", str(folder / "weights.safetensors"), "--size", size, "--objects", "1,2"]
    assert main(["export", *arguments, "--out", str(folder / "graphs")]) == 0
    (folder / "weights.safetensors").unlink()
    return name, folder / "graphs", tuple(int(side) for side in size.split("x"))


def test_the_graphs_are_documented_and_say_that_frames_are_stretched(exported):
    _, folder, size = exported
    spec = json.loads((folder / "model.json").read_text())
    assert spec["resize"] == "stretch" and spec["mask_upsample"] == "by_task"
    assert spec["text"]["encoder"] is None  # the weights came without
    for graph in ENGINE_GRAPHS:
        path = folder / graph_file(graph, size, "fp16")
        assert unsupported(onnx.load(path, load_external_data=False)) == []


@pytest.mark.skipif(_library() is None, reason="no TensorRT library (pip install '.[tensorrt-rtx]')")
@pytest.mark.parametrize("graph", ENGINE_GRAPHS)
def test_float16_graphs_become_engines_with_fused_attention(exported, graph):
    _, folder, size = exported
    engine = build_engine(_library(), folder / graph_file(graph, size, "fp16"), 1)
    print(graph, size, f"{len(engine) / 1e6:.1f} MB", fused_attentions(engine), "fused attentions")
    if graph == "segment":
        assert fused_attentions(engine) >= 8  # six decoder layers, and masks on the two fine levels
