"""Benchmarks of videos whose objects a mask gives, on tiny data sets in the published layouts."""

from __future__ import annotations

import json
import math
from pathlib import Path

import evaluation_data as data
import numpy as np
import pytest
from evaluation_data import WIDTH_1, WIDTH_2, run, shifted_iou
from PIL import Image

from uniref_model.datasets import evaluation as datasets
from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.pngs import read_labels
from uniref_model.label_pngs import davis_palette, write_labels

# ---- DAVIS 2017 ----


def test_davis_perfect_shifted_and_empty(tmp_path):
    root = data.make_davis(tmp_path / "davis")
    scores = run("davis17", root, tmp_path / "perfect", data.FakePredictor())["scores"]
    assert scores == {"J&F": 1.0, "J": 1.0, "F": 1.0}
    result = run("davis17", root, tmp_path / "shifted", data.FakePredictor(shift={1: 1}))
    assert result["by_object"]["bear/1"]["J"] == pytest.approx(shifted_iou(WIDTH_1, 1), abs=1e-4)
    assert (
        result["by_object"]["bear/1"]["F"] == 1
    )  # one pixel is within the tolerance of a picture of this size
    assert result["scores"]["J"] == pytest.approx((shifted_iou(WIDTH_1, 1) + 1) / 2, abs=1e-4)
    nothing = {(f"{i:05d}", obj) for i in range(5) for obj in (1, 2)}
    scores = run("davis17", root, tmp_path / "empty", data.FakePredictor(empty=nothing))["scores"]
    assert scores == {"J&F": 0.0, "J": 0.0, "F": 0.0}


def test_davis_leaves_out_the_first_and_the_last_frame(tmp_path):
    root = data.make_davis(tmp_path / "davis")
    ends = data.FakePredictor(empty={("00000", 1), ("00004", 1)})
    assert run("davis17", root, tmp_path / "ends", ends)["scores"]["J"] == 1
    middle = data.FakePredictor(empty={("00002", 1), ("00002", 2)})
    assert run("davis17", root, tmp_path / "middle", middle)["scores"]["J"] == pytest.approx(2 / 3, abs=1e-4)


def test_davis_submission_files(tmp_path):
    root = data.make_davis(tmp_path / "davis", ("bear", "car"))
    odd_palette = davis_palette()
    odd_palette[3:6] = [1, 2, 3]
    first = root / "Annotations" / "480p" / "bear" / "00000.png"
    data.write_annotation(first, read_labels(first), odd_palette)
    run("davis17", root, tmp_path / "out", data.FakePredictor())
    folder = tmp_path / "out" / "predictions"
    files = sorted(str(p.relative_to(folder)) for p in (tmp_path / "out").rglob("*.png"))
    assert files == [f"{video}/{i:05d}.png" for video in ("bear", "car") for i in range(5)]
    with Image.open(folder / "bear" / "00003.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[:9] == odd_palette[:9]
        assert np.array_equal(np.array(image), data.labels_at(3, (1, 2)))


def test_davis_missing_files_are_named(tmp_path):
    root = data.make_davis(tmp_path / "davis")
    (root / "Annotations" / "480p" / "bear" / "00000.png").unlink()
    with pytest.raises(DatasetError, match=r"missing file .*bear/00000\.png"):
        datasets.Davis(root).video("bear")
    for path in (root / "JPEGImages" / "480p" / "bear").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"no frames in .*bear"):
        datasets.Davis(root).video("bear")
    with pytest.raises(DatasetError, match=r"test-dev\.txt: expected the list of videos"):
        datasets.Davis(root, "test-dev")


# ---- YouTube-VOS, MOSE, LVOS ----


def test_youtube_vos_gives_each_object_in_its_first_frame_only(tmp_path):
    video = datasets.YoutubeVos(data.make_youtube_vos(tmp_path, published=True)).video("v1")
    assert [(item.id, item.first_frame) for item in video.objects] == [(1, "00000"), (2, "00010")]
    assert {stem: sorted(video.given(stem)) for stem in video.frames} == {
        "00000": [1], "00005": [], "00010": [2], "00015": [], "00020": [],
    }  # fmt: skip
    assert np.array_equal(video.given("00010")[2], data.labels_at(2, (1, 2)) == 2)


def test_youtube_vos_g_over_seen_and_unseen(tmp_path):
    root = data.make_youtube_vos(tmp_path / "yt", "train", published=True)
    scores = run("ytbvos18", root, tmp_path / "out", data.FakePredictor(shift={2: 1}), split="train")[
        "scores"
    ]
    expected = shifted_iou(WIDTH_2, 1)
    assert scores["J_seen"] == scores["F_seen"] == scores["F_unseen"] == 1
    assert scores["J_unseen"] == pytest.approx(expected, abs=1e-4)
    assert scores["G"] == pytest.approx((3 + expected) / 4, abs=1e-4)


def test_youtube_vos_does_not_score_the_frame_that_gave_the_mask(tmp_path):
    root = data.make_youtube_vos(tmp_path / "yt", "train", published=True)
    fake = data.FakePredictor(empty={("00000", 1), ("00010", 2)})
    assert run("ytbvos19", root, tmp_path / "out", fake, split="train")["scores"]["G"] == 1


def test_youtube_vos_valid_writes_a_submission_and_no_score(tmp_path):
    root = data.make_youtube_vos(tmp_path / "yt")
    result = run("ytbvos18", root, tmp_path / "out", data.FakePredictor())
    assert result["scores"] == {}
    folder = Path(result["submission"])
    assert folder.name == "Annotations"
    assert sorted(p.name for p in (folder / "v1").iterdir()) == [f"{5 * i:05d}.png" for i in range(5)]
    assert set(np.unique(read_labels(folder / "v1" / "00005.png"))) == {0, 1}
    assert set(np.unique(read_labels(folder / "v1" / "00015.png"))) == {0, 1, 2}


def test_youtube_vos_object_without_a_mask(tmp_path):
    root = data.make_youtube_vos(tmp_path)
    (root / "valid" / "Annotations" / "v1" / "00010.png").unlink()
    with pytest.raises(DatasetError, match="object 2 is in the meta file, but no mask"):
        datasets.YoutubeVos(root).video("v1")
    with pytest.raises(DatasetError, match=r"missing file .*test/meta\.json"):
        datasets.YoutubeVos(root, "test")


def test_mose_lists_its_objects_without_categories(tmp_path):
    root = data.make_youtube_vos(tmp_path / "mose", published=True)
    (root / "valid" / "meta.json").unlink()
    data.write_json(root / "valid" / "meta_valid.json", {"videos": {"v1": {"objects": ["1", "2"]}}})
    result = run("mose", root, tmp_path / "out", data.FakePredictor())
    assert result["scores"] == {"J&F": 1.0, "J": 1.0, "F": 1.0}
    assert (tmp_path / "out" / "predictions" / "v1" / "00000.png").is_file()


def test_lvos_mean_and_stability(tmp_path):
    root = data.make_lvos(tmp_path / "lvos")
    result = run("lvos", root, tmp_path / "out", data.FakePredictor(empty={("00000011", 1)}))
    # four frames (the range leaves out its end), one of them missed: J&F is 1, 1, 0, 1
    assert result["scores"]["J&F"] == 0.75
    assert result["scores"]["V"] == pytest.approx(math.sqrt((3 * 0.25**2 + 0.75**2) / 4), abs=1e-4)
    last = data.FakePredictor(empty={("00000021", 1)})
    assert run("lvos", root, tmp_path / "last", last)["scores"]["J&F"] == 1


def test_lvos_counts_a_frame_outside_the_range_as_missed(tmp_path):
    root = data.make_lvos(tmp_path / "lvos", frame_nums=5)
    assert run("lvos", root, tmp_path / "out", data.FakePredictor())["scores"]["J&F"] == 0.8


def test_lvos_averages_seen_and_unseen_videos(tmp_path):
    root = data.make_lvos(tmp_path / "lvos")
    meta = json.loads((root / "valid" / "valid_meta.json").read_text())
    meta["videos"]["v2"] = meta["videos"]["v3"] = meta["videos"]["v1"]
    data.write_json(root / "valid" / "valid_meta.json", meta)
    for kind in ("JPEGImages", "Annotations"):
        for video in ("v2", "v3"):
            (root / "valid" / kind / video).symlink_to(root / "valid" / kind / "v1")
    (root / "valid" / "unseen_videos.txt").write_text("v3\n")
    run("lvos", root, tmp_path / "out", data.FakePredictor())
    for path in (tmp_path / "out" / "predictions" / "v3").iterdir():
        write_labels(path, np.zeros((data.HEIGHT, data.WIDTH), np.uint8), davis_palette())
    scores = run("lvos", root, tmp_path / "out", data.FakePredictor())["scores"]
    assert scores["J&F"] == 0.5  # the mean of seen (1, 1) and unseen (0), not of three videos


def test_lvos_missing_mask(tmp_path):
    root = data.make_lvos(tmp_path)
    (root / "valid" / "Annotations" / "v1" / "00000006.png").unlink()
    with pytest.raises(DatasetError, match=r"missing file .*00000006\.png"):
        datasets.Lvos(root).video("v1")
