"""The paper's training data: configs against Table 1, readers."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("pycocotools", reason="COCO's masks need pycocotools")
pytest.importorskip("PIL", reason="the readers need Pillow")

import training_sets as published
from evaluation_data import HEIGHT, WIDTH, labels_at
from paper_sets import CONFIGS, draws, open_set

from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.training.base import PackedList, frame_pair
from uniref_model.training.paper.config import (
    StageConfig,
    is_stage,
    parse_changes,
)

# ---- Table 1 ----

# data set, task, sampling weight, batch size, short side, long side
TABLE = {
    "stage1_vg": [("visual_genome", "RIS", 1, 2, (480, 800), 1333)],
    "stage2_refcoco": [("refcoco", "RIS", 1, 2, (480, 800), 1333)],
    "stage3_video": [
        ("coco", "VOS", 0.40, 2, (480, 800), 1333),
        ("youtube_vos_2019", "VOS", 0.30, 2, (320, 640), 768),
        ("lvos", "VOS", 0.20, 2, (320, 640), 768),
        ("ovis", "VOS", 0.10, 2, (320, 640), 768),
        ("refcoco", "RVOS", 0.45, 2, (480, 800), 1333),
        ("ref_youtube_vos", "RVOS", 0.55, 2, (320, 640), 768),
    ],
}
# GPU number, learning rate, weight decay, max iterations, step, text encoder frozen. The first stage's weight
# decay is not in the table's copy; 0.05 is the released pretraining configuration's.
RUNS = {
    "stage1_vg": (32, 0.0002, 0.05, 90000, 80000, False),
    "stage2_refcoco": (16, 0.0001, 0.0001, 90000, 80000, False),
    "stage3_video": (16, 0.0001, 0.05, 90000, 80000, True),
}


@pytest.mark.parametrize("stage", TABLE)
def test_the_configs_hold_table_1(stage: str) -> None:
    config = StageConfig.from_yaml(CONFIGS / f"{stage}.yaml")
    rows = [(d.name, d.task, d.weight, d.batch_size, d.short_side, d.long_side) for d in config.datasets]
    assert rows == TABLE[stage]
    run = (config.gpus, config.learning_rate, config.weight_decay, config.max_iterations, config.step)
    assert (*run, config.text_encoder_frozen) == RUNS[stage]


def test_both_tasks_of_the_last_stage_get_half_of_the_samples() -> None:
    config = StageConfig.from_yaml(CONFIGS / "stage3_video.yaml")
    shares = Counter()
    for item in config.datasets:
        shares[item.task] += item.weight
    assert shares == pytest.approx({"VOS": 1.0, "RVOS": 1.0})


def test_a_stage_is_told_from_a_run_on_generated_clips() -> None:
    assert is_stage(CONFIGS / "stage1_vg.yaml")
    assert not is_stage(CONFIGS / "nano.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rat": 1}, "unknown setting 'learning_rat'"),
        ({"gpus": "two"}, "gpus: expected int, found 'two'"),
        ({"matcher": "greedy"}, "matcher is 'greedy'; expected one of ota, hungarian"),
        ({"datasets": []}, "datasets is empty"),
        ({"datasets": [{"name": "coco"}]}, r"'datasets\[0\].batch_size' is missing"),
        (
            {
                "datasets": [
                    {"name": "coco", "task": "RIS", "weight": 1, "batch_size": 2, "short_side": [480, 800],
                     "long_side": 1333}
                ]
            },
            "coco: task is 'RIS'; expected one of VOS",
        ),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_with_its_file(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=r"stage1_vg\.yaml: .*" + message):
        StageConfig.from_yaml(CONFIGS / "stage1_vg.yaml", changes)


def test_settings_from_the_command_line() -> None:
    assert parse_changes(["gpus=8", "text_encoder=bert-base"]) == {"gpus": 8, "text_encoder": "bert-base"}
    with pytest.raises(ValueError, match="'gpus' is not KEY=VALUE"):
        parse_changes(["gpus"])


# ---- readers ----


def test_visual_genome_gives_regions_with_their_phrases(data: Path) -> None:
    dataset = open_set(data, "visual_genome")
    assert len(dataset) == 4  # two regions of each image; one outside and one without words are left out
    for index, label in enumerate((1, 2, 1, 2)):
        drawn = dataset.draw(index, np.random.default_rng(0))
        x, y, width, height = published.box_of(label)
        assert drawn.frames[0].box == (x, y, x + width, y + height)
        assert drawn.frames[0].mask is None and drawn.phrase == published.VG_PHRASES[label - 1]
        assert drawn.frames[0].image.shape == (*dataset.size(index), 3) == (HEIGHT, WIDTH, 3)


def test_visual_genome_can_leave_out_refcoco_evaluation_images(data: Path) -> None:
    assert len(open_set(data, "visual_genome", exclude_evaluation=True)) == 2  # COCO's image 9 is in "val"
    with pytest.raises(DatasetError, match="refcoco holds nothing to train on"):
        open_set(data, "refcoco", exclude_evaluation=True)


def test_coco_gives_instances_and_no_crowds(data: Path) -> None:
    dataset = open_set(data, "coco")
    assert len(dataset) == 1 and dataset.size(0) == (HEIGHT, WIDTH)  # the other image shows nothing
    labels = labels_at(0, (1, 2))
    seen = set()
    for drawn in draws(dataset):
        label = int(labels[drawn.frames[0].mask].max())
        assert np.array_equal(drawn.frames[0].mask, labels == label) and not drawn.phrase
        seen.add(label)
    assert seen == {1, 2}


def test_refcoco_joins_the_three_training_splits(data: Path) -> None:
    dataset = open_set(data, "refcoco")
    assert len(dataset) == 3
    for drawn in draws(dataset, 6):
        assert drawn.phrase == "object 1" and np.array_equal(drawn.frames[0].mask, labels_at(0, (1,)) == 1)


@pytest.mark.parametrize("name", ["youtube_vos_2019", "lvos", "ovis", "ref_youtube_vos"])
def test_a_video_gives_an_object_seen_in_two_frames(data: Path, name: str) -> None:
    dataset = open_set(data, name)
    assert dataset.has_masks and dataset.size(0) == (HEIGHT, WIDTH)
    found = draws(dataset)
    assert len(found) > 10
    for drawn in found:
        first, second = drawn.frames
        assert first.mask.any() and second.mask.any()
        assert first.box[0] < second.box[0]  # the rectangles move right, so the frames are in order of time
        assert first.box[1] == second.box[1]  # it is the same object
        colour = np.median(first.image[first.mask], axis=0)  # and the picture is that of the mask
        wanted = (230, 60, 40) if first.box[1] == published.box_of(1)[1] else (40, 90, 230)
        assert np.abs(colour - wanted).max() < 40


def test_ovis_is_class_agnostic_and_skips_hidden_instances(data: Path) -> None:
    found = draws(open_set(data, "ovis"), 80)
    tops = Counter(drawn.frames[0].box[1] for drawn in found)
    assert set(tops) == {published.box_of(1)[1], published.box_of(2)[1]}  # both categories are objects
    for drawn in found:
        if drawn.frames[0].box[1] == published.box_of(2)[1]:  # seen in the first two frames alone
            assert [frame.box[0] for frame in drawn.frames] == [8, 10]
    assert {drawn.phrase for drawn in found} == {""}


def test_ref_youtube_vos_pairs_phrases_with_their_objects(data: Path) -> None:
    dataset = open_set(data, "ref_youtube_vos")
    assert len(dataset) == 4  # two objects in each of two videos
    for drawn in draws(dataset):
        label = int(drawn.phrase.split()[-1])
        assert drawn.frames[0].box[1] == published.box_of(label)[1]


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("visual_genome", "image_data.json"),
        ("visual_genome", "region_descriptions.json"),
        ("visual_genome", "VG_100K/2.jpg"),
        ("coco", "annotations/instances_train2017.json"),
        ("coco", "train2017/000000000001.jpg"),
        ("refcoco", "refcoco/instances.json"),
        ("refcoco", "refcocog/refs(umd).p"),
        ("refcoco", "images/mscoco/images/train2014/COCO_train2014_000000000009.jpg"),
        ("youtube_vos_2019", "train/meta.json"),
        ("youtube_vos_2019", "train/JPEGImages/v1/00010.jpg"),
        ("lvos", "train/train_meta.json"),
        ("lvos", "train/JPEGImages/v1/00000011.jpg"),
        ("ovis", "annotations_train.json"),
        ("ovis", "train/v1/img_0000002.jpg"),
        ("ref_youtube_vos", "meta_expressions/train/meta_expressions.json"),
        ("ref_youtube_vos", "train/JPEGImages/v1/00005.jpg"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, name: str, missing: str) -> None:
    published.make_all(tmp_path)
    (tmp_path / name / missing).unlink()
    with pytest.raises(DatasetError) as caught:
        draws(open_set(tmp_path, name), 60)
    assert str(tmp_path / name / missing) in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"missing folder .*ovis: expected data set 'ovis'"):
        open_set(tmp_path, "ovis")


@pytest.mark.parametrize("name", ["visual_genome", "coco", "ovis"])
def test_json_of_another_form_is_refused_by_name(tmp_path: Path, name: str) -> None:
    published.make_all(tmp_path)
    file = {"visual_genome": "region_descriptions.json", "coco": "annotations/instances_train2017.json"}
    path = tmp_path / name / file.get(name, "annotations_train.json")
    path.write_text('{"annotations": [{}], "videos": [{}]}')
    with pytest.raises(DatasetError, match=path.name.replace(".", r"\.") + ": expected"):
        open_set(tmp_path, name)


def test_a_packed_list_is_a_list() -> None:
    items = [("a", 1), {"b": [2.5, None]}, "", ["x"] * 1000]
    packed = PackedList(iter(items))
    assert list(packed) == items and len(packed) == 4 and packed[2] == ""
    assert list(pickle.loads(pickle.dumps(packed))) == items
    with pytest.raises(IndexError):
        packed[4]


def test_the_two_frames_of_a_clip_are_near_and_in_order() -> None:
    rng = np.random.default_rng(0)
    pairs = {frame_pair(50, 3, rng) for _ in range(2000)}
    assert {second - first for first, second in pairs} == {1, 2, 3}
    assert min(pair[0] for pair in pairs) == 0 and max(pair[1] for pair in pairs) == 49
    assert frame_pair(1, 3, rng) is None
