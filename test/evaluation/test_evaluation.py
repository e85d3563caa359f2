"""Metrics, dataset readers, protocols and submission files, on tiny data sets in the published layouts."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import evaluation_data as data
import numpy as np
import pytest
from PIL import Image

from uniref_model.datasets import evaluation as datasets
from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.pngs import read_labels
from uniref_model.evaluation import metrics
from uniref_model.evaluation.presets import load_preset, preset_names
from uniref_model.evaluation.runner import run_benchmark
from uniref_model.label_pngs import davis_palette, write_labels

WIDTH_1, WIDTH_2 = data.SIDES[1][1], data.SIDES[2][1]


def shifted_iou(width: int, by: int) -> float:
    """IoU of a rectangle with itself moved sideways."""
    return (width - by) / (width + by)


def run(name: str, root: Path, out: Path, predictor: data.FakePredictor, **changes) -> dict:
    return run_benchmark(load_preset(name, **changes), root, predictor, out)


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
    with pytest.raises(ValueError, match="threshold is 3"):
        load_preset(str(path))


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


# ---- referring videos ----


def test_ref_youtube_vos_submission(tmp_path):
    root = data.make_ref_youtube_vos(tmp_path / "ref")
    result = run("ref_youtube_vos", root, tmp_path / "out", data.FakePredictor())
    assert result["scores"] == {}
    folder = Path(result["submission"])
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.png"))
    assert files == [
        f"v1/{e}/{5 * i:05d}.png" for e in (0, 1) for i in range(3)
    ]  # the test video is left out
    with Image.open(folder / "v1" / "1" / "00005.png") as image:
        assert image.mode == "L"
        assert np.array_equal(np.array(image), 255 * (data.labels_at(1, (1, 2)) == 2))


def test_ref_youtube_vos_train_split_is_scored(tmp_path):
    root = data.make_ref_youtube_vos(tmp_path / "ref", "train", masks=True)
    fake = data.FakePredictor(shift={1: 1})
    scores = run("ref_youtube_vos", root, tmp_path / "out", fake, split="train")["scores"]
    assert scores["J"] == pytest.approx((shifted_iou(WIDTH_1, 1) + 1) / 2, abs=1e-4)
    assert scores["F"] == 1


def test_ref_youtube_vos_missing_frame(tmp_path):
    root = data.make_ref_youtube_vos(tmp_path)
    (root / "valid" / "JPEGImages" / "v1" / "00005.jpg").unlink()
    with pytest.raises(DatasetError, match=r"missing frame .*v1/00005\.jpg"):
        datasets.RefYoutubeVos(root).video("v1")


def test_ref_davis_published_rule_forgives_swapped_objects(tmp_path):
    pytest.importorskip("scipy", reason="the assignment of the published rule needs scipy")
    root = data.make_ref_davis(tmp_path / "ref")
    swapped = run("ref_davis17", root, tmp_path / "swapped", data.FakePredictor(swap=True))
    assert swapped["scores"]["J&F"] == 1
    assert swapped["scores_by_id"]["J&F"] == 0
    right = run("ref_davis17", root, tmp_path / "right", data.FakePredictor(shift={1: 1}))
    assert right["scores"]["J"] == pytest.approx((shifted_iou(WIDTH_1, 1) + 1) / 2, abs=1e-4)
    assert right["scores"] == right["scores_by_id"]
    folders = sorted(p.name for p in Path(right["submission"]).iterdir())
    assert folders == [f"refdavis-val-{i}" for i in range(4)]


def test_ref_davis_takes_all_frames(tmp_path):
    pytest.importorskip("scipy", reason="the assignment of the published rule needs scipy")
    root = data.make_ref_davis(tmp_path / "ref")
    fake = data.FakePredictor(empty={("00000", 1), ("00000", 2)})
    scores = run("ref_davis17", root, tmp_path / "out", fake)["scores"]
    assert scores["J"] == pytest.approx(2 / 3, abs=1e-4)


def test_ref_davis_ignores_void(tmp_path):
    pytest.importorskip("scipy", reason="the assignment of the published rule needs scipy")
    root, out = data.make_ref_davis(tmp_path / "ref"), tmp_path / "out"
    truth = root / "valid" / "Annotations" / "bear" / "00000.png"
    labels = read_labels(truth)
    labels[:, 60:] = 255
    data.write_annotation(truth, labels)
    run("ref_davis17", root, out, data.FakePredictor())
    for annotator in range(4):
        path = out / "predictions" / f"refdavis-val-{annotator}" / "bear" / "00000.png"
        predicted = read_labels(path)
        predicted[:20, 70:90] = 1
        write_labels(path, predicted, davis_palette())
    assert run("ref_davis17", root, out, data.FakePredictor())["scores"]["J&F"] == 1
    labels[labels == 255] = 0
    data.write_annotation(truth, labels)
    assert run("ref_davis17", root, out, data.FakePredictor())["scores"]["J&F"] < 1


def test_ref_davis_counts_its_expressions(tmp_path):
    root = data.make_ref_davis(tmp_path)
    path = root / "meta_expressions" / "valid" / "meta_expressions.json"
    meta = json.loads(path.read_text())
    del meta["videos"]["bear"]["expressions"]["7"]
    data.write_json(path, meta)
    with pytest.raises(DatasetError, match="bear has 7 expressions, expected 4 for every object"):
        datasets.RefDavis(root).video("bear")


# ---- RefCOCO ----


def test_refcoco_scores(tmp_path):
    pytest.importorskip("pycocotools", reason="RefCOCO's masks need pycocotools")
    root = data.make_refcoco(tmp_path / "refer")
    result = run("refcoco", root, tmp_path / "out", data.FakePredictor(shift={2: 4}))
    area_1, (height_2, width_2) = math.prod(data.SIDES[1]), data.SIDES[2]
    iou_2 = shifted_iou(width_2, 4)
    assert result["units"] == 3
    assert result["scores"]["mIoU"] == pytest.approx((2 + iou_2) / 3, abs=1e-4)
    intersection, union = 2 * area_1 + height_2 * (width_2 - 4), 2 * area_1 + height_2 * (width_2 + 4)
    assert result["scores"]["oIoU"] == pytest.approx(intersection / union, abs=1e-4)
    assert result["scores"]["Pr@0.5"] == 1
    assert result["scores"]["Pr@0.6"] == pytest.approx(2 / 3, abs=1e-4)


def test_refcoco_masks_and_phrases(tmp_path):
    pytest.importorskip("pycocotools", reason="RefCOCO's masks need pycocotools")
    samples = list(datasets.RefCoco(data.make_refcoco(tmp_path), "refcoco", "unc", "val"))
    assert [s.phrases for s in samples] == [("object 1", "the red one"), ("object 2",)]
    for sample, label in zip(samples, (1, 2), strict=True):
        mask = datasets.decode_segmentation(sample.truth, sample.size)
        assert np.array_equal(mask, data.labels_at(0, (1, 2)) == label)


def test_refcoco_resumes_after_a_cut_line(tmp_path):
    pytest.importorskip("pycocotools", reason="RefCOCO's masks need pycocotools")
    root, out = data.make_refcoco(tmp_path / "refer"), tmp_path / "out"
    before = run("refcoco", root, out, data.FakePredictor())["scores"]
    lines = (out / "counts.jsonl").read_text()
    (out / "counts.jsonl").write_text(lines[:-5])
    fake = data.FakePredictor()
    assert run("refcoco", root, out, fake)["scores"] == before
    assert fake.calls == ["object 2"]


class Malicious:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_refcoco_pickle_may_hold_only_plain_values(tmp_path, capsys):
    root = data.make_refcoco(tmp_path)
    (root / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps([Malicious()], protocol=2))
    with pytest.raises(DatasetError, match=r"refs\(unc\)\.p is not a plain pickle.*print"):
        datasets.RefCoco(root, "refcoco", "unc", "val")
    assert capsys.readouterr().out == ""


def test_refcoco_missing_parts(tmp_path):
    root = data.make_refcoco(tmp_path)
    with pytest.raises(DatasetError, match="no split 'testA'; it has train, val"):
        datasets.RefCoco(root, "refcoco", "unc", "testA")
    with pytest.raises(DatasetError, match=r"missing file .*refs\(google\)\.p"):
        datasets.RefCoco(root, "refcoco", "google", "val")
    next((root / "images").rglob("*.jpg")).unlink()
    with pytest.raises(DatasetError, match=r"missing image .*COCO_train2014_000000000009\.jpg"):
        list(datasets.RefCoco(root, "refcoco", "unc", "val"))


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
