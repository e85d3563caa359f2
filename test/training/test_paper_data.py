"""The paper's training data: configs against Table 1, readers, sampling, augmentation, padding."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("pycocotools", reason="COCO's masks need pycocotools")
pytest.importorskip("PIL", reason="the readers need Pillow")

import training_sets as published  # noqa: E402
from evaluation_data import HEIGHT, WIDTH, labels_at  # noqa: E402

from uniref_model.datasets.errors import DatasetError  # noqa: E402
from uniref_model.datasets.training import Drawn, Frame  # noqa: E402
from uniref_model.datasets.training.base import PackedList, frame_pair  # noqa: E402
from uniref_model.training.paper import augment, batches  # noqa: E402
from uniref_model.training.paper.config import (  # noqa: E402
    DatasetConfig,
    StageConfig,
    is_stage,
    parse_changes,
)
from uniref_model.training.paper.samples import Key, Sample, SampleStream, make_sample  # noqa: E402
from uniref_model.training.paper.sampling import MultiDatasetBatches  # noqa: E402
from uniref_model.training.paper.sets import open_dataset  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[2] / "config" / "training"
SPAN = 10


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.make_all(tmp_path_factory.mktemp("data"))


def row(name: str, **changes) -> DatasetConfig:
    tasks = {"visual_genome": "RIS", "refcoco": "RIS", "ref_youtube_vos": "RVOS"}
    values = {"task": tasks.get(name, "VOS"), "weight": 1.0, "batch_size": 2, "short_side": (64, 96)}
    return DatasetConfig(name, **(values | {"long_side": 128} | changes))


def open_set(data: Path, name: str, **changes):
    return open_dataset(row(name, **changes), data, SPAN)


def draws(dataset, count: int = 40):
    rng = np.random.default_rng(0)
    found = [dataset.draw(int(rng.integers(len(dataset))), rng) for _ in range(count)]
    return [drawn for drawn in found if drawn is not None]


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


# ---- sampling ----


class Sized:
    """A data set of which only the number and the sizes of its items are looked at."""

    has_masks = True

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def size(self, index: int) -> tuple[int, int]:
        return (4, 6) if index % 3 else (6, 4)


SIZED = [Sized(1000), Sized(10), Sized(100)]
WEIGHTED = [row("coco", weight=w, batch_size=b) for w, b in ((0.4, 2), (0.45, 2), (0.15, 3))]


def test_data_sets_are_drawn_by_weight_whatever_their_size() -> None:
    keys = list(islice(MultiDatasetBatches(SIZED, WEIGHTED, seed=0).keys(), 20000))
    counts = Counter(key.dataset for key in keys)
    assert [counts[i] / 20000 for i in range(3)] == pytest.approx([0.4, 0.45, 0.15], abs=0.012)
    items = Counter(key.item for key in keys if key.dataset == 1)
    assert set(items) == set(range(10)) and max(items.values()) < 1.2 * min(items.values())


def test_a_batch_is_of_one_data_set_and_one_orientation() -> None:
    for batch in islice(MultiDatasetBatches(SIZED, WEIGHTED, seed=0), 200):
        assert len({key.dataset for key in batch}) == 1
        assert len(batch) == WEIGHTED[batch[0].dataset].batch_size
        assert len({SIZED[key.dataset].size(key.item) for key in batch}) == 1


def test_processes_share_the_stream_without_overlap() -> None:
    def positions(rank: int, processes: int) -> list[int]:
        sampler = MultiDatasetBatches(SIZED, WEIGHTED, 0, rank, processes)
        return [key.position for batch in islice(sampler, 100) for key in batch]

    parts = [positions(rank, 2) for rank in (0, 1)]
    assert {p % 2 for p in parts[0]} == {0} and {p % 2 for p in parts[1]} == {1}
    assert parts[0] != positions(0, 1)


def test_a_resumed_stream_goes_on_where_it_stopped() -> None:
    whole = list(islice(MultiDatasetBatches(SIZED, WEIGHTED, 3), 60))
    assert list(islice(MultiDatasetBatches(SIZED, WEIGHTED, 3, start=37), 23)) == whole[37:]


def test_a_sample_depends_on_the_seed_and_its_place_alone(data: Path) -> None:
    configs = [row("coco")]
    sets = [open_set(data, "coco")]
    one, same, other = (SampleStream(sets, configs, seed) for seed in (1, 1, 2))
    for position in range(4):
        key = Key(0, 0, position)
        assert np.array_equal(one[key].current.image, same[key].current.image)
    shapes = [[stream[Key(0, 0, p)].current.image.tobytes() for p in range(8)] for stream in (one, other)]
    assert shapes[0] != shapes[1] and len(set(shapes[0])) > 1


def test_a_data_set_without_usable_objects_is_given_up_by_name() -> None:
    class Empty(Sized):
        def draw(self, index, rng):
            return None

    with pytest.raises(DatasetError, match="data set 'coco': 50 draws"):
        SampleStream([Empty(3)], [row("coco")], 0)[Key(0, 0, 0)]


# ---- augmentation ----


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("the left dog", "the right dog"),
        ("Rightmost man, left of the LEFT car", "leftmost man, right of the right car"),
        ("right-hand cup", "left-hand cup"),
        ("guy on rt next to lft one", "guy on lft next to rt one"),
        ("a bright light in the upright cleft", "a bright light in the upright cleft"),
    ],
)
def test_a_flip_swaps_left_and_right(before: str, after: str) -> None:
    assert augment.swap_sides(before) == after
    assert augment.swap_sides(after) == before.lower()


def half_frame() -> Frame:
    """A picture whose left half is the object."""
    mask = np.zeros((60, 100), bool)
    mask[10:50, 5:45] = True
    return Frame(
        np.where(mask[..., None], 200, 20).astype(np.uint8).repeat(3, 2), mask, (5.0, 10.0, 45.0, 50.0)
    )


@pytest.mark.parametrize("masks", [True, False])
def test_words_and_pictures_are_flipped_together(masks: bool) -> None:
    frame = half_frame() if masks else replace(half_frame(), mask=None)
    sides = Counter()
    for seed in range(40):
        drawn = Drawn((frame,), "the box on the left")
        config = row("refcoco" if masks else "visual_genome", crop=0.0)
        sample = make_sample(drawn, config, 0, np.random.default_rng(seed))
        width = sample.current.image.shape[1]
        on_left = (sample.current.box[0] + sample.current.box[2]) / 2 < width / 2
        assert sample.text == f"the box on the {'left' if on_left else 'right'}"
        x0, y0, x1, y1 = (round(v) for v in sample.current.box)
        assert sample.current.image[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].min() > 150
        sides[on_left] += 1
    assert min(sides.values()) > 10


def test_scale_jitter_keeps_to_the_limits() -> None:
    rng = np.random.default_rng(0)
    for name in ("coco", "lvos"):
        item = next(
            d for d in StageConfig.from_yaml(CONFIGS / "stage3_video.yaml").datasets if d.name == name
        )
        sides = {augment.draw_short_side(item, rng) for _ in range(500)}
        assert sides == set(range(item.short_side[0], item.short_side[1] + 1, 32))
    assert augment.resized((480, 640), 800, 1333) == (800, 1067)
    assert augment.resized((400, 1200), 800, 1333) == (444, 1333)
    assert augment.resized((1200, 400), 320, 768) == (768, 256)


def test_every_sample_of_a_stage_is_within_its_limits(data: Path) -> None:
    config = row("coco", short_side=(64, 128), long_side=144)
    dataset, rng = open_set(data, "coco"), np.random.default_rng(0)
    for _ in range(60):
        sample = make_sample(dataset.draw(0, rng), config, 0, rng)
        for frame in (sample.current, sample.reference):
            short, long = sorted(frame.image.shape[:2])
            assert long <= 144 and (short in range(64, 129, 32) or long == 144)


def test_a_crop_stays_in_the_picture_and_in_its_range() -> None:
    rng = np.random.default_rng(0)
    windows = [augment.draw_window((500, 900), rng) for _ in range(300)]
    for x, y, width, height in windows:
        assert x >= 0 and y >= 0 and x + width <= 900 and y + height <= 500
        assert 384 <= width <= 600 and 384 <= height <= 500
    assert augment.draw_window((60, 100), rng) == (0, 0, 100, 60)


def test_counting_expressions_are_never_cropped() -> None:
    image = np.zeros((700, 900, 3), np.uint8)
    mask = np.zeros((700, 900), bool)
    mask[300:400, 400:500] = True
    frame = Frame(image, mask, (400.0, 300.0, 500.0, 400.0))
    config = row("refcoco", crop=1.0, short_side=(350, 350), long_side=900)
    for phrase, shapes in (("second from the top", {(350, 450)}), ("the red one", None)):
        found = {
            make_sample(Drawn((frame,), phrase), config, 0, np.random.default_rng(s)).current.image.shape[:2]
            for s in range(20)
        }
        assert found == shapes if shapes else len(found) > 5


def test_a_pseudo_video_is_two_views_of_one_picture() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (700, 900, 3), np.uint8)
    mask = np.zeros((700, 900), bool)
    mask[300:420, 380:520] = True
    drawn = Drawn((Frame(noise, mask, (380.0, 300.0, 520.0, 420.0)),))
    config = row("coco", short_side=(320, 480), long_side=800)
    for seed in range(20):
        sample = make_sample(drawn, config, 0, np.random.default_rng(seed))
        views = [sample.reference, sample.current]
        assert all(view.mask.any() for view in views)
        assert views[0].box != views[1].box  # the object has moved or changed its size
        same = views[0].image.shape == views[1].image.shape
        assert not (same and np.array_equal(views[0].image, views[1].image))


def test_frames_of_a_video_share_their_flip_and_scale(data: Path) -> None:
    dataset, rng = open_set(data, "youtube_vos_2019"), np.random.default_rng(0)
    for _ in range(20):
        drawn = dataset.draw(0, rng)
        if drawn is None:
            continue
        sample = make_sample(drawn, row("youtube_vos_2019", crop=0.0), 0, rng)
        assert sample.reference.image.shape == sample.current.image.shape
        moved_right = sample.reference.box[0] < sample.current.box[0]
        flipped = not moved_right
        left = sample.current.box[0] < sample.current.image.shape[1] / 2
        assert left != flipped  # the rectangles keep to the left half


def test_a_share_of_referring_samples_has_words_alone(data: Path) -> None:
    dataset, rng = open_set(data, "ref_youtube_vos"), np.random.default_rng(0)
    for share in (0.0, 0.4, 1.0):
        config = row("ref_youtube_vos", language_only=share)
        samples = [make_sample(dataset.draw(0, rng), config, 0, rng) for _ in range(150)]
        alone = [sample.reference is None for sample in samples]
        assert all(sample.text for sample in samples)
        assert np.mean(alone) == pytest.approx(share, abs=0.12)


def test_a_phrase_without_a_word_is_not_a_sample() -> None:
    assert make_sample(Drawn((half_frame(),), "..!"), row("refcoco"), 0, np.random.default_rng(0)) is None


# ---- padding ----


def test_samples_are_padded_to_multiples_of_32_with_their_masks() -> None:
    small = Frame(np.full((40, 70, 3), 9, np.uint8), np.ones((40, 70), bool), (0.0, 0.0, 70.0, 40.0))
    large = half_frame()
    samples = [Sample(large, None, "", 2), Sample(small, None, "", 2), Sample(large, small, "", 2)]
    batch = batches.Collate(None)(samples)
    assert batch.current.images.shape == (3, 64, 128, 3) and batch.reference.images.shape == (1, 64, 96, 3)
    assert (~batch.current.padding).sum((1, 2)).tolist() == [60 * 100, 40 * 70, 60 * 100]
    assert not batch.current.padding[1, :40, :70].any() and batch.current.images[1, 40:].max() == 0
    assert batch.boxes[0].tolist() == pytest.approx([0.25, 0.5, 0.4, 40 / 60])
    assert batch.boxes[1].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert batch.reference_row.tolist() == [-1, -1, 0] and batch.ids is None and batch.dataset == 2
    assert batch.reference.masks[0, :40, :70].all() and batch.reference.masks.sum() == 40 * 70


def test_boxes_become_filled_masks_and_neighbours_of_one_colour_are_alike() -> None:
    frame = replace(half_frame(), mask=None)
    batch = batches.Collate(None)([Sample(frame, None, "", 0)])
    assert batch.current.masks[0].sum() == 40 * 40 and batch.current.masks[0, 10:50, 5:45].all()
    right = batches.NEIGHBOURS.index((0, 1))
    similar = batch.similar[0, right]
    assert similar.shape == (16, 32)
    assert similar[7, 5] and not similar[7, 10]  # inside the object; across its edge (cell 10 to 12)
    assert not similar[7, 24]  # its neighbour, cell 26, is padding
