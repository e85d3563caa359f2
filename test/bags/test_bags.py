"""Bags in and out without ROS: every storage and image form gives the recorded frames, `uniref track` gives
a bag the masks of the same pictures in a folder, and what it writes is read by rosbags and Foxglove."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_runtime import FakeColourRuntime, scene

pytest.importorskip("rosbags", reason="rosbags is not installed here (pip install rosbags)")

from bag_maker import COMPRESSED, FORMS, IMAGE, PERIOD, START, header, images, write_bag

from uniref_model.bags.library import new_message, types
from uniref_model.bags.reader import Bag, is_bag
from uniref_model.bags.source import BagSource
from uniref_model.cli import main
from uniref_model.errors import SourceError
from uniref_model.offline import model as model_choice
from uniref_model.offline.sources import open_frames
from uniref_model.video import Selection, open_source

RED, BLUE = (40, 32, 48, 40), (130, 20, 30, 30)


@pytest.fixture(autouse=True)
def fake(monkeypatch) -> None:
    monkeypatch.setattr(model_choice, "load_runtime", lambda *_, **__: FakeColourRuntime())


def moving(count: int, *, colour: str = "red") -> list[np.ndarray]:
    """Frames in which a box of a colour moves to the right, and a blue one stays."""
    x, y, w, h = RED
    return [scene((colour, (x + 3 * i, y, w, h)), ("blue", BLUE)) for i in range(count)]


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return moving(8)


def run(*arguments: object) -> int:
    return main(["track", "--quiet", *map(str, arguments)])


def masks(folder: Path) -> dict[str, np.ndarray]:
    return {
        str(path.relative_to(folder)): cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        for path in sorted(folder.rglob("*.png"))
    }


def one_line(capfd) -> str:
    return " ".join(capfd.readouterr().err.split())


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


# ---- reading ----


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_recorded_frames(form, compressed, frames, tmp_path):
    bag = write_bag(tmp_path / "bag", images(frames, compressed=compressed), form)
    for path in (bag, *bag.glob("*.mcap*"), *bag.glob("*.db3*")):
        assert is_bag(path)
        source = BagSource(path)
        found = list(source)
        source.close()
        assert source.length == len(frames) and source.cameras == ("",)
        assert source.fps == pytest.approx(30, rel=0.01)
        for index, (frame, recorded) in enumerate(zip(found, frames, strict=True)):
            assert np.array_equal(frame.image, recorded)
            assert (frame.index, frame.name, frame.frame_id) == (index, f"{index:05d}", "camera_optical")
            assert frame.stamp == START + index * PERIOD
            assert frame.recorded == frame.stamp + 5_000_000


def test_a_recorder_that_was_killed_left_no_metadata(frames, tmp_path):
    bag = write_bag(tmp_path / "bag", images(frames[:4]))
    second = write_bag(tmp_path / "rest", [(t, k, when + 10**9, m) for t, k, when, m in images(frames[4:])])
    next(second.glob("*.mcap")).rename(bag / "bag_10.mcap")
    (bag / "metadata.yaml").unlink()
    assert [np.array_equal(f.image, g) for f, g in zip(BagSource(bag), frames, strict=True)] == [True] * 8


def test_a_span_of_time_and_every_third_image(frames, tmp_path):
    bag = write_bag(tmp_path / "bag", images(frames))
    source = BagSource(bag, selection=Selection(start=0.06, end=0.22, stride=2))
    found = list(source)
    assert [np.flatnonzero([np.array_equal(f.image, g) for g in frames])[0] for f in found] == [2, 4, 6]
    assert [frame.name for frame in found] == ["00000", "00002", "00004"]


def test_a_span_without_images_is_an_error(frames, tmp_path, capfd):
    bag = write_bag(tmp_path / "bag", images(frames))
    assert run(bag, "--prompt", "red", "--start", 100, "--bag", tmp_path / "out") == 1
    assert "has no frames in this span" in one_line(capfd)
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


@pytest.mark.parametrize("form", ["mcap", "sqlite3", "sqlite3 file zstd"])
def test_a_folder_may_have_any_name(form, frames, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bag = write_bag(tmp_path / "bag", images(frames), form).rename("run #3, 50%41?")
    assert len(list(BagSource(bag))) == 8


def test_topics_are_chosen_by_name_and_named_where_they_have_to_be(frames, tmp_path):
    text = ("/chat", "std_msgs/msg/String", START, new_message("std_msgs/msg/String", data="hello"))
    recorded = [*images(frames, "/left/image"), *images(frames, "/right/image", compressed=True), text]
    bag = write_bag(tmp_path / "bag", recorded)
    with pytest.raises(SourceError, match=r"2 topics with images \('/left/image' \(8\), '/right/image'"):
        BagSource(bag)
    assert (
        BagSource(write_bag(tmp_path / "own", [*images(frames), *images(frames, "/tracker/overlay")])).length
        == 8
    )
    with pytest.raises(SourceError, match=r"'/chat' .* is of type 'std_msgs/msg/String'; with images"):
        BagSource(bag, ["/chat"])
    with pytest.raises(SourceError, match=r"'/nowhere' .* is not there; with images"):
        BagSource(bag, ["nowhere"])
    assert BagSource(bag, ["left/image"]).cameras == ("",)
    assert BagSource(bag, ["left=/left/image"]).cameras == ("left",)
    with pytest.raises(SourceError, match=r"two topics are called 'a'"):
        BagSource(bag, ["a=/left/image", "a=/right/image"])
    for name in ("..", "a/../b", "/a", "a b", "a//b"):
        with pytest.raises(SourceError, match="no name for a camera"):
            BagSource(bag, [f"{name}=/left/image"])
    both = list(BagSource(bag, ["/left/image", "/right/image"]))
    assert [frame.camera for frame in both] == ["left/image", "right/image"] * 8
    assert [frame.index for frame in both] == [index for index in range(8) for _ in range(2)]


def test_a_damaged_image_is_left_out_and_told(frames, tmp_path, capfd):
    recorded = images(frames)
    recorded[3] = (*recorded[3][:3], b"\0\1\0\0garbage")
    torn = images(frames)[5][3]
    torn.data = torn.data[:100]
    recorded[5] = (*recorded[5][:3], torn)
    bag = write_bag(tmp_path / "bag", recorded)
    assert run(bag, "--prompt", "red", "--masks", tmp_path / "masks") == 0
    assert sorted(masks(tmp_path / "masks")) == [f"{i:05d}.png" for i in (0, 1, 2, 4, 6, 7)]
    assert "2 images could not be used; image 3 of /image: 11 bytes" in one_line(capfd)


def test_a_bag_without_one_good_image_is_an_error(frames, tmp_path, capfd):
    recorded = [(topic, kind, when, b"\0\1\0\0") for topic, kind, when, _ in images(frames)]
    assert run(write_bag(tmp_path / "bag", recorded), "--prompt", "red") == 1
    assert "no image of" in capfd.readouterr().err


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "yaml"])
@pytest.mark.parametrize("form", ["mcap", "sqlite3"])
def test_a_damaged_bag_is_an_error_that_names_it(form, damage, frames, tmp_path, capfd):
    bag = write_bag(tmp_path / "bag", images(frames), form)
    file = next(iter([*bag.glob("*.mcap"), *bag.glob("*.db3")]))
    data = file.read_bytes()
    broken = {"cut": data[: len(data) // 2], "empty": b"", "noise": bytes(reversed(data)), "yaml": data}
    file.write_bytes(broken[damage])
    if damage == "yaml":
        (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    assert run(bag, "--prompt", "red") == 1
    error = capfd.readouterr().err
    assert error.startswith("error: the bag") and "Traceback" not in error


def test_without_rosbags_the_error_says_what_to_install(frames, tmp_path, monkeypatch, capfd):
    bag = write_bag(tmp_path / "bag", images(frames))
    monkeypatch.setitem(__import__("sys").modules, "rosbags", None)
    assert run(bag, "--prompt", "red") == 1
    assert "pip install rosbags" in capfd.readouterr().err


def test_every_type_of_ours_can_be_made_empty():
    for kind in ("uniref_ros/msg/TrackCommand", "uniref_ros/msg/TrackedObjectArray", IMAGE, COMPRESSED):
        data = types().serialize_cdr(new_message(kind), kind)
        assert types().deserialize_cdr(data, kind)


# ---- the same for videos and folders ----


def test_a_span_and_a_stride_of_a_video(frames, request):
    video = str(request.config.rootpath / "media" / "box.mp4")
    every = {frame.index: frame for frame in open_source(video, selection=Selection(end=1.0))}
    rate = open_source(video).fps
    source = open_source(video, selection=Selection(start=0.4, end=1.0, stride=3))
    found = list(source)
    first = -int(-0.4 * rate // 1)
    assert [frame.index for frame in found] == list(range(first, round(rate), 3))
    assert source.length == len(found) and source.fps == pytest.approx(rate / 3)
    assert all(np.array_equal(frame.image, every[frame.index].image) for frame in found)
    assert found[0].stamp == round(1e9 * first / rate)


def test_a_folder_has_a_stride_and_no_time(frames, tmp_path):
    for index, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"f{index}.png"), frame[..., ::-1])
    source = open_source(str(tmp_path), selection=Selection(stride=3))
    assert [frame.name for frame in source] == ["f0", "f3", "f6"] and source.length == 3
    with pytest.raises(SourceError, match="no rate of its own"):
        open_source(str(tmp_path), selection=Selection(start=1.0))
    with pytest.raises(SourceError, match="topics are those of a bag"):
        open_frames(str(tmp_path), ["/image"])


@pytest.mark.parametrize("bad", [{"stride": 0}, {"start": -1.0}, {"start": 2.0, "end": 1.0}, {"end": 0.0}])
def test_an_impossible_selection_is_refused(bad):
    with pytest.raises(SourceError):
        Selection(**bad)


# ---- tracking ----


def as_folder(frames: list[np.ndarray], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{index:05d}.png"), frame[..., ::-1])
    return folder


def test_a_bag_gives_the_masks_of_the_same_pictures_in_a_folder(frames, tmp_path):
    bag = write_bag(tmp_path / "bag", images(frames, compressed=True), "mcap zstd")
    given = ["--prompt", "red", "--click", "140,30"]
    assert run(as_folder(frames, tmp_path / "f"), *given, "--masks", tmp_path / "a") == 0
    assert run(bag, *given, "--masks", tmp_path / "b") == 0
    assert equal(masks(tmp_path / "a"), masks(tmp_path / "b"))
    assert all(set(np.unique(mask)) == {0, 1, 2} for mask in masks(tmp_path / "b").values())


def test_each_camera_is_followed_as_if_alone_under_the_same_ids(frames, tmp_path):
    other = moving(8, colour="yellow")
    bag = write_bag(tmp_path / "bag", [*images(frames, "/left/image"), *images(other, "/right/image")])
    given = ["--prompt", "red", "--prompt", "blue"]
    both = ["--topic", "/left/image", "--topic", "/right/image"]
    outputs = ["--masks", tmp_path / "m", "--json", tmp_path / "j.json", "--out", tmp_path / "o.mp4"]
    assert run(bag, *given, *both, *outputs, "--bag", tmp_path / "out") == 0
    for side in ("left", "right"):
        alone = tmp_path / side
        assert run(bag, *given, "--topic", f"/{side}/image", "--masks", alone) == 0
        assert equal(masks(tmp_path / "m" / side / "image"), masks(alone))
        assert sum(1 for _ in open_source(str(tmp_path / f"o.{side}.image.mp4"))) == 8
    entries = json.loads((tmp_path / "j.json").read_text())["frames"]
    seen = {(e["camera"], o["id"]): o["state"] for e in entries for o in e["objects"]}
    assert seen["left/image", "1"] == "tracked" and seen["right/image", "1"] == "searching"
    assert seen["left/image", "2"] == seen["right/image", "2"] == "tracked"
    assert set(Bag(tmp_path / "out").topics) == {
        f"/tracker/{side}/image/{name}" for side in ("left", "right") for name in ("objects", "label_image")
    }


def test_what_is_drawn_belongs_to_one_camera(frames, tmp_path, capfd):
    bag = write_bag(tmp_path / "bag", [*images(frames, "/a"), *images(frames, "/b")])
    assert run(bag, "--topic", "/a", "--topic", "/b", "--click", "50,40") == 1
    assert "give one --topic" in capfd.readouterr().err


# ---- writing ----


@pytest.fixture
def labelled(frames, tmp_path) -> Path:
    bag = write_bag(tmp_path / "bag", images(frames))
    given = ["--prompt", "red", "--prompt", "green", "--masks", tmp_path / "masks"]
    assert run(bag, *given, "--bag", tmp_path / "out" / "labels") == 0
    return tmp_path / "out" / "labels"


def test_the_bag_holds_the_masks_under_the_sources_headers(labelled, frames, tmp_path):
    records = list(Bag(labelled).messages({"/tracker/objects", "/tracker/label_image"}))
    assert [r.topic.name for r in records] == ["/tracker/objects", "/tracker/label_image"] * 8
    for index, (objects, labels) in enumerate(zip(records[::2], records[1::2], strict=True)):
        stamp = START + index * PERIOD
        assert objects.received == labels.received == stamp + 5_000_000
        found, image = objects.message(), labels.message()
        for message in (found, image, *(item.mask for item in found.objects)):
            assert message.header == header(stamp)
        values = image.data.view(np.uint16).reshape(image.height, image.width)
        assert image.encoding == "mono16"
        assert np.array_equal(values, cv2.imread(str(tmp_path / "masks" / f"{index:05d}.png"), -1))
        red, green = found.objects
        assert (red.state, green.state) == (2, 1) and (found.width, found.height) == frames[0].shape[1::-1]
        x, y, w, h = red.box.x_offset, red.box.y_offset, red.box.width, red.box.height
        assert np.array_equal(red.mask.data.reshape(h, w) > 0, values[y : y + h, x : x + w] == red.slot)
        assert green.mask.data.size == 0 and green.prompt == "green" and found.frame_index == index


def test_foxglove_reads_it(labelled):
    reading = pytest.importorskip("mcap_ros2.reader", reason="mcap-ros2-support is not installed here")
    found = list(reading.read_ros2_messages(str(next(labelled.glob("*.mcap")))))
    assert len(found) == 16
    objects = [item.ros_msg for item in found if item.channel.topic == "/tracker/objects"]
    assert [message.objects[0].id for message in objects] == ["1"] * 8
    assert objects[3].header.stamp.nanosec == (START + 3 * PERIOD) % 10**9
    assert {item.schema.encoding for item in found} == {"ros2msg"}


def test_the_bag_is_whole_or_not_there_and_nothing_is_written_over(labelled, frames, tmp_path, capfd):
    assert [path.name for path in labelled.parent.iterdir()] == ["labels"]
    assert run(tmp_path / "bag", "--prompt", "red", "--bag", labelled) == 1
    assert "is there already" in capfd.readouterr().err
    assert run(tmp_path / "bag", "--prompt", "red", "--json", next((tmp_path / "bag").glob("*.mcap"))) == 1
    assert "which is read" in capfd.readouterr().err
    assert run(tmp_path / "bag", "--prompt", "red", "--json", tmp_path / "bag" / "metadata.yaml") == 1
    assert "which is read" in capfd.readouterr().err
    assert run(tmp_path / "bag", "--mask", labelled / "metadata.yaml", "--bag", tmp_path / "none") == 1
    assert not (tmp_path / "none").exists()


def test_a_bag_and_a_data_set_are_two_places(frames, tmp_path, capfd):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed here")
    bag, place = write_bag(tmp_path / "bag", images(frames)), tmp_path / "x"
    assert run(bag, "--prompt", "red", "--bag", place, "--export", "coco", place) == 1
    assert "are one file" in capfd.readouterr().err and not place.exists()


def test_a_video_has_stamps_from_its_beginning(tmp_path, request):
    video = request.config.rootpath / "media" / "box.mp4"
    assert run(video, "--prompt", "red", "--max-frames", 3, "--bag", tmp_path / "out") == 0
    found = [record.message().header.stamp for record in Bag(tmp_path / "out").messages({"/tracker/objects"})]
    rate = open_source(str(video)).fps
    assert [stamp.sec * 10**9 + stamp.nanosec for stamp in found] == [
        round(1e9 * index / rate) for index in range(3)
    ]
