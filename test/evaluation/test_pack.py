"""`uniref eval pack`: what is asked about annotated stills, and what the answers come to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_runtime import FakeColourRuntime
from plain_sets import add_picture, make_pack

from uniref_model.commands.pack import score_pack, show_pack
from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.plain import mask_of, read_pack
from uniref_model.evaluation.pack import KINDS, questions
from uniref_model.tracking import TrackerConfig


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return make_pack(tmp_path / "pack")


def score(pack: Path, out: Path, **options):
    told: list[str] = []
    choices = {"split": "val", "limit": 10, "uses": ("train",), "config": TrackerConfig(), **options}
    result = score_pack(
        FakeColourRuntime(), pack, out, on_progress=lambda *_: None, complain=told.append, **choices
    )
    return result, told


def test_a_pack_reads_as_it_was_written(pack):
    pictures = read_pack(pack)
    assert [p.key for p in pictures[:2]] == ["blocks/images/0.png", "blocks/images/1.png"] and len(
        pictures
    ) == 9
    image, labels = pictures[0].read()
    red = mask_of(labels, pictures[0].objects[0])
    assert red.sum() == 30 * 24 and (image[red] == (220, 30, 30)).all()
    assert len(read_pack(pack / "green", split="val")) == 2
    assert pictures[0].objects[0].share == pytest.approx(30 * 24 / (96 * 64))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"file": "/etc/passwd"}, "expected a path within"),
        ({"mask": "masks/../../secret.png"}, "expected a path within"),
        ({"value": 0}, "not within 1..255"),
        ({"name": "a\nb"}, "expected plain text"),
        ({"name": None}, "name: expected str"),
        ({"masks_by": "magic"}, "masks_by is 'magic'"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_read(pack, row, reason):
    good = json.loads((pack / "green" / "index.jsonl").read_text().splitlines()[0])
    with (pack / "green" / "index.jsonl").open("a") as file:
        file.write(json.dumps({**good, "file": "images/new.png", **row}) + "\n")
    told: list[str] = []
    assert len(read_pack(pack, complain=told.append)) == 9
    assert len(told) == 1 and "line 4" in told[0] and reason in told[0]
    with pytest.raises(DatasetError, match="line 4"):
        read_pack(pack)


def test_no_pack_is_said(tmp_path):
    with pytest.raises(DatasetError, match=r"no index\.jsonl"):
        read_pack(tmp_path)


def test_the_same_questions_every_time(pack):
    pictures = read_pack(pack, split="val")
    first, second = (questions(pictures, 10) for _ in range(2))
    assert first == second and {question.kind for question in first} <= set(KINDS)
    assert len(questions(pictures, 1)) < len(first)


def test_a_runtime_that_sees_colours_answers_right(pack, tmp_path):
    result, told = score(pack, tmp_path / "out")
    assert told == []
    everything = result["sets"]["all"]
    words = everything["words"]
    assert (words["asked"], words["answered"], words["right"]) == (4, 1.0, 1.0) and words["J"] > 0.95
    assert everything["across"]["right"] == 1.0 and everything["mask"]["right"] == 1.0
    assert "new names" not in result["sets"], "every name is in a training picture"
    assert {"blocks", "green"} <= set(result["sets"])
    assert (tmp_path / "out" / "sheets" / "words.png").is_file()
    assert show_pack(result).row_count == 3


def test_what_is_not_there_is_asked_too(pack, tmp_path):
    add_picture(pack / "blocks", "late", [("green", (10, 10, 20, 20))], split="train")
    add_picture(pack / "blocks", "later", [("green", (10, 10, 20, 20))], split="val")
    result, _ = score(pack, tmp_path / "out")
    absent = result["sets"]["blocks"]["absent"]
    assert absent["asked"] > 0 and absent["answered"] == 0.0 and "right" not in absent


def test_thresholds_are_the_asker_s(pack, tmp_path):
    config = TrackerConfig(language_threshold=0.95, view_threshold=0.95)  # the double is sure to 0.9
    result, _ = score(pack, tmp_path, config=config)
    kinds = result["sets"]["all"]
    assert kinds["words"]["answered"] == 0.0 and kinds["mask"]["answered"] > 0.5


def test_a_picture_that_cannot_be_read_is_named_and_left_out(pack, tmp_path):
    (pack / "green" / "images" / "1.png").write_bytes(b"no picture")
    result, told = score(pack, tmp_path / "out")
    assert told and all("1.png could not be decoded" in text for text in told)
    assert result["sets"]["green"]["words"]["asked"] == 1


def test_nothing_to_ask_is_an_error(pack, tmp_path):
    with pytest.raises(DatasetError, match="nothing to ask"):
        score(pack, tmp_path / "out", uses=("research-only",))
