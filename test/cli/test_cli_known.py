"""`uniref teach`, `uniref known` and `--known`, on the double that sees colours."""

from __future__ import annotations

import json

import cv2
import pytest
from fake_runtime import FakeColourRuntime, rectangle, scene

from uniref_model.cli import main
from uniref_model.offline import model as model_choice
from uniref_model.video import VideoWriter

HERE, THERE = (32, 32, 40, 32), (152, 72, 40, 32)


@pytest.fixture(autouse=True)
def fake(monkeypatch) -> FakeColourRuntime:
    runtime = FakeColourRuntime(interactive=True)
    monkeypatch.setattr(model_choice, "load_runtime", lambda *_, **__: runtime.opened())
    return runtime


@pytest.fixture
def video(tmp_path) -> str:
    """Nothing, then a red thing."""
    path = tmp_path / "in.mp4"
    writer = VideoWriter(path, 10)
    for picture in (scene(), scene(), scene(("red", HERE))):
        writer.write(picture)
    writer.close()
    return str(path)


@pytest.fixture
def known(tmp_path) -> list[str]:
    return ["--known", str(tmp_path / "known")]


def test_taught_by_a_click_in_a_frame_and_tracked_by_name_elsewhere(video, known, tmp_path, capsys):
    assert main(["teach", "my gripper", video, "--click", "50,45", "--frame", "2", *known]) == 0
    assert "my gripper: 1 view in" in capsys.readouterr().out.replace("\n", " ")
    picture, out = tmp_path / "other.png", tmp_path / "out.json"
    cv2.imwrite(str(picture), scene(("red", THERE), ("blue", HERE))[..., ::-1])
    assert main(["track", str(picture), "-p", "the gripper", "--json", str(out), "-q", *known]) == 0
    (item,) = json.loads(out.read_text())["frames"][0]["objects"]
    assert item["state"] == "tracked" and abs(item["box"][0] - THERE[0]) < 4


def test_a_mask_and_a_box_teach_too_and_what_is_known_is_listed_shown_and_forgotten(known, tmp_path, capsys):
    picture, mask = tmp_path / "a.png", tmp_path / "mask.png"
    cv2.imwrite(str(picture), scene(("red", HERE), ("blue", THERE))[..., ::-1])
    cv2.imwrite(str(mask), rectangle(HERE).astype("uint8") * 255)
    assert main(["teach", "mug", str(picture), "--mask", str(mask), *known]) == 0
    assert main(["teach", "mug", str(picture), "--box", "148,68,48,40", *known]) == 0
    assert main(["known", "list", *known]) == 0
    assert "mug" in capsys.readouterr().out
    sheet = tmp_path / "sheet.png"
    assert main(["known", "show", "the mug", "--out", str(sheet), *known]) == 0
    assert cv2.imread(str(sheet)).shape == (240, 488, 3)
    assert main(["known", "forget", "mug", "--view", "1", *known]) == 0
    assert main(["known", "forget", "mug", *known]) == 0
    assert main(["known", "forget", "mug", *known]) == 1
    assert "no known object has the name 'mug'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["mug", "{video}"], "found 0 things to teach"),
        (["mug", "{video}", "--click", "50,45", "--box", "1,1,9,9"], "found 2 things to teach"),
        (["mug", "{video}", "--click", "50,45", "--frame", "7"], "has no frame 7"),
        (["…", "{video}", "--click", "50,45", "--frame", "2"], "no letter or digit"),
        (["mug", "{video}", "--box", "0,0,224,128"], "shows everything"),
        (["mug", "/nowhere.mp4", "--click", "1,1"], "nowhere.mp4"),
    ],
)
def test_what_cannot_be_taught_is_said_in_a_line(arguments, reason, video, known, capsys):
    assert main(["teach", *(part.format(video=video) for part in arguments), *known]) == 1
    assert reason in capsys.readouterr().err.replace("\n", " ")


def test_what_is_damaged_is_listed(known, tmp_path, capsys):
    (tmp_path / "known" / "mug").mkdir(parents=True)
    assert main(["known", "list", *known]) == 0
    assert "damaged: mug: it has no object.yaml" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_no_empty_one(video, tmp_path, capsys):
    nowhere = ["--known", str(tmp_path / "nowhere")]
    for command in (["track", video, "-p", "red", "-q"], ["eval", "folder", str(tmp_path)]):
        assert main([*command, *nowhere]) == 1
        assert "there is no folder" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_what_is_damaged_is_said_before_it_is_missed(video, tmp_path, capsys):
    (tmp_path / "known" / "mug").mkdir(parents=True)
    (tmp_path / "file").write_text("no folder")
    for folder, text in (
        ("known", "mug is left out: it has no object.yaml"),
        ("file", "everything is left out"),
    ):
        assert main(["track", video, "-p", "red", "--known", str(tmp_path / folder), "-q"]) == 0
        assert f"warning: of the known objects {text}" in capsys.readouterr().err
