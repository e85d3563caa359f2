"""Data sets with odd values in their files: every reader takes one, or says in a line what it expected."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import evaluation_data as published
import numpy as np
import plain_sets
import pytest
import training_sets
from odd_values import changed
from test_evaluation_clips import make_clip

from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.evaluation import (
    Lvos,
    RefCoco,
    RefDavis,
    RefYoutubeVos,
    YoutubeVos,
    decode_segmentation,
)
from uniref_model.datasets.importing import import_set
from uniref_model.datasets.plain import INDEX, read_pack
from uniref_model.datasets.training.images import Coco, VisualGenome
from uniref_model.datasets.training.videos import Ovis
from uniref_model.errors import UniRefError
from uniref_model.evaluation.clips import DEFAULT_REFERENCES, list_runs, load_clip
from uniref_model.evaluation.presets import load_preset
from uniref_model.evaluation.runner import run_benchmark
from uniref_model.evaluation.suite import load_pictures, run_suite

pytest.importorskip("pycocotools", reason="COCO's masks need pycocotools")

SIZE = (64, 96)


def videos(reader: Callable[[Path], Any]) -> Callable[[Path], object]:
    def read(root: Path) -> object:
        dataset = reader(root)
        return [dataset.video(name) for name in dataset.video_ids]

    return read


def draws(reader: Callable[..., Any], *options: Any) -> Callable[[Path], object]:
    def read(root: Path) -> object:
        dataset, rng = reader(root, *options), np.random.default_rng(0)
        return [dataset.draw(index, rng) for index in range(len(dataset))]

    return read


def refcoco(root: Path) -> object:
    found = RefCoco(root, "refcoco", "unc", "val")
    return [decode_segmentation(sample.truth, sample.size) for sample in found]


def clip(root: Path) -> object:
    return list_runs(load_clip(root), DEFAULT_REFERENCES)


def imported(root: Path) -> object:
    out = root / "set"
    try:
        return import_set(root / "instances_train2017.json", out, pictures=root / "train2017")
    finally:
        shutil.rmtree(out, ignore_errors=True)


def make_own_coco(root: Path) -> Path:
    training_sets.make_coco(root)
    shutil.move(root / "annotations" / "instances_train2017.json", root)
    return root


def make_pictures(root: Path) -> Path:
    entry = {
        "name": "a", "client": "pip", "package": "p", "file": "a.jpg", "sha256": "0",
        "objects": [{"id": 1, "expressions": ["the box"]}], "absent": ["a dog"],
    }  # fmt: skip
    published.write_json(root / "pictures.json", {"pictures": [entry]})
    return root


READERS: dict[str, tuple[Callable[[Path], Path], str, Callable[[Path], object]]] = {
    "YouTube-VOS": (published.make_youtube_vos, "valid/meta.json", videos(YoutubeVos)),
    "LVOS": (published.make_lvos, "valid/valid_meta.json", videos(Lvos)),
    "Ref-YouTube-VOS": (
        published.make_ref_youtube_vos,
        "meta_expressions/valid/meta_expressions.json",
        videos(RefYoutubeVos),
    ),
    "Ref-DAVIS": (
        published.make_ref_davis,
        "meta_expressions/valid/meta_expressions.json",
        videos(RefDavis),
    ),
    "RefCOCO": (published.make_refcoco, "refcoco/instances.json", refcoco),
    "COCO": (training_sets.make_coco, "annotations/instances_train2017.json", draws(Coco)),
    "Visual Genome, images": (training_sets.make_visual_genome, "image_data.json", draws(VisualGenome)),
    "Visual Genome": (training_sets.make_visual_genome, "region_descriptions.json", draws(VisualGenome)),
    "OVIS": (training_sets.make_ovis, "annotations_train.json", draws(Ovis, 10)),
    "import": (make_own_coco, "instances_train2017.json", imported),
    "clip": (make_clip, "meta.json", clip),
    "stills": (make_pictures, "pictures.json", lambda root: load_pictures(root, lambda entry: None)),
}


SLOW = {"import": 5, "OVIS": 3, "COCO": 2, "Visual Genome": 2}
"""These are asked only every so many-th value."""


def refuses(read: Callable[[Path], object], root: Path) -> bool:
    """Whether it does, in a line."""
    try:
        read(root)
    except DatasetError as error:
        assert "\n" not in str(error) and len(str(error)) < 800, str(error)
        return True
    return False


@pytest.mark.parametrize("name", READERS)
def test_an_odd_value_anywhere_is_taken_or_refused_in_a_line(name, tmp_path):
    make, file, read = READERS[name]
    root = make(tmp_path / "data")
    assert not refuses(read, root)
    refused = 0
    step = SLOW.get(name, 1)
    for value in islice(changed(json.loads((root / file).read_text())), 0, None, step):
        (root / file).write_text(json.dumps(value))
        refused += refuses(read, root)
    assert refused > 20


def test_an_odd_value_in_a_row_leaves_that_row_out(tmp_path):
    pack = plain_sets.make_pack(tmp_path / "pack") / "blocks"
    lines = (pack / INDEX).read_text().splitlines()
    told: list[str] = []
    for row in changed(json.loads(lines[0])):
        (pack / INDEX).write_text("\n".join([json.dumps(row), *lines[1:]]))
        found = read_pack(pack, complain=told.append)
        assert sum(len(picture.objects) for picture in found) >= 9  # of 10 that are for training
    assert len(told) > 60
    assert all("\n" not in line and f"{INDEX}, line " in line for line in told)


def test_odd_references_of_refcoco_are_refused(tmp_path):
    root = published.make_refcoco(tmp_path / "data")
    path = root / "refcoco" / "refs(unc).p"
    refused = 0
    for refs in changed(pickle.loads(path.read_bytes())):
        path.write_bytes(pickle.dumps(refs))
        refused += refuses(refcoco, root)
    assert refused > 20


def test_an_odd_description_of_a_suites_clip_is_refused_before_anything_is_asked(tmp_path):
    whole = {"name": "box", "video": "box.mp4", "objects": [{"id": 1, "expressions": ["it"]}], "absent": []}
    path = tmp_path / "eval" / "box" / "meta.json"
    for value in changed(whole):
        published.write_json(path, value)
        with pytest.raises(DatasetError) as error:  # even the good one: there are no masks
            run_suite(None, tmp_path, tmp_path / "out", [])
        assert "\n" not in str(error.value)


OUTLINES = {
    "another size": {"size": [64, 95], "counts": [64 * 95]},
    "a huge size": {"size": [10**6, 10**6], "counts": [10**12]},
    "no counts": {"size": [64, 96]},
    "too few": {"size": [64, 96], "counts": [5]},
    "too many": {"size": [64, 96], "counts": [10**12]},
    "negative": {"size": [64, 96], "counts": [-1, 6145]},
    "no numbers": {"size": [64, 96], "counts": ["a"]},
    "text that is none": {"size": [64, 96], "counts": "\x00é"},
    "text that ends early": {"size": [64, 96], "counts": "o"},
    "text of one huge number": {"size": [64, 96], "counts": "o" * 50 + "0"},
    "long text": {"size": [64, 96], "counts": "0" * 10**6},
    "no polygon": [],
    "two corners": [[1, 2, 3, 4]],
    "half a corner": [[1, 2, 3, 4, 5, 6, 7]],
    "not a number": [[1, 2, 3, 4, 5, float("nan")]],
    "a corner without end": [[1, 2, 3, 4, 5, 10**400]],
    "a corner far away": [[0, 0, 1e9, 0, 0, 9]],
    "a line without end": [[0, 0, 96, 64] * 100_000],
    "a word": "mask",
}


@pytest.mark.parametrize("name", OUTLINES)
def test_an_outline_that_is_none_is_refused_before_it_costs_anything(name):
    with pytest.raises(DatasetError):
        decode_segmentation(OUTLINES[name], SIZE)


def test_a_picture_that_is_said_to_be_huge_has_no_outline():
    with pytest.raises(DatasetError, match="megapixels"):
        decode_segmentation([[0, 0, 9, 0, 9, 9]], (10**6, 10**6))


def test_outlines_that_reach_out_of_the_picture_are_cut_there():
    mask = decode_segmentation([[-20, -20, 200, -20, 200, 32, -20, 32]], SIZE)
    assert mask[:31].all() and not mask[33:].any()


def test_run_lengths_are_read_as_coco_reads_them():
    from pycocotools import mask as coco

    rng = np.random.default_rng(0)
    for share in (0.0, 0.02, 0.5, 1.0):
        mask = np.asfortranarray(rng.random(SIZE) < share)
        counts = coco.encode(mask.astype(np.uint8))["counts"].decode()
        assert (decode_segmentation({"size": list(SIZE), "counts": counts}, SIZE) == mask).all()


@pytest.mark.parametrize("file", ["run.json", "counts.jsonl"])
@pytest.mark.parametrize("text", ["", "[", "7\n", '{"preset": 1}\n', '{"ref": 1, "phrase": [], "i": 1}\n'])
def test_what_an_earlier_run_left_damaged_is_named(file, text, tmp_path):
    root, out = published.make_refcoco(tmp_path / "data"), tmp_path / "out"
    preset, nobody = load_preset("refcoco"), published.FakePredictor()
    run_benchmark(preset, root, nobody, out)
    (out / file).write_text(text)
    try:
        run_benchmark(preset, root, nobody, out)
    except UniRefError as error:
        assert file in str(error) or "holds another run" in str(error)
    else:
        assert (file, text) in [("counts.jsonl", ""), ("counts.jsonl", "[")]  # a line cut short is dropped


@pytest.mark.parametrize("change", changed({"threshold": 0.5, "seen_categories": ["dog"], "short_side": 480}))
def test_a_preset_with_odd_values_is_an_error_that_names_it(change, tmp_path):
    import yaml

    whole = {"reader": "davis", "protocol": "vos", "scoring": "davis", "split": "val"}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(whole | change if isinstance(change, dict) else change))
    try:
        load_preset(str(path))
    except (DatasetError, ValueError) as error:
        assert "mine" in str(error) and "\n" not in str(error)
