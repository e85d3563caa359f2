"""One order of frames, 2 before 10, and one reader of masks, palette or not, for all who read them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import evaluation_data as data
import numpy as np
import pytest
from PIL import Image
from plain_sets import make_pack
from test_evaluation_clips import evaluate, make_clip, truth

from uniref_model.datasets import evaluation as datasets
from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.plain import read_pack
from uniref_model.evaluation.presets import load_preset
from uniref_model.evaluation.runner import run_benchmark
from uniref_model.evaluation.suite import load_pictures

UNPADDED = ("2", "10", "11")


def test_a_clip_is_scored_to_its_end_whatever_its_frames_are_called(tmp_path):
    folder = make_clip(tmp_path / "clip", expressions=("red",))
    for name in ("frames", "masks"):
        for old, new in zip(("00000", "00004", "00008"), UNPADDED, strict=True):
            (folder / name / f"{old}.png").rename(folder / name / f"{new}.png")
    result, _ = evaluate(folder, truth, "words", "mask", "click")
    scored = {run["reference"]: [frame["frame"] for frame in run["frames"]] for run in result["runs"]}
    assert scored == {"words": list(UNPADDED), "mask": ["10", "11"], "click": list(UNPADDED)}
    assert all(mean["J"] == 1 for mean in result["means"].values())


def rename_frames(folder: Path, names: dict[str, str]) -> None:
    for path in list(folder.rglob("*")):
        if path.stem in names:
            path.rename(path.with_stem(names[path.stem]))


def test_a_benchmarks_frames_are_in_the_order_of_time(tmp_path):
    root = data.make_davis(tmp_path / "davis", frames=4)
    rename_frames(root, {f"{i:05d}": str(9 + i) for i in range(4)})
    video = datasets.Davis(root).video("bear")
    assert video.frames == tuple(video.annotations) == ("9", "10", "11", "12")
    assert {item.first_frame for item in video.objects} == {"9"}


def test_youtube_vos_scores_what_comes_later_in_time(tmp_path):
    root = data.make_youtube_vos(tmp_path / "vos", published=True, starts={1: 0})
    names = {f"{5 * i:05d}": str(8 + i) for i in range(5)}
    rename_frames(root, names)
    path = root / "valid" / "meta.json"
    meta = json.loads(path.read_text())
    meta["videos"]["v1"]["objects"]["1"]["frames"] = list(names.values())
    path.write_text(json.dumps(meta))
    missed = data.FakePredictor(empty={("10", 1)})
    result = run_benchmark(load_preset("ytbvos19"), root, missed, tmp_path / "out")
    assert result["by_object"]["seen:v1/1"]["J"] == pytest.approx(3 / 4)


def test_hidden_files_are_no_frames(tmp_path):
    root = data.make_davis(tmp_path / "davis")
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        (root / kind / "480p" / "bear" / f"._00000.{suffix}").write_bytes(b"a Mac's note")
    assert datasets.Davis(root).video("bear").frames[0] == "00000"


def as_palette(path: Path) -> np.ndarray:
    """The same label image with a palette; returns its labels."""
    with Image.open(path) as image:
        labels = np.array(image)
    data.write_annotation(path, labels)
    return labels


def test_a_pack_takes_palette_masks(tmp_path):
    pack = make_pack(tmp_path / "pack")
    picture = read_pack(pack)[0]
    labels = as_palette(picture.folder / picture.mask)
    assert np.array_equal(picture.read()[1], labels)


def test_a_pack_names_what_is_no_label_image(tmp_path):
    picture = read_pack(make_pack(tmp_path / "pack"))[0]
    Image.new("RGB", (96, 64), (1, 2, 3)).save(picture.folder / picture.mask)
    with pytest.raises(DatasetError, match="colour image"):
        picture.read()


def test_a_packs_picture_states_its_size_before_it_is_decoded(tmp_path, monkeypatch):
    picture = read_pack(make_pack(tmp_path / "pack"))[0]
    path = picture.folder / picture.file
    data_ = bytearray(path.read_bytes())
    data_[16:24] = (30000).to_bytes(4, "big") * 2
    path.write_bytes(bytes(data_))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DatasetError, match="30000x30000"):
        picture.read()


def test_the_suites_stills_take_palette_masks(tmp_path):
    labels = data.labels_at(0, (1,))
    data.write_frame(tmp_path / "a.jpg", labels)
    (tmp_path / "masks").mkdir()
    data.write_annotation(tmp_path / "masks" / "a.png", labels)
    digest = hashlib.sha256((tmp_path / "a.jpg").read_bytes()).hexdigest()
    entry = {"name": "a", "sha256": digest, "objects": [{"id": 1, "expressions": ["x"]}], "absent": []}
    data.write_json(tmp_path / "pictures.json", {"pictures": [entry]})
    pictures, _ = load_pictures(tmp_path, lambda _: tmp_path / "a.jpg")
    assert np.array_equal(pictures[0].labels, labels)
