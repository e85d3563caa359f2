"""`uniref eval suite` and `generated`: on made-up pictures with an honest double that sees colours."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_runtime import FakeColourRuntime, scene
from toy_clips import toy_examples

from uniref_model.commands.suite import show
from uniref_model.datasets.errors import DatasetError
from uniref_model.evaluation import generated, suite
from uniref_model.synth.pairs import Kind
from uniref_model.tracking import Tracker

BOX = (20, 30, 60, 40)


def video(path: Path, colour: str, frames: int) -> Path:
    """Mostly lossless: the double knows colours by their exact values, more or less."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (224, 128))
    for _ in range(frames):
        writer.write(cv2.cvtColor(scene((colour, BOX)), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Two videos, a red box and a blue one, with two masks each."""
    for name, colour in (("one", "red"), ("two", "blue")):
        video(tmp_path / f"{name}.avi", colour, 6)
        folder = tmp_path / "eval" / name
        (folder / "masks").mkdir(parents=True)
        labels = np.zeros((128, 224), np.uint8)
        labels[BOX[1] : BOX[1] + BOX[3], BOX[0] : BOX[0] + BOX[2]] = 1
        for index in (0, 4):
            cv2.imwrite(str(folder / "masks" / f"{index:05d}.png"), labels)
        meta = {
            "name": name,
            "video": f"{name}.avi",
            "objects": [{"id": 1, "expressions": [f"the {colour} box"]}],
            "absent": ["the green car"],
        }
        (folder / "meta.json").write_text(json.dumps(meta))
    return tmp_path


def still(name: str = "s") -> suite.Picture:
    labels = np.zeros((128, 224), np.uint8)
    labels[30:70, 20:80] = 1
    return suite.Picture(
        name, scene(("red", BOX)), labels, {1: ("the red thing", "the blue thing")}, ("green",)
    )


def test_the_suite_scores_videos_absence_and_stills(media: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = suite.run_suite(FakeColourRuntime(interactive=True), media, out, [still()], told=lambda _: None)
    runs = {(clip["clip"], run["reference"]): run["J"] for clip in result["videos"] for run in clip["runs"]}
    assert set(runs) == {(c, r) for c in ("one", "two") for r in ("words", "mask", "click", "box")}
    assert min(runs.values()) > 0.8
    assert [(row["frames"], row["answered"]) for row in result["absent"]] == [(6, 0), (6, 0)]
    assert json.loads(json.dumps(result["stills"])) == result["stills"], "no number of NumPy's own"
    json.dumps(result)  # what the command writes, and what it prints:
    titles = [(table.title, table.row_count) for table in show(result)]
    assert titles == [
        ("demo videos", 8),
        ("what is not there", 2),
        ("turned away and back", 2),
        ("stills (absent prompts answered: 0 of 1)", 2),
    ]
    right = {(row["reference"], row["words"]): row["right"] for row in result["stills"]}
    assert right[("words", "the red thing")] and not right[("words", "the blue thing")]
    assert right[("click", "")] and right[("box", "")]
    assert result["still_absent"] == [{"picture": "s", "words": "green", "answered": False, "score": 0.05}]
    assert {"one-words-obj1-expr0.png", "stills-words.png"} <= {p.name for p in (out / "sheets").iterdir()}


def test_turning_away_shows_the_other_place_and_comes_back(tmp_path: Path) -> None:
    here, there = video(tmp_path / "a.avi", "red", 200), video(tmp_path / "b.avi", "blue", 200)
    frames = list(suite.turned_away(here, there))
    shares = [share for _, share in frames]
    assert shares.count(0.0) == suite.AWAY_FRAMES
    assert shares.count(1.0) == suite.SEEN_BEFORE + suite.BACK_FRAMES
    assert all(abs(a - b) < 0.1 for a, b in pairwise(shares))
    corner = {share: image[50, 50] for image, share in frames}
    assert corner[1.0][0] > 150 and corner[0.0][2] > 150, "red here, blue there"
    found = suite.reacquired(Tracker(FakeColourRuntime()), iter(frames), "the red box")
    assert found["seen_before"] == 1 and found["answered_away"] == 0 and found["back_after"] == 0
    never = suite.reacquired(Tracker(FakeColourRuntime()), iter(frames), "the green box")
    assert never["back_after"] is None and never["seen_before"] == 0


def test_an_absent_prompt_that_is_answered_is_counted(tmp_path: Path) -> None:
    path = video(tmp_path / "a.avi", "red", 5)
    rows = suite.absent_in_video(Tracker(FakeColourRuntime()), path, "a", ["the red car", "the green car"])
    assert [(row["answered"], row["rate"]) for row in rows] == [(5, 1.0), (0, 0.0)]


def test_pictures_are_the_annotated_ones_or_refused(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    image = tmp_path / "p.png"
    cv2.imwrite(str(image), np.zeros((8, 10, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "masks" / "p.png"), np.ones((8, 10), np.uint8))
    entry = {
        "name": "p",
        "sha256": hashlib.sha256(image.read_bytes()).hexdigest(),
        "objects": [{"id": 1, "expressions": ["a"]}],
        "absent": [],
    }
    listing = tmp_path / "pictures.json"
    listing.write_text(json.dumps({"pictures": [entry, entry | {"name": "gone"}]}))
    found, missing = suite.load_pictures(tmp_path, lambda e: image if e["name"] == "p" else None)
    assert [p.name for p in found] == ["p"] and missing == ["gone"]
    listing.write_text(json.dumps({"pictures": [entry | {"sha256": "0"}]}))
    with pytest.raises(DatasetError, match="annotated"):
        suite.load_pictures(tmp_path, lambda _: image)


def test_the_shipped_pictures_have_masks_for_every_object() -> None:
    folder = Path(__file__).resolve().parents[2] / "media" / "eval" / "stills"
    for entry in json.loads((folder / "pictures.json").read_text())["pictures"]:
        labels = cv2.imread(str(folder / "masks" / f"{entry['name']}.png"), cv2.IMREAD_UNCHANGED)
        assert {item["id"] for item in entry["objects"]} == set(np.unique(labels)) - {0}
        assert entry["client"] in ("apt", "pip", "npm") and len(entry["sha256"]) == 64


def test_generated_clips_are_asked_by_every_kind_and_summed_up() -> None:
    runtime = FakeColourRuntime((64, 128), interactive=True)
    answers = generated.ask_generated(runtime, toy_examples((64, 128), 3), clips=12)
    result = generated.summarise(answers, 0.4, 0.3)
    assert {"words", "mask", "hint", "absent"} <= set(result)
    assert result["mask"]["J"] > 0.7 and result["words"]["found"] > 0.7
    assert result["absent"]["answered"] < 0.2 and result["words"]["confused"] == 0


def test_the_threshold_lies_between_right_and_wrong_scores() -> None:
    def answer(score: float, j: float) -> generated.Answer:
        return generated.Answer(Kind.WORDS, score, j, j, False)

    answers = [answer(0.7, 0.9), answer(0.9, 0.8), answer(0.2, 0.1), answer(0.4, 0.0)]
    assert 0.4 <= generated.choose_threshold(answers) < 0.7
    with pytest.raises(ValueError, match="right and wrong"):
        generated.choose_threshold(answers[:2])
