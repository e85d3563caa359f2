"""Prompts recorded in a bag are obeyed between the images where they were received, as the node obeyed them;
what it refused is refused, and disturbs nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fake_runtime import FakeColourRuntime, rectangle, scene

pytest.importorskip("rosbags", reason="rosbags is not installed here (pip install rosbags)")

from bag_maker import PERIOD, START, Written, header, images, write_bag

from uniref_model.bags.library import new_message
from uniref_model.cli import main
from uniref_model.image_messages import image_fields
from uniref_model.offline import model as model_choice
from uniref_model.requests.commands import Action

COMMAND, TEXT = "uniref_ros/msg/TrackCommand", "std_msgs/msg/String"
BOX, OTHER = (40, 32, 48, 40), (130, 20, 30, 30)
COUNT = 8


@pytest.fixture(autouse=True)
def fake(monkeypatch) -> None:
    monkeypatch.setattr(model_choice, "load_runtime", lambda *_, **__: FakeColourRuntime())


def frames() -> list[np.ndarray]:
    """A red box that is there in the first frames only, a blue one in all."""
    red = [("red", BOX)]
    return [scene(*(red if index < 4 else []), ("blue", OTHER)) for index in range(COUNT)]


def before(index: int) -> int:
    """When a message must be received so that it comes just before this image."""
    return START + index * PERIOD + 4_000_000


def said(words: str, index: int, node: str = "/tracker") -> Written:
    return (f"{node}/prompt", TEXT, before(index), new_message(TEXT, data=words))


def command(index: int, **fields: object) -> Written:
    return ("/tracker/command", COMMAND, before(index), new_message(COMMAND, **fields))


def run(tmp_path: Path, messages: list[Written], *options: object) -> list[dict]:
    """The JSON entries of a bag with these messages."""
    bag = write_bag(tmp_path / "bag", [*images(frames()), *messages])
    output = tmp_path / "objects.json"
    assert main(["track", str(bag), "--replay-prompts", "--json", str(output), *map(str, options)]) == 0
    return json.loads(output.read_text())["frames"]


def followed(entries: list[dict]) -> list[list[str]]:
    """The labels of the objects of each frame."""
    return [[item["label"] for item in entry["objects"]] for entry in entries]


def test_words_are_obeyed_at_their_time(tmp_path):
    entries = run(tmp_path, [said("red", 2), said("blue", 3), said("forget the red", 6)])
    assert followed(entries) == [[], [], ["red"], *[["red", "blue"]] * 3, ["blue"], ["blue"]]
    assert [item["state"] for item in entries[2]["objects"]] == ["tracked"]


def test_a_mask_means_the_image_of_its_stamp(tmp_path):
    mask = image_fields(rectangle(BOX).astype(np.uint8) * 255, "mono8")
    given = command(
        6,
        action=Action.ADD,
        object_id="box",
        header=header(START + 1 * PERIOD),
        mask=new_message("sensor_msgs/msg/Image", **mask),
    )
    plain = new_message("sensor_msgs/msg/Image", header=header(START), **mask)
    entries = run(tmp_path, [given, ("/tracker/mask_prompt", "sensor_msgs/msg/Image", before(2), plain)])
    assert [item["id"] for item in entries[-1]["objects"]] == ["1", "box"]
    assert entries[2]["objects"][0]["area"] == pytest.approx(BOX[2] * BOX[3], rel=0.3)
    # the image of its stamp showed red there, the one that came next showed nothing
    assert [item["state"] for item in entries[6]["objects"]] == ["tracked", "searching"]


def test_a_pause_leaves_images_out_and_keeps_objects(tmp_path):
    entries = run(tmp_path, [said("blue", 0), said("pause", 3), said("resume", 5)])
    assert [entry["index"] for entry in entries] == [0, 1, 2, 5, 6, 7]
    assert {item["id"] for entry in entries for item in entry["objects"]} == {"1"}


def test_what_was_refused_is_refused_and_disturbs_nothing(tmp_path, capfd):
    torn = ("/tracker/command", COMMAND, before(1), b"\0\1\0\0torn")
    messages = [said("blue", 0), command(1, action=99), torn, said("forget the elephant", 2), said("", 2)]
    entries = run(tmp_path, [*messages, command(4, action=Action.REMOVE, object_id="1")])
    assert followed(entries) == [["blue"]] * 4 + [[]] * 4
    told = capfd.readouterr().err
    assert "action is 99" in told and "no uniref_ros/msg/TrackCommand" in told and "'the elephant'" in told
    assert "Traceback" not in told


def test_prompts_of_the_command_line_and_of_the_bag_go_together(tmp_path):
    entries = run(tmp_path, [said("red", 3), said("green", 3, node="/robot/tracker")], "--prompt", "blue")
    assert followed(entries) == [["blue"]] * 3 + [["blue", "red"]] * 5
    assert [item["value"] for item in entries[3]["objects"]] == [1, 2]


def test_another_node_and_a_bag_without_prompts(tmp_path, capfd):
    entries = run(tmp_path / "a", [said("red", 1, node="/robot/tracker")], "--node", "robot/tracker")
    assert followed(entries)[1] == ["red"]
    bag = write_bag(tmp_path / "b", images(frames()))
    assert main(["track", str(bag), "--replay-prompts"]) == 1
    assert "no prompts to replay: the bag has none of /tracker/prompt" in capfd.readouterr().err


def test_without_being_asked_nothing_is_replayed(tmp_path, capfd):
    bag = write_bag(tmp_path / "bag", [*images(frames()), said("red", 0)])
    assert main(["track", str(bag)]) == 1
    assert "nothing to follow" in capfd.readouterr().err


def test_a_command_names_its_camera(tmp_path):
    both = [*images(frames(), "/left/image"), *images(frames(), "/right/image")]
    bag = write_bag(tmp_path / "bag", [*both, command(1, action=Action.ADD, text="red", camera="right")])
    topics = ["--topic", "left=/left/image", "--topic", "right=/right/image"]
    output = tmp_path / "o.json"
    assert main(["track", str(bag), "--replay-prompts", *topics, "--json", str(output)]) == 0
    entries = json.loads(output.read_text())["frames"]
    assert {entry["camera"] for entry in entries if entry["objects"]} == {"right"}
    assert sum(bool(entry["objects"]) for entry in entries) == COUNT - 1
