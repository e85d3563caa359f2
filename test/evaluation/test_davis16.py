"""DAVIS 2016 in its published layout: one object, by mask, click and words."""

from __future__ import annotations

from pathlib import Path

import evaluation_data as data
import numpy as np
import pytest
from fake_runtime import FakeColourRuntime
from PIL import Image

from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.evaluation import Davis16
from uniref_model.evaluation.predictors import TrackerPredictor, load_authors_predictor
from uniref_model.evaluation.presets import load_preset
from uniref_model.evaluation.runner import run_benchmark
from uniref_model.tracking import Tracker

WIDTH = data.SIDES[1][1]


def run(name: str, root: Path, out: Path, predictor=None) -> dict:
    return run_benchmark(load_preset(name), root, predictor or data.FakePredictor(), out)


def test_perfect_shifted_and_empty(tmp_path):
    root = data.make_davis16(tmp_path / "davis", ("bear", "car"))
    assert run("davis16", root, tmp_path / "perfect")["scores"] == {"J&F": 1.0, "J": 1.0, "F": 1.0}
    shifted = run("davis16", root, tmp_path / "shifted", data.FakePredictor(shift={1: 2}))
    assert shifted["by_object"]["car/1"]["J"] == pytest.approx((WIDTH - 2) / (WIDTH + 2), abs=1e-4)
    nothing = {(f"{i:05d}", 1) for i in range(5)}
    empty = run("davis16", root, tmp_path / "empty", data.FakePredictor(empty=nothing))
    assert empty["scores"] == {"J&F": 0.0, "J": 0.0, "F": 0.0}


def test_the_first_and_the_last_frame_are_left_out(tmp_path):
    root = data.make_davis16(tmp_path / "davis")
    ends = data.FakePredictor(empty={("00000", 1), ("00004", 1)})
    assert run("davis16", root, tmp_path / "ends", ends)["scores"]["J"] == 1
    middle = data.FakePredictor(empty={("00002", 1)})
    assert run("davis16", root, tmp_path / "middle", middle)["scores"]["J"] == pytest.approx(2 / 3, abs=1e-4)


def test_predictions_are_black_and_white(tmp_path):
    result = run("davis16", data.make_davis16(tmp_path / "davis"), tmp_path / "out")
    files = sorted(Path(result["submission"]).rglob("*.png"))
    assert [str(path.relative_to(result["submission"])) for path in files] == [
        f"bear/{i:05d}.png" for i in range(5)
    ]
    with Image.open(files[3]) as image:
        assert image.mode == "L" and np.array_equal(np.array(image), 255 * data.labels_at(3, (1,)))


def test_whatever_is_marked_is_the_object(tmp_path):
    video = Davis16(data.make_davis16(tmp_path / "davis")).video("bear")
    path = video.annotations["00000"]
    mask = data.labels_at(0, (1,)) > 0
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    ones = Image.fromarray(mask.astype(np.uint8))
    palette = ones.copy()
    palette.putpalette([0, 0, 0, 0, 0, 0])  # both colours black: the indices count
    opaque = grey.convert("RGBA")
    for image in (grey, ones, palette, grey.convert("1"), grey.convert("RGB"), grey.convert("LA"), opaque):
        image.save(path)
        assert np.array_equal(video.labels("00000"), mask), image.mode


def test_objects_of_several_labels_are_one(tmp_path):
    root = data.make_davis16(tmp_path / "davis")
    path = root / "Annotations" / "480p" / "bear" / "00000.png"
    data.write_annotation(path, data.labels_at(0, (1, 2)))
    video = Davis16(root).video("bear")
    assert set(video.given("00000")) == {1}
    assert np.array_equal(video.given("00000")[1], data.labels_at(0, (1, 2)) > 0)


@pytest.mark.parametrize("name", ["davis16", "davis16_click"])
def test_the_tracker_follows_a_mask_and_a_click(tmp_path, name):
    root = data.make_davis16(tmp_path / "davis")
    predictor = TrackerPredictor(FakeColourRuntime(), load_preset(name))
    assert run(name, root, tmp_path / "out", predictor)["scores"]["J"] > 0.8


def test_a_click_shows_no_mask(tmp_path, monkeypatch):
    root = data.make_davis16(tmp_path / "davis", frames=3)
    clicked = []
    add_points = Tracker.add_points

    def noted(self, points, *arguments, **options):
        clicked.append(list(points))
        return add_points(self, points, *arguments, **options)

    monkeypatch.setattr(Tracker, "add_points", noted)
    monkeypatch.setattr(Tracker, "add_mask", lambda *_, **__: pytest.fail("a mask was given"))
    tracker = TrackerPredictor(FakeColourRuntime(), load_preset("davis16_click"))
    assert len(list(tracker.vos(Davis16(root).video("bear")))) == 3
    ((x, y),) = clicked[0]
    assert len(clicked) == 1 and data.labels_at(0, (1,))[y, x]


def test_words_come_from_the_text_file(tmp_path):
    root = data.make_davis16(tmp_path / "davis", ("bear", "car"))
    texts = root / "davis_text_annotations" / "Davis16_annot1.txt"
    texts.parent.mkdir()
    texts.write_bytes(
        'bear "object 1"\ncar 1 "object 1"\ncar "object 2"\nother "caf\u00e9"\n'.encode("latin-1")
    )
    result = run("davis16_words", root, tmp_path / "out")
    assert {name: item["J"] for name, item in result["by_object"].items()} == {
        "bear/0": 1.0, "car/0": 1.0, "car/1": 0.0
    }  # fmt: skip
    assert (Path(result["submission"]) / "car" / "1" / "00004.png").is_file()
    texts.write_text('bear "object 1"\n')
    with pytest.raises(DatasetError, match="no phrase for video car"):
        run("davis16_words", root, tmp_path / "again")
    texts.write_text("bear\n")
    with pytest.raises(DatasetError, match="line 1: expected <video>"):
        run("davis16_words", root, tmp_path / "again")
    texts.unlink()
    with pytest.raises(DatasetError, match=r"missing file .*Davis16_annot1\.txt"):
        run("davis16_words", root, tmp_path / "again")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("/JPEGImages/480p/bear/00000.jpg", "expected a picture and its mask, found 1"),
        ("/JPEGImages/../../x/bear/0.jpg /Annotations/480p/bear/0.png", "the path .*expected a path within"),
        ("//etc/bear/0.jpg /Annotations/480p/bear/0.png", "the path .*expected a path within"),
        ("0.jpg 0.png", "the video"),
        ("/JPEGImages/480p/bear/9.jpg /Annotations/480p/bear/9.png", r"missing file .*9\.jpg"),
    ],
)
def test_bad_lists_are_named(tmp_path, line, reason):
    root = data.make_davis16(tmp_path / "davis")
    (root / "ImageSets" / "480p" / "val.txt").write_text(line + "\n")
    with pytest.raises(DatasetError, match=reason):
        run("davis16", root, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.png"))


def test_an_empty_first_mask_is_named(tmp_path):
    root = data.make_davis16(tmp_path / "davis")
    path = root / "Annotations" / "480p" / "bear" / "00000.png"
    Image.fromarray(np.zeros((data.HEIGHT, data.WIDTH), np.uint8)).save(path)
    with pytest.raises(DatasetError, match=r"00000\.png shows no object"):
        run("davis16", root, tmp_path / "out")


def test_the_authors_protocol_takes_no_click(tmp_path):
    with pytest.raises(ValueError, match="given masks, not a click"):
        load_authors_predictor(load_preset("davis16_click"), tmp_path / "none.safetensors")
