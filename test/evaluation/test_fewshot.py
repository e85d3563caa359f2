"""`uniref eval fewshot` in FSS-1000's published layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fake_runtime import COLOURS, GREY, FakeColourRuntime
from PIL import Image
from typer.testing import CliRunner

from uniref_model.commands import eval as eval_commands
from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.evaluation.fss1000 import Fss1000
from uniref_model.errors import UniRefError
from uniref_model.evaluation import fewshot

HEIGHT, WIDTH = 128, 224


def write_example(folder: Path, name: str, colour: str, x: int, *, mode: str = "RGB") -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[30:80, x : x + 60] = True
    image = np.where(mask[..., None], COLOURS[colour], GREY).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / f"{name}.jpg", quality=95)
    Image.fromarray(255 * mask.astype(np.uint8)).convert(mode).save(folder / f"{name}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for colour in ("red", "blue"):
        for number in range(1, 4):
            mode = "RGB" if colour == "red" else "L"
            write_example(tmp_path / "fss" / colour, str(number), colour, 20 * number, mode=mode)
    return tmp_path / "fss"


def test_a_runtime_that_sees_colours_finds_the_class(root):
    result = fewshot.run_fewshot(FakeColourRuntime(), Fss1000(root))
    assert (result["classes"], result["queries"]) == (2, 6)
    assert result["mIoU"] > 0.9 and result["FB-IoU"] > 0.9
    assert result["right"] == result["answered"] == 1.0
    assert set(result["by_class"]) == {"red", "blue"}


def test_a_class_of_two_colours_is_half_found(root):
    write_example(root / "red", "3", "green", 100)
    result = fewshot.run_fewshot(FakeColourRuntime(), Fss1000(root))
    assert result["by_class"]["blue"] > 0.9 > result["by_class"]["red"]


def test_iou_is_pooled_within_a_class_and_averaged_over_classes(root, monkeypatch):
    pixels = iter([(1, 2), (0, 8), (9, 10), (1, 1), (1, 1), (1, 1)])
    monkeypatch.setattr(
        fewshot, "_ask", lambda *_: (0.0, np.array([(1, 1), next(pixels)]))
    )  # blue comes first
    result = fewshot.run_fewshot(FakeColourRuntime(), Fss1000(root))
    assert result["by_class"] == {"blue": 0.5, "red": 1.0} and result["mIoU"] == 0.75
    assert result["FB-IoU"] == pytest.approx((1 + 13 / 23) / 2, abs=1e-4)
    assert result["right"] == pytest.approx(4 / 6, abs=1e-4) and result["answered"] == 0


def test_a_query_is_never_its_own_support(root):
    for name, examples in Fss1000(root).classes.items():
        pairs = fewshot._pairs(name, examples)
        assert [query for query, _ in pairs] == examples
        assert all(query is not support for query, support in pairs)
        assert pairs == fewshot._pairs(name, examples)


def test_a_list_chooses_the_classes(root, tmp_path):
    listed = tmp_path / "test.txt"
    listed.write_text("red\n\n")
    assert list(Fss1000(root, listed).classes) == ["red"]
    listed.write_text("../fss/red\n")
    with pytest.raises(DatasetError, match="the class"):
        Fss1000(root, listed)
    listed.write_text("\n")
    with pytest.raises(DatasetError, match="is empty"):
        Fss1000(root, listed)


def test_bad_folders_are_named(root, tmp_path):
    with pytest.raises(DatasetError, match="no classes in"):
        Fss1000(tmp_path / "none")
    (root / "red" / "2.png").unlink()
    with pytest.raises(DatasetError, match=r"missing file .*red/2\.png"):
        Fss1000(root)
    for name in ("2.jpg", "3.jpg"):
        (root / "red" / name).unlink()
    with pytest.raises(DatasetError, match="1 pictures, expected at least 2"):
        Fss1000(root)


def test_bad_masks_are_named(root):
    path = root / "red" / "1.png"
    for image, reason in (
        (Image.new("L", (WIDTH, HEIGHT)), "is empty"),
        (Image.new("L", (8, 8), 255), r"\(8, 8\) pixels"),
    ):
        image.save(path)
        with pytest.raises(DatasetError, match=rf"red/1\.png.*{reason}"):
            fewshot.run_fewshot(FakeColourRuntime(), Fss1000(root))


def test_the_command_writes_what_it_prints(root, tmp_path, monkeypatch):
    monkeypatch.setattr("uniref_model.runtime.load_runtime", lambda *_, **__: FakeColourRuntime())
    out = tmp_path / "out"
    done = CliRunner().invoke(eval_commands.app, ["fewshot", str(root), "--out", str(out), "--limit", "1"])
    assert done.exit_code == 0, done.output
    result = json.loads((out / "fewshot.json").read_text())
    assert result["classes"] == 1 and result["limit"] == 1 and result["mIoU"] > 0.9
    assert "mIoU" in done.output
    missing = CliRunner().invoke(eval_commands.app, ["fewshot", str(tmp_path / "none")])
    assert isinstance(missing.exception, UniRefError)
