"""Metrics, label images, presets, and how a benchmark is run, on tiny data sets."""

from __future__ import annotations

import json
import math

import evaluation_data as data
import numpy as np
import pytest
from evaluation_data import run
from PIL import Image

from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.pngs import read_labels
from uniref_model.evaluation import metrics
from uniref_model.evaluation.presets import load_preset, preset_names
from uniref_model.evaluation.runner import run_benchmark
from uniref_model.label_pngs import davis_palette, write_labels

# ---- metrics ----


def rectangle(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((100, 200), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_region_and_boundary_scores_by_hand():
    a = rectangle(20, 30, 40, 60)
    tolerance = math.ceil(metrics.BOUNDARY_TOLERANCE * math.hypot(100, 200))
    assert tolerance == 2
    assert metrics.score_mask(a, a) == metrics.Score(1, 1)
    assert metrics.jaccard(a, rectangle(20, 50, 40, 60)) == pytest.approx(40 / 80)
    assert metrics.boundary_f(a, rectangle(20, 32, 40, 60)) == 1
    assert 0.5 < metrics.boundary_f(a, rectangle(20, 33, 40, 60)) < 1
    assert metrics.score_mask(a, rectangle(80, 150, 15, 40)) == metrics.Score(0, 0)
    assert np.count_nonzero(metrics.boundary(a)) == 2 * (40 + 60)


def test_empty_masks():
    a, nothing = rectangle(20, 30, 40, 60), rectangle(0, 0, 0, 0)
    assert metrics.score_mask(nothing, nothing) == metrics.Score(1, 1)
    assert metrics.score_mask(a, nothing) == metrics.Score(0, 0)
    assert metrics.score_mask(nothing, a) == metrics.Score(0, 0)
    assert math.isnan(metrics.mean([]))


def test_ignored_pixels_count_for_neither_side():
    truth, ignore = rectangle(20, 30, 40, 60), rectangle(0, 0, 15, 15)
    assert metrics.score_mask(truth | ignore, truth, ignore) == metrics.Score(1, 1)
    assert metrics.score_mask(truth | ignore, truth).j < 1


def test_masks_of_different_size_are_refused():
    with pytest.raises(ValueError, match=r"\(100, 200\)"):
        metrics.score_mask(rectangle(0, 0, 1, 1), np.zeros((5, 5), bool))


def test_scores_agree_with_vos_benchmark():
    evaluator = pytest.importorskip("vos_benchmark.evaluator", reason="vos-benchmark is not installed")
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    for height, width in [(40, 60), (61, 33), (120, 90)] * 4:
        noise = [cv2.GaussianBlur(rng.random((height, width)), (0, 0), 4) for _ in range(2)]
        predicted, truth = (np.digitize(n, np.quantile(n, [0.5, 0.8])).astype(np.uint8) for n in noise)
        theirs = evaluator.Evaluator()
        theirs.feed_frame(predicted, truth)
        ious, boundaries = theirs.conclude()
        for label in (1, 2):
            ours = metrics.score_mask(predicted == label, truth == label)
            assert 100 * ours.j == pytest.approx(ious[label])
            assert 100 * ours.f == pytest.approx(boundaries[label])


def test_referring_totals():
    totals = metrics.ReferringTotals()
    totals.add_counts(30, 40)  # 0.75
    totals.add_counts(5, 10)  # exactly 0.5 counts as a hit at 0.5
    totals.add_counts(0, 50)
    summary = totals.summary()
    assert summary["oIoU"] == pytest.approx(35 / 100)
    assert summary["mIoU"] == pytest.approx((0.75 + 0.5) / 3)
    assert summary["Pr@0.5"] == pytest.approx(2 / 3)
    assert summary["Pr@0.7"] == pytest.approx(1 / 3)
    assert summary["Pr@0.8"] == 0


# ---- files ----


def test_palette_is_that_of_davis():
    palette = davis_palette()
    colours = [tuple(palette[3 * i : 3 * i + 3]) for i in (0, 1, 2, 3, 8, 255)]
    assert colours == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (64, 0, 0), (224, 224, 192)]


def test_label_images_keep_their_indices(tmp_path):
    labels = np.array([[0, 1, 2], [255, 7, 0]], np.uint8)
    write_labels(tmp_path / "a.png", labels, davis_palette())
    assert np.array_equal(read_labels(tmp_path / "a.png"), labels)
    with pytest.raises(ValueError, match="label 300"):
        write_labels(tmp_path / "b.png", np.full((2, 2), 300), davis_palette())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png"]


def test_colour_image_is_no_label_image(tmp_path):
    Image.new("RGB", (4, 4), (9, 0, 0)).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="colour image, expected one channel"):
        read_labels(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"missing file .*b\.png"):
        read_labels(tmp_path / "b.png")


# ---- presets ----


def test_every_preset_loads_with_the_published_values():
    presets = {name: load_preset(name) for name in preset_names()}
    thresholds = {
        "davis17": 0.3,
        "ytbvos18": 0.4,
        "ytbvos19": 0.4,
        "mose": 0.4,
        "lvos": 0.5,
        "ref_youtube_vos": 0.3,
    }
    assert {name: presets[name].threshold for name in thresholds} == thresholds
    assert all((p.short_side, p.max_side) == (480, 1333) for p in presets.values() if p.protocol != "ris")
    assert all((p.short_side, p.max_side) == (800, 1333) for p in presets.values() if p.protocol == "ris")
    assert len(presets["ytbvos18"].seen_categories) == 65


def test_bad_presets_are_named(tmp_path):
    with pytest.raises(DatasetError, match=r"no benchmark 'davis'.*davis17"):
        load_preset("davis")
    path = tmp_path / "mine.yaml"
    settings = "reader: davis\nprotocol: vos\nscoring: davis\nsplit: val\n"
    path.write_text(settings + "threshold: 0.3\nshort_edge: 480\n")
    with pytest.raises(DatasetError, match="'short_edge'"):
        load_preset(str(path))
    path.write_text(settings + "threshold: 3\n")
    with pytest.raises(DatasetError, match="threshold is 3"):
        load_preset(str(path))


# ---- running ----


def test_a_second_run_predicts_only_what_is_missing(tmp_path):
    root, out = data.make_davis(tmp_path / "davis", ("bear", "car")), tmp_path / "out"
    first = data.FakePredictor()
    scores = run("davis17", root, out, first)["scores"]
    assert first.calls == ["bear", "car"]
    for path in (out / "predictions" / "car").iterdir():
        path.unlink()
    (out / "predictions" / "car").rmdir()
    second = data.FakePredictor()
    assert run("davis17", root, out, second)["scores"] == scores
    assert second.calls == ["car"]


def test_a_stopped_video_leaves_no_folder_and_is_done_again(tmp_path):
    root, out = data.make_davis(tmp_path / "davis", ("bear", "car")), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run("davis17", root, out, data.FakePredictor(fail_at="00002"))
    assert not (out / "predictions" / "bear").exists()
    fake = data.FakePredictor()
    assert run("davis17", root, out, fake)["scores"]["J"] == 1
    assert fake.calls == ["bear", "car"]
    assert not list(out.rglob("*.partial"))


def test_an_output_folder_belongs_to_one_run(tmp_path):
    root, out = data.make_davis(tmp_path / "davis"), tmp_path / "out"
    run("davis17", root, out, data.FakePredictor())
    with pytest.raises(DatasetError, match=r"holds another run \(predictor differ"):
        run("davis17", root, out, data.FakePredictor(name="another"))
    with pytest.raises(DatasetError, match=r"\(threshold differ"):
        run("davis17", root, out, data.FakePredictor(), threshold=0.5)


def test_a_missing_prediction_is_an_error_not_a_zero(tmp_path):
    root, out = data.make_davis(tmp_path / "davis"), tmp_path / "out"
    run("davis17", root, out, data.FakePredictor())
    (out / "predictions" / "bear" / "00002.png").unlink()
    with pytest.raises(DatasetError, match=r"missing prediction .*bear/00002\.png"):
        run("davis17", root, out, data.FakePredictor())


def test_missing_data_is_found_before_anything_is_predicted(tmp_path):
    root, out = data.make_davis(tmp_path / "davis", ("bear", "car")), tmp_path / "out"
    (root / "Annotations" / "480p" / "car" / "00000.png").unlink()
    fake = data.FakePredictor()
    with pytest.raises(DatasetError, match="car"):
        run("davis17", root, out, fake)
    assert fake.calls == []


def test_limit_is_reported(tmp_path):
    root = data.make_davis(tmp_path / "davis", ("bear", "car"))
    fake = data.FakePredictor()
    result = run_benchmark(load_preset("davis17"), root, fake, tmp_path / "out", limit=1)
    assert fake.calls == ["bear"]
    assert result["limit"] == 1
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == result
