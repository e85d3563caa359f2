"""Pseudo-videos of real pictures: clips of stills in pairs, and what is asked of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from real_pictures import BOX, COLOURS, MUG, coco, edit, pack_of

from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.importing import import_set
from uniref_model.datasets.plain import read_pack
from uniref_model.synth.expressions import Seen, expressions_for
from uniref_model.synth.pairs import CURRENT, PREVIOUS, Kind, Pairs, PairSampler
from uniref_model.synth.stills import StillClips, StillConfig, StillExamples, names_of
from uniref_model.synth.views import views_of

pytest.importorskip("pycocotools", reason="COCO's outlines need pycocotools")

SIZE = (96, 160)


def clips(pack: Path, seed: int = 0, **config) -> StillClips:
    pictures = read_pack(pack)
    return StillClips(pictures, StillConfig(**config), SIZE, seed)


def test_every_phrase_of_a_clip_is_true_of_its_object_alone(tmp_path: Path) -> None:
    maker = clips(pack_of(tmp_path), pasted=0.0)
    said = set()
    for _ in range(20):
        for example in maker.pair():
            named = [identity.split(":")[-1] for identity in example.identities]
            for identity, phrases in zip(named, example.expressions, strict=True):
                for phrase in phrases:
                    said.add(phrase.text)
                    is_mug = identity == "my mug"
                    assert ("mug" in phrase.text) <= is_mug and ("box" in phrase.text) <= (not is_mug)
                    assert ("red" in phrase.text) <= is_mug and ("blue" in phrase.text) <= (not is_mug)
    assert any("mug" in text for text in said) and any("left" in text for text in said)


def test_sides_are_those_of_the_flipped_frame(tmp_path: Path) -> None:
    maker = clips(pack_of(tmp_path), pasted=0.0)
    sides = set()
    for _ in range(30):
        for example in maker.pair():
            for index, phrases in enumerate(example.expressions):
                mask = example.mask(CURRENT, index)
                for phrase in phrases:
                    if "left" in phrase.text or "right" in phrase.text:
                        middle = np.nonzero(mask)[1].mean() / mask.shape[1]
                        side = "left" if "left" in phrase.text else "right"
                        sides.add((side, example.identities[index].split(":")[-1] == "my mug"))
                        assert (middle < 0.55) if side == "left" else (middle > 0.45), phrase.text
    assert {("left", True), ("right", True)} <= sides  # the picture has the mug on its left


def test_what_is_said_to_be_absent_is_nowhere_in_the_clip(tmp_path: Path) -> None:
    maker = clips(pack_of(tmp_path), pasted=0.5)
    texts = [text for _ in range(20) for example in maker.pair() for text in example.absent]
    assert texts
    assert not any(text.endswith(("red coffee mug", "blue box")) for text in texts)
    assert any("mug" in text for text in texts)  # near misses: the same thing in another colour


def test_nothing_is_said_by_name_where_others_of_the_kind_may_stand_unlabelled(tmp_path: Path) -> None:
    pack = pack_of(tmp_path)
    for line in range(15):
        edit(pack, line, complete=False)
    for example in clips(pack, pasted=0.0).pair():
        assert not any(example.expressions)
        assert example.labels.any()  # but it is clicked and followed


def test_masks_follow_their_thing_through_the_threeviews_of(tmp_path: Path) -> None:
    maker = clips(pack_of(tmp_path), pasted=0.0)
    for _ in range(10):
        for example in maker.pair():
            for t in range(3):
                for index, identity in enumerate(example.identities):
                    mask = cv2.erode(example.mask(t, index).astype(np.uint8), np.ones((5, 5))) > 0
                    if mask.sum() > 40:
                        r, _, b = example.images[t][mask].astype(float).mean(0)
                        assert (r > b) == identity.endswith("my mug")


@pytest.mark.parametrize("shape", [(480, 300), (270, 480), (480, 480)])
def test_a_view_shows_the_picture_and_hardly_what_is_beyond_it(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(60):
        focus = np.array([0.4 * shape[1], 0.4 * shape[0], 0.6 * shape[1], 0.6 * shape[0]])
        views = views_of(rng, shape, focus, SIZE)
        seen = cv2.warpPerspective(np.ones(shape, np.uint8), views[-1], SIZE[::-1], flags=cv2.INTER_NEAREST)
        inside.append(seen.mean())
    assert min(inside) > 0.8 and np.mean(inside) > 0.97


def test_half_of_the_clips_show_the_picture_stretched_as_in_use() -> None:
    rng, shape = np.random.default_rng(1), (480, 240)
    ratios = []
    for _ in range(200):
        matrix = views_of(rng, shape, np.array([100.0, 200.0, 140.0, 280.0]), SIZE)[-1]
        ratios.append(matrix[0, 0] / matrix[1, 1])
    stretched = SIZE[1] / 240 / (SIZE[0] / 480)
    assert 0.35 < np.mean(np.abs(np.log(np.array(ratios) / stretched)) < 0.2) < 0.75


def test_references_across_scenes_find_the_same_thing_and_nothing_of_another(tmp_path: Path) -> None:
    pictures = {f"{i}.png": [BOX] if i % 2 else [MUG] for i in range(10)}
    maker = clips(pack_of(tmp_path, pictures), pasted=0.0, same=0.5)
    sampler = PairSampler(Pairs(0, 0, 0, 0, 0, 0, across=3, foreign=3), 8, np.random.default_rng(0))
    kinds = set()
    for _ in range(12):
        examples = maker.pair()
        batch = sampler.batch(examples)
        for kind, frame, target, first in zip(
            batch.kind, batch.frame, batch.target, batch.first, strict=True
        ):
            kinds.add(Kind(kind))
            shown = batch.reference_frame[first]
            assert shown // 3 != frame // 3 and frame % 3 == CURRENT
            asked = batch.images[shown][batch.reference_mask[first] > 127].mean(0)
            if kind == Kind.ACROSS:
                found = batch.images[frame][batch.labels[frame] == target].mean(0)
                assert (asked[0] > asked[2]) == (found[0] > found[2])
            else:
                assert target == -1
    assert kinds == {Kind.ACROSS, Kind.FOREIGN}


def test_what_is_gone_was_followed_a_moment_ago_where_it_was_and_onto_other_things(tmp_path: Path) -> None:
    pictures = {f"{i}.png": [BOX] if i % 2 else [MUG] for i in range(10)}
    maker = clips(pack_of(tmp_path, pictures), pasted=0.0, same=0.5)
    sampler = PairSampler(Pairs(0, 0, 0, 0, 0, 0, across=3, foreign=3), 8, np.random.default_rng(0))
    followed: dict[Kind, list[bool]] = {Kind.ACROSS: [], Kind.FOREIGN: []}  # in the clip that is asked about?
    alone = 0
    for _ in range(120):
        batch = sampler.batch(maker.pair())
        for kind, frame, previous in zip(batch.kind, batch.frame, batch.previous, strict=True):
            if previous < 0:
                alone += 1
                continue
            at = batch.reference_frame[previous]
            assert at % 3 == PREVIOUS and batch.reference_mask[previous].any()
            followed[Kind(kind)].append(at // 3 == frame // 3)
    assert alone > 10
    assert all(followed[Kind.ACROSS]) and len(followed[Kind.ACROSS]) > 5
    assert 0.3 < np.mean(followed[Kind.FOREIGN]) < 0.85 and len(followed[Kind.FOREIGN]) > 30


def test_a_box_is_not_asked_for_across_where_another_box_stands(tmp_path: Path) -> None:
    """Another thing of the same name: nobody knows whether it is meant."""
    maker = clips(pack_of(tmp_path, group=False), pasted=0.0, same=0.0)
    sampler = PairSampler(Pairs(0, 0, 0, 0, 0, 0, across=5, foreign=5), 8, np.random.default_rng(0))
    for _ in range(12):
        one, other = maker.pair()
        if one.identities == other.identities:
            continue
        batch = sampler.batch([one, other])
        for frame, first in zip(batch.frame, batch.first, strict=True):
            asked = batch.images[batch.reference_frame[first]][batch.reference_mask[first] > 127].mean(0)
            there = batch.labels[frame]
            colours = [batch.images[frame][there == v].mean(0) for v in np.unique(there[there > 0])]
            assert not any((asked[0] > asked[2]) == (c[0] > c[2]) for c in colours)


def test_cut_outs_come_with_a_mask_and_cover_what_they_lie_on(tmp_path: Path) -> None:
    maker = clips(pack_of(tmp_path), pasted=1.0)
    more = [len(example.identities) for _ in range(6) for example in maker.pair()]
    assert max(more) > 2


def test_validation_clips_are_of_pictures_that_are_not_trained_on(tmp_path: Path) -> None:
    pack = pack_of(tmp_path)
    for held in (False, True):
        maker = StillExamples(pack, StillConfig(pasted=0.0), validation=held)
        example = next(maker(SIZE, 3))
        assert example.images.shape == (3, *SIZE, 3)
    train, val = ({p.file for p in read_pack(pack, split=s)} for s in ("train", "val"))
    assert val and not train & val


def test_a_set_without_pictures_of_the_split_is_refused_by_name(tmp_path: Path) -> None:
    import_set(coco(tmp_path / "raw", {"1.png": [MUG]}), tmp_path / "set")
    with pytest.raises(DatasetError, match="val"):
        next(StillExamples(tmp_path / "set", validation=True)(SIZE, 0))


def test_a_picture_that_breaks_while_training_is_left_out_and_told(tmp_path: Path) -> None:
    pack = pack_of(tmp_path)
    maker = clips(pack, pasted=0.0)
    next((pack / "mine" / "images").iterdir()).write_bytes(b"")
    with pytest.warns(UserWarning, match="left out"):
        for _ in range(30):
            assert len(maker.pair()) == 2


def test_a_colour_is_not_said_twice() -> None:
    from uniref_model.datasets.plain import Annotation
    from uniref_model.synth.things.colours import name_colours

    patch = np.full((40, 40, 3), COLOURS["yellow"], np.uint8)
    mask = np.full((40, 40), 255, np.uint8)
    item = Annotation("yellow eraser", ("yellow eraser",), (1,))
    seen = Seen.of(names_of(item), name_colours(patch, mask), mask)
    rng = np.random.default_rng(0)
    texts = {e.text for _ in range(20) for e in expressions_for(rng, [[seen]], 0)}
    assert any("eraser" in text for text in texts)
    assert not any(text.count("yellow") > 1 for text in texts)
