"""Names out of data sets become paths: none of them leads out of the folder it belongs to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evaluation_data import make_ref_youtube_vos

from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.evaluation.base import Expression, Video
from uniref_model.datasets.names import inside, plain_name
from uniref_model.evaluation.presets import load_preset
from uniref_model.evaluation.runner import run_benchmark

HOSTILE = ["/etc", "../victim", "a/b", "..", ".", "", ".hidden", "a\\b", "a\0b", "a\nb", "x" * 300, 7, None]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_one_plain_component(name):
    with pytest.raises(DatasetError, match="expected one plain name"):
        plain_name(name, "the id")
    with pytest.raises(DatasetError):
        Expression(name, "the cat")
    with pytest.raises(DatasetError):
        Video(name, ("00000",), {})
    with pytest.raises(DatasetError):
        Video("v", ("00000", name), {})


@pytest.mark.parametrize("name", ["0", "00005", "bike-packing", "Ästhetik 3", "a.b", "…"])
def test_ordinary_names_are_kept(name):
    assert plain_name(name, "the id") == name


def test_files_stay_within_their_folder(tmp_path):
    assert inside(tmp_path, "a/b.jpg", "an image") == tmp_path / "a" / "b.jpg"
    for name in ("../b.jpg", "/b.jpg", "a/../../b", "", "a\0"):
        with pytest.raises(DatasetError, match="expected a path within"):
            inside(tmp_path, name, "an image")


class Nobody:
    """A predictor that must not be asked."""

    def describe(self):
        return {"predictor": "nobody"}

    def __getattr__(self, name):
        raise AssertionError(f"asked for {name}")


@pytest.mark.parametrize("hostile", ["../../../victim", "ABSOLUTE"])
def test_a_hostile_expression_id_neither_writes_nor_removes_anything(tmp_path, hostile):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious.txt").write_text("kept")
    (tmp_path / ".victim.partial").mkdir()
    (tmp_path / ".victim.partial" / "precious.txt").write_text("kept")
    root = make_ref_youtube_vos(tmp_path / "data")
    name = str(victim) if hostile == "ABSOLUTE" else hostile
    for meta in root.rglob("meta_expressions.json"):
        videos = json.loads(meta.read_text())
        for video in videos["videos"].values():
            video["expressions"] = {name: next(iter(video["expressions"].values()))}
        meta.write_text(json.dumps(videos))
    before = sorted(path for path in tmp_path.rglob("*") if "out" not in path.parts)
    with pytest.raises(DatasetError, match="an expression's id is"):
        run_benchmark(load_preset("ref_youtube_vos"), root, Nobody(), tmp_path / "out")
    assert sorted(path for path in tmp_path.rglob("*") if "out" not in path.parts) == before
    assert not list((tmp_path / "out").rglob("*.png"))
    assert Path(victim / "precious.txt").read_text() == "kept"
