"""Our network against the authors': every tensor from input to mask, on made-up weights
(test/golden/README.md).

`pytest test/network/test_golden.py --golden DIR` runs the case files of another folder too. The float64 runs
are slow and need --slow.
"""

# ruff: noqa: E402 (imports follow the check that their packages are installed)
from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
import pytest

for module in ("torch", "timm", "transformers", "safetensors"):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"the network needs {module} (extra: train)", allow_module_level=True)

import golden_port
import torch
from golden_reader import Golden

TOLERANCE = 1e-4  # of a tensor's abs-max; float32 against float64 is at most 1e-5
PIXELS = 5e-4  # share of a label map's pixels that rounding may flip
# refdavis_vl: one pixel at p = 0.5 falls either way and is fed back through the reference
PIXELS_FED_BACK = {"refdavis_vl": 2e-3}
FED_BACK = 1e-2  # the tolerance of the calls after such a pixel
NOT_COMPARED = {"text.ids", "text.attention_mask"}  # inputs


def case_files(config) -> list:
    folders = [golden_port.DATA, *config.getoption("--golden")]
    files = [path for folder in folders for path in sorted(folder.glob("*_*.npz"))]
    return sorted(
        files, key=lambda path: path.stem.split("_")[1]
    )  # by backbone: making the weights takes longest


def pytest_generate_tests(metafunc):
    if "double" in metafunc.fixturenames:
        slow = pytest.param(True, id="float64", marks=pytest.mark.slow)
        metafunc.parametrize("double", [pytest.param(False, id="float32"), slow])
    if "golden" in metafunc.fixturenames:
        files = case_files(metafunc.config)
        metafunc.parametrize("golden", files, ids=[path.stem for path in files], indirect=True)


@pytest.fixture
def golden(request) -> Golden:
    return Golden(request.param)


def test_every_tensor_and_label_map(golden: Golden, double: bool, golden_table):
    measured = Measured()
    try:
        if "in.image" in golden:
            check_image(golden, golden_port.run_image_case(golden, double), measured)
        else:
            check_video(golden, double, measured)
    finally:  # a failure's figures are the ones to look at
        golden_table(golden.path.stem, "float64" if double else "float32", measured.row())


@dataclass
class Measured:
    """What `make test` prints of a case: its largest error (over the tensor's abs-max), and where."""

    tensors: int = 0
    largest: float = 0.0
    where: str = ""
    pixels: int = 0  # of label maps that differ
    fed_back: float = 0.0  # largest error of calls after such a pixel

    def add(self, name: str, error: float) -> None:
        self.tensors += 1
        if error >= self.largest:
            self.largest, self.where = error, name

    def row(self) -> tuple[str, ...]:
        after = f", {self.fed_back:.1e} in calls after one" if self.fed_back else ""
        return str(self.tensors), f"{self.largest:.1e}", self.where, f"{self.pixels}{after}"


def check_image(golden: Golden, found: dict[str, np.ndarray], measured: Measured) -> None:
    names = [name for name in golden.names() if not name.startswith("in.") or name == "in.pad_mask"]
    names = [name for name in names if name not in NOT_COMPARED]
    assert set(names) <= set(found), sorted(set(names) - set(found))
    wrong = {}
    for name in names:
        if name == "two_stage.topk_index":
            wrong |= wrong_ranks(golden, found)
        elif name in ("final.mask", "grounding.mask"):
            different = golden.whole(name) != found[name]
            measured.pixels += int(different.sum())
            wrong |= {name: float(different.mean())} if different.mean() > PIXELS else {}
        else:
            difference = golden.difference(name, found[name])
            measured.add(name, difference)
            wrong |= {name: difference} if difference > TOLERANCE else {}
    assert not wrong, f"{len(wrong)} of {len(names)} tensors differ: {wrong}"


def wrong_ranks(golden: Golden, found: dict[str, np.ndarray]) -> dict[str, int]:
    """Tokens that are padding or have no valid proposal tie exactly, so only the others' ranks are
    defined."""
    index = golden.whole("two_stage.topk_index")[0].astype(int)
    finite = np.isfinite(golden.whole("two_stage.coord_unact")[0]).all(-1)[index]
    different = int((index != found["two_stage.topk_index"][0])[finite].sum())
    return {"two_stage.topk_index": different} if different else {}


def check_video(golden: Golden, double: bool, measured: Measured) -> None:
    for tag, (labels, calls) in golden_port.run_video_case(golden, double).items():
        different = labels != golden.whole(f"final64.{tag}" if double else f"final.{tag}")
        measured.pixels += int(different.sum())
        if double:
            assert not different.any(), tag
        else:
            share = different.mean((1, 2))
            assert share.max() <= PIXELS_FED_BACK.get(tag, PIXELS), (tag, share)
        check_calls(golden, tag, calls, measured)


def check_calls(golden: Golden, tag: str, calls: golden_port.CallRecorder, measured: Measured) -> None:
    stored = [name for name in golden.names() if name.startswith(f"{tag}.call") and name.endswith(".box")]
    assert len(calls.calls) == len(stored), tag
    fed_back = first_other_template(golden, tag, calls)
    for index, call in enumerate(calls.calls):
        limit = TOLERANCE if index < fed_back else FED_BACK
        for name, value in call.items():
            key = f"{tag}.call{index:02d}.{name}"
            difference = golden.difference(key, value)
            if index < fed_back:
                measured.add(key, difference)
            else:
                measured.fed_back = max(measured.fed_back, difference)
            assert difference <= limit, key


def first_other_template(golden: Golden, tag: str, calls: golden_port.CallRecorder) -> float:
    """Calls made before the first reference whose mask is a few pixels off; inf if there is none."""
    stored = [
        name for name in golden.names() if name.startswith(f"{tag}.template") and name.endswith(".mask_area")
    ]
    assert len(calls.templates) == len(stored), tag
    first = float("inf")
    for index, template in enumerate(calls.templates):
        key = f"{tag}.template{index:02d}."
        assert template["after_call"] == golden.whole(key + "after_call"), key
        difference = abs(template["mask_area"] - float(golden.whole(key + "mask_area")))
        if difference:
            height, width = golden.whole("in.images").shape[1:3]
            assert difference <= max(PIXELS_FED_BACK.values()) * height * width, key
            first = min(first, template["after_call"])
    return first


@pytest.mark.slow
def test_a_wrong_network_is_noticed():
    """Swap two thirds of the modulation (shift and gate): the first tensor to differ is the modulation's
    output."""
    golden = Golden(golden_port.DATA / "c_r50.npz")
    model = golden_port.model_for(golden, double=False)
    modulation = model.fusion.modulation
    right = modulation.weight.data, modulation.bias.data
    try:
        for parameter in (modulation.weight, modulation.bias):
            shift, scale, gate = parameter.data.chunk(3)
            parameter.data = torch.cat((gate, scale, shift))
        found = golden_port.run_image_case(golden)
    finally:
        modulation.weight.data, modulation.bias.data = right
    assert golden.difference("fuse.l0.L.attn_out", found["fuse.l0.L.attn_out"]) <= TOLERANCE
    assert golden.difference("fuse.l0.L.shift_scale_gate", found["fuse.l0.L.shift_scale_gate"]) > TOLERANCE
    with pytest.raises(AssertionError, match="tensors differ"):
        check_image(golden, found, Measured())
