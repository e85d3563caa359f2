"""What a data set calls its videos, phrases and pictures names paths, and may lead nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import evaluation_data as data
import numpy as np
import pytest
from training_sets import make_coco, make_ovis, make_visual_genome

from uniref_model.datasets import evaluation as datasets
from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.names import plain_name
from uniref_model.datasets.training.images import Coco, VisualGenome
from uniref_model.datasets.training.videos import Ovis, youtube_vos
from uniref_model.evaluation.presets import load_preset
from uniref_model.evaluation.runner import run_benchmark
from uniref_model.evaluation.suite import load_pictures

NO_NAMES = [
    "..",
    ".",
    "",
    "../up",
    "a/b",
    "a\\b",
    ".hidden",
    "a\nb",
    "a\x1bb",
    "a\0b",
    "\ud800",
    "x" * 201,
    "é" * 101,
]


@pytest.mark.parametrize("name", [*NO_NAMES, "/abs", 7, None])
def test_what_is_no_plain_name_is_refused(name):
    with pytest.raises(DatasetError, match="the video") as caught:
        plain_name(name, "the video")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


def test_plain_names_are_kept():
    for name in ("bear", "0062f687f1", "dogs-jump", "a b", "é", "1.5", "x" * 200):
        assert plain_name(name, "the video") == name


def everything_under(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def with_strangers(tmp_path: Path) -> tuple[Path, Path]:
    """A stranger's folder that a stopped run of a bad name would remove, and the run's own."""
    stranger = tmp_path / "stranger"
    for name in (".loot.partial", "loot", ".0.partial"):
        (stranger / name).mkdir(parents=True)
        (stranger / name / "kept.txt").write_text("kept")
    return stranger, tmp_path / "out"


def bad_names(stranger: Path) -> list[str]:
    return [str(stranger / "loot"), "../../../stranger/loot", "..", "", "a/b"]


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("what", ["expression", "video"])
def test_a_phrase_or_video_that_is_a_path_writes_and_removes_nothing(tmp_path, what, number):
    stranger, out = with_strangers(tmp_path)
    bad = bad_names(stranger)[number]
    root = data.make_ref_youtube_vos(tmp_path / "ref")
    path = root / "meta_expressions" / "valid" / "meta_expressions.json"
    meta = json.loads(path.read_text())
    if what == "video":
        meta["videos"][bad] = meta["videos"].pop("v1")
    else:
        meta["videos"]["v1"]["expressions"][bad] = {"exp": "object 1"}
    path.write_text(json.dumps(meta))
    before = everything_under(stranger)
    with pytest.raises(DatasetError, match=f"{what}"):
        run_benchmark(load_preset("ref_youtube_vos"), root, data.FakePredictor(), out)
    assert everything_under(stranger) == before
    assert not list(tmp_path.rglob("0000*.png"))


def test_every_list_of_videos_is_checked(tmp_path):
    davis = data.make_davis(tmp_path / "davis")
    listed = davis / "ImageSets" / "2017" / "val.txt"
    listed.write_text("bear\n../bear\n")
    with pytest.raises(DatasetError, match=r"a video of .*val\.txt is '\.\./bear'"):
        datasets.Davis(davis)
    for make, name, reader in (
        (data.make_youtube_vos, "meta.json", datasets.YoutubeVos),
        (data.make_lvos, "valid_meta.json", datasets.Lvos),
    ):
        root = make(tmp_path / name)
        path = root / "valid" / name
        videos_of = json.loads(path.read_text())["videos"]
        data.write_json(path, {"videos": {"../v1": videos_of["v1"]}})
        with pytest.raises(DatasetError, match=r"a video of .* is '\.\./v1'"):
            reader(root)


def test_a_reader_that_forgets_to_check_is_caught():
    with pytest.raises(DatasetError, match="a video's id"):
        datasets.Video("../x", ("0",), {})
    with pytest.raises(DatasetError, match="an expression's id"):
        datasets.Expression("/x", "object 1")


def test_frames_that_are_paths_are_refused(tmp_path):
    root = data.make_ref_davis(tmp_path)
    path = root / "meta_expressions" / "valid" / "meta_expressions.json"
    meta = json.loads(path.read_text())
    meta["videos"]["bear"]["frames"].append("../bear/00000")
    path.write_text(json.dumps(meta))
    with pytest.raises(DatasetError, match="frame"):
        datasets.RefDavis(root).video("bear")


def test_pictures_outside_the_data_set_are_not_read(tmp_path):
    root = data.make_refcoco(tmp_path)
    path = root / "refcoco" / "instances.json"
    instances = json.loads(path.read_text())
    for bad in ("../train2014/x.jpg", "/etc/hostname"):
        instances["images"][0]["file_name"] = bad
        path.write_text(json.dumps(instances))
        with pytest.raises(DatasetError, match=r"an image of .*instances\.json"):
            list(datasets.RefCoco(root, "refcoco", "unc", "val"))


def test_a_presets_folder_stays_in_the_output(tmp_path):
    with pytest.raises(DatasetError, match="submission_folder is '/tmp/elsewhere'"):
        load_preset("davis17", submission_folder="/tmp/elsewhere")


def test_a_still_is_no_path(tmp_path):
    entry = {"name": "../x", "client": "apt", "package": "p", "file": "f", "objects": [], "absent": []}
    data.write_json(tmp_path / "pictures.json", {"pictures": [entry]})
    with pytest.raises(DatasetError, match=r"a name of .* is '\.\./x'"):
        load_pictures(tmp_path, lambda entry: None)


def test_training_pictures_outside_the_data_set_are_not_read(tmp_path):
    def spoil(path: Path, change) -> None:
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    coco = make_coco(tmp_path / "coco")
    spoil(
        coco / "annotations" / "instances_train2017.json",
        lambda v: [image.update(file_name="/etc/hostname") for image in v["images"]],
    )
    with pytest.raises(DatasetError, match="an image is '/etc/hostname'"):
        Coco(coco).draw(0, np.random.default_rng(0))
    ovis = make_ovis(tmp_path / "ovis")
    spoil(ovis / "annotations_train.json", lambda v: v["videos"][0].update(file_names=["../../x.jpg"] * 4))
    with pytest.raises(DatasetError, match=r"a frame is '\.\./\.\./x\.jpg'"):
        Ovis(ovis, 5).draw(0, np.random.default_rng(0))
    genome = make_visual_genome(tmp_path / "genome")
    spoil(genome / "image_data.json", lambda v: v[0].update(url="http://host/../1.jpg"))
    with pytest.raises(DatasetError, match=r"an image is '\.\./1\.jpg'"):
        VisualGenome(genome).draw(0, np.random.default_rng(0))
    vos = data.make_youtube_vos(tmp_path / "vos", "train", published=True)
    spoil(vos / "train" / "meta.json", lambda v: v["videos"].update({"/v1": v["videos"]["v1"]}))
    with pytest.raises(DatasetError, match="is '/v1'"):
        youtube_vos(vos, 5)
