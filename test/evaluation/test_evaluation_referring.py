"""Benchmarks whose objects words give, on tiny data sets in the published layouts."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import evaluation_data as data
import numpy as np
import pytest
from evaluation_data import WIDTH_1, run, shifted_iou
from PIL import Image

from uniref_model.datasets import evaluation as datasets
from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.pngs import read_labels
from uniref_model.label_pngs import davis_palette, write_labels

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
