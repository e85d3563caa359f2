"""Real pictures: the plain layout, its import, and pseudo-videos of stills in pairs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.importing import ImportOptions, import_set
from uniref_model.datasets.plain import INDEX, mask_of, read_pack
from uniref_model.synth.expressions import Seen, expressions_for
from uniref_model.synth.pairs import CURRENT, PREVIOUS, Kind, Pairs, PairSampler
from uniref_model.synth.stills import StillClips, StillConfig, StillExamples, names_of
from uniref_model.synth.views import views_of

pytest.importorskip("pycocotools", reason="COCO's outlines need pycocotools")

COLOURS = {"red": (200, 30, 30), "blue": (30, 40, 200), "yellow": (230, 210, 30)}
SIZE = (96, 160)


def draw(things: list[tuple[str, tuple[int, int, int, int]]], shape=(120, 160)) -> np.ndarray:
    image = np.full((*shape, 3), 128, np.uint8)
    for colour, (x, y, w, h) in things:
        image[y : y + h, x : x + w] = COLOURS[colour]
    return image


def square(x: int, y: int, w: int, h: int) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def coco(
    folder: Path, pictures: dict[str, list[tuple[str, str, tuple[int, int, int, int]]]], **extra
) -> Path:
    """A COCO-style folder: file name -> (category, colour, x y w h) of its things."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted({name for things in pictures.values() for name, _, _ in things})
    images, notes = [], []
    for number, (file, things) in enumerate(pictures.items(), 1):
        cv2.imwrite(str(folder / file), draw([(c, b) for _, c, b in things])[..., ::-1])
        images.append({"id": number, "file_name": file, "height": 120, "width": 160})
        for name, _, box in things:
            notes.append(
                {"image_id": number, "category_id": names.index(name), "segmentation": square(*box)} | extra
            )
    categories = [{"id": i, "name": name, "supercategory": "none"} for i, name in enumerate(names)]
    path = folder / "_annotations.coco.json"
    path.write_text(json.dumps({"images": images, "annotations": notes, "categories": categories}))
    return path


MUG, BOX = ("coffee_mug", "red", (20, 20, 40, 40)), ("box", "blue", (90, 50, 50, 50))


def pack_of(root: Path, pictures: dict | None = None, *, group: bool = True) -> Path:
    """A pack of ten pictures: a mug in all, alone or with a box. group: it is the same mug."""
    both = {f"{i}.png": [MUG, BOX] if i % 2 else [MUG] for i in range(10)}
    import_set(coco(root / "raw", pictures or both), root / "pack" / "mine")
    if group:
        index = root / "pack" / "mine" / INDEX
        rows = [json.loads(line) for line in index.read_text().splitlines()]
        index.write_text(
            "".join(
                json.dumps(row | ({"group": "my mug"} if row["name"] == "coffee mug" else {})) + "\n"
                for row in rows
            )
        )
    return root / "pack"


def edit(pack: Path, line: int, **changes) -> None:
    index = next(pack.glob(f"*/{INDEX}"))
    rows = [json.loads(text) for text in index.read_text().splitlines()]
    rows[line] |= changes
    index.write_text("".join(json.dumps(row) + "\n" for row in rows))


# --- import ---


def test_an_import_keeps_outlines_names_and_a_tenth_for_validation(tmp_path: Path) -> None:
    pictures = {f"{i}.png": [MUG, BOX] for i in range(10)}
    done = import_set(coco(tmp_path / "raw", pictures), tmp_path / "pack" / "mine")
    assert (done.pictures, done.objects, done.validation) == (10, 20, 1)
    assert done.names == {"coffee mug": 10, "box": 10} and not done.left_out
    found = read_pack(tmp_path / "pack")
    image, labels = found[0].read()
    mug = next(item for item in found[0].objects if item.name == "coffee mug")
    truth = np.zeros((120, 160), bool)
    truth[20:60, 20:60] = True
    mask = mask_of(labels, mug)
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9
    assert np.abs(image[mask].mean(0) - COLOURS["red"]).max() < 25


def test_the_same_pictures_validate_whenever_it_is_done_again(tmp_path: Path) -> None:
    pictures = {f"{i}.png": [MUG] for i in range(20)}
    path = coco(tmp_path / "raw", pictures)
    held = []
    for name in ("one", "two"):
        import_set(path, tmp_path / name)
        held.append([p.file for p in read_pack(tmp_path / name, split="val")])
    assert held[0] == held[1] and len(held[0]) == 2


def test_a_thing_on_another_keeps_its_pixels_whatever_the_order(tmp_path: Path) -> None:
    plate, bread = ("plate", "blue", (20, 20, 100, 80)), ("bread", "yellow", (50, 40, 30, 30))
    import_set(coco(tmp_path / "raw", {"1.png": [bread, plate], "2.png": [plate, bread]}), tmp_path / "set")
    for picture in read_pack(tmp_path / "set"):
        labels = picture.read()[1]
        areas = {item.name: int(mask_of(labels, item).sum()) for item in picture.objects}
        assert areas["bread"] > 800 and areas["plate"] > 6000


def test_large_pictures_are_shrunk_with_their_masks(tmp_path: Path) -> None:
    import_set(coco(tmp_path / "raw", {"1.png": [MUG]}), tmp_path / "set", ImportOptions(size=80))
    image, labels = read_pack(tmp_path / "set")[0].read()
    assert image.shape == (60, 80, 3) and 350 < (labels > 0).sum() < 450


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda data: data["images"][0].update(file_name="gone.png"), "gone.png"),
        (lambda data: data["images"][0].update(file_name="../1.png"), "1.png"),
        (lambda data: data["images"][0].update(width=999), "said to be 999x120"),
        (lambda data: data["annotations"][0].update(segmentation=[]), "a box alone"),
        (lambda data: data["annotations"][0].update(category_id=77), "77"),
        (lambda data: data["annotations"][0].update(segmentation=[[1, 2]]), "1.png"),
        (lambda data: data["annotations"][0].update(segmentation=7), "1.png"),
        (lambda data: data["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, "x"]]), "1.png"),
        (
            lambda data: data["annotations"][0].update(segmentation={"size": [10**6, 10**6], "counts": "1"}),
            "run-length",
        ),
    ],
)
def test_what_cannot_be_used_is_named_and_the_rest_imported(tmp_path: Path, break_it, told) -> None:
    path = coco(tmp_path / "raw", {"1.png": [MUG], "2.png": [MUG]})
    data = json.loads(path.read_text())
    break_it(data)
    path.write_text(json.dumps(data))
    done = import_set(path, tmp_path / "set")
    assert done.pictures == 1 and len(done.left_out) == 1 and told in done.left_out[0]


def test_a_damaged_picture_is_named_and_the_rest_imported(tmp_path: Path) -> None:
    path = coco(tmp_path / "raw", {"1.png": [MUG], "2.png": [MUG]})
    (tmp_path / "raw" / "1.png").write_bytes(b"\x89PNG\r\n")
    done = import_set(path, tmp_path / "set")
    assert done.pictures == 1 and "1.png" in done.left_out[0]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"images": []}', '{"images": [{}], "annotations": [], "categories": []}']
)
def test_a_json_file_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DatasetError):
        import_set(tmp_path / "x.json", tmp_path / "set")


def test_a_crowd_makes_the_picture_incomplete(tmp_path: Path) -> None:
    path = coco(tmp_path / "raw", {"1.png": [MUG, BOX]})
    data = json.loads(path.read_text())
    data["annotations"][1]["iscrowd"] = 1
    path.write_text(json.dumps(data))
    import_set(path, tmp_path / "set", ImportOptions(complete=True))
    (picture,) = read_pack(tmp_path / "set")
    assert picture.complete is False and [item.name for item in picture.objects] == ["coffee mug"]


def test_a_plain_set_is_imported_as_it_is(tmp_path: Path) -> None:
    pack = pack_of(tmp_path)
    done = import_set(pack / "mine", tmp_path / "again")
    rows = [(tmp_path / place / INDEX).read_text() for place in ("pack/mine", "again")]
    assert done.pictures == 10 and sorted(rows[0].splitlines()) == sorted(rows[1].splitlines())


def test_a_set_is_never_written_over_another(tmp_path: Path) -> None:
    path = coco(tmp_path / "raw", {"1.png": [MUG]})
    import_set(path, tmp_path / "set")
    with pytest.raises(DatasetError, match="not empty"):
        import_set(path, tmp_path / "set")


# --- the plain layout ---


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../secret.jpg"},
        {"mask": "/etc/passwd"},
        {"value": 0},
        {"value": 256},
        {"value": "a"},
        {"name": 3},
        {"name": " "},
        {"masks_by": "magic"},
    ],
)
def test_a_wrong_row_is_named_and_left_out(tmp_path: Path, changes: dict) -> None:
    pack = pack_of(tmp_path)
    edit(pack, 2, **changes)
    with pytest.raises(DatasetError, match="line 3"):
        read_pack(pack)
    told: list[str] = []
    assert sum(len(p.objects) for p in read_pack(pack, complain=told.append)) == 14 and len(told) == 1


def test_a_picture_too_large_is_told_from_its_header(tmp_path: Path, monkeypatch) -> None:
    pack = pack_of(tmp_path)
    picture = read_pack(pack)[0]
    huge = bytearray((picture.folder / picture.file).read_bytes())
    frame = huge.index(b"\xff\xc0")
    huge[frame + 5 : frame + 9] = (30_000).to_bytes(2, "big") * 2
    (picture.folder / picture.file).write_bytes(huge)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DatasetError, match="30000x30000"):
        picture.read()


def test_research_only_pictures_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    pack = pack_of(tmp_path)
    edit(pack, 0, use="research-only")
    file = json.loads(next(pack.glob(f"*/{INDEX}")).read_text().splitlines()[0])["file"]
    assert file not in {p.file for p in read_pack(pack)}
    assert file in {p.file for p in read_pack(pack, uses=("train", "research-only"))}


# --- clips of stills ---


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


def test_the_command_imports_and_says_what_it_made(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from uniref_model.cli import app

    coco(tmp_path / "raw", {"1.png": [MUG], "2.png": [MUG, BOX]})
    given = ["data", "import", str(tmp_path / "raw"), str(tmp_path / "pack" / "mine")]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    assert "2 pictures" in result.output and "coffee mug" in result.output
    sheet = tmp_path / "sheet.png"
    result = CliRunner().invoke(app, ["data", "preview", str(sheet), "--stills", str(tmp_path / "pack")])
    assert result.exit_code == 0, result.output
    assert cv2.imread(str(sheet)).shape == (6 * 192, 3 * 320, 3) and "mug" in result.output


def test_an_import_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch) -> None:
    from uniref_model.datasets import importing
    from uniref_model.errors import SourceError

    path = coco(tmp_path / "raw", {"1.png": [MUG], "2.png": [MUG]})

    def full(path: Path, *_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(importing, "write_labels", full)
    with pytest.raises(SourceError, match=r"cannot write .*: No space left on device"):
        import_set(path, tmp_path / "set")
    monkeypatch.undo()
    assert not any((tmp_path / "set").iterdir())
    assert import_set(path, tmp_path / "set").pictures == 2


def test_only_good_rows_of_a_plain_set_are_imported(tmp_path: Path) -> None:
    pack = pack_of(tmp_path) / "mine"
    lines = (pack / INDEX).read_text().splitlines()
    bad = [{}, {"file": [1]}, json.loads(lines[0]) | {"value": 999}, json.loads(lines[0]) | {"use": "none"}]
    lines[0] = json.dumps(json.loads(lines[0]) | {"credit": "half a character: \ud800"})
    (pack / INDEX).write_text("\n".join([*map(json.dumps, bad), "[1]", "{", *lines]))
    done = import_set(pack, tmp_path / "again")
    assert len(done.left_out) == 6 and done.pictures == 10
    assert len((tmp_path / "again" / INDEX).read_text().splitlines()) == len(lines)


def test_what_is_ambiguous_or_lost_in_coco_is_said(tmp_path: Path) -> None:
    path = coco(tmp_path / "raw", {"1.png": [MUG], "2.png": [MUG]})
    data = json.loads(path.read_text())
    data["annotations"].append(data["annotations"][0] | {"image_id": 77})
    path.write_text(json.dumps(data))
    assert "annotations of 1 images" in import_set(path, tmp_path / "one").left_out[0]
    data["images"][1]["id"] = data["images"][0]["id"]
    path.write_text(json.dumps(data))
    with pytest.raises(DatasetError, match="id 1 is there twice"):
        import_set(path, tmp_path / "two")
