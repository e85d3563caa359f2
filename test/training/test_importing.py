"""Pictures that others annotated: their import, and the plain layout that it writes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from real_pictures import BOX, COLOURS, MUG, coco, edit, pack_of

from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.importing import ImportOptions, import_set
from uniref_model.datasets.plain import INDEX, mask_of, read_pack

pytest.importorskip("pycocotools", reason="COCO's outlines need pycocotools")


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
