"""The paper's training data: sampling, augmentation, padding."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("pycocotools", reason="COCO's masks need pycocotools")
pytest.importorskip("PIL", reason="the readers need Pillow")

from paper_sets import CONFIGS, open_set, row

from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.training import Drawn, Frame
from uniref_model.training.paper import augment, batches
from uniref_model.training.paper.config import (
    StageConfig,
)
from uniref_model.training.paper.samples import Key, Sample, SampleStream, make_sample
from uniref_model.training.paper.sampling import MultiDatasetBatches

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
