"""The shipped model in the real node: a replayed bag gives the masks of `uniref track` over the pictures and
over the bag itself, and two cameras share one engine fairly."""

from __future__ import annotations

import contextlib
import itertools
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from ros_help import NodeProcess, Peer, full_mask
from sensor_msgs.msg import Image, RegionOfInterest
from std_msgs.msg import Header, String
from typer.testing import CliRunner

from uniref_model.cli import app
from uniref_model.runtime.files import WEIGHTS
from uniref_ros.conversion import fill_image, to_mask
from uniref_ros.msg import TrackCommand, TrackedObjectArray

NANO = WEIGHTS / "uniref_nano" / "model.json"
pytestmark = pytest.mark.skipif(not NANO.is_file(), reason="the shipped weights are not here")
REAL = ["-m", "uniref_ros.tracker_node"]
FRAMES, SIZE = 25, "192x320"
ANSWER = re.compile(r"looking for|following what|removed |paused: |processing images")
"""How the node logs what it has carried out."""
WORDS = ("the yellow box", "the table")


@pytest.fixture(scope="module")
def frames(request) -> list[np.ndarray]:
    """The first frames of box.mp4, BGR [h,w,3]."""
    capture = cv2.VideoCapture(str(request.config.rootpath / "media" / "box.mp4"))
    return [capture.read()[1] for _ in range(FRAMES)]


def write_bag(path: Path, frames: list[np.ndarray]) -> None:
    """An MCAP bag of the frames, as a recorder writes it."""
    rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="rosbags is not installed here")
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    with rosbag2.Writer(path, version=9, storage_plugin=rosbag2.StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/image", "sensor_msgs/msg/Image", typestore=store)
        for index, frame in enumerate(frames):
            nanoseconds = 1_700_000_000_000_000_000 + index * 33_333_333
            stamp = Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
            message = fill_image(Image(), frame, "bgr8", Header(stamp=stamp, frame_id="camera"))
            writer.write(connection, nanoseconds, serialize_message(message))


def shown(peer: Peer, data: bytes, attempts: int) -> TrackedObjectArray:
    """The result of a recorded image. The first one may be sent before the node has discovered its publisher,
    and is then lost whatever the quality of service, so it may take more attempts."""
    image = deserialize_message(data, Image)
    for _ in range(attempts - 1):
        peer.images.publish(data)
        with contextlib.suppress(AssertionError):
            return peer.result_of(image, timeout=10)
    peer.images.publish(data)
    return peer.result_of(image)


def test_a_replayed_bag_gives_the_masks_of_the_offline_command(tmp_path, peer, frames):
    write_bag(tmp_path / "bag", frames)
    from rosbags.rosbag2 import Reader

    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{index:05d}.png"), frame)
    prompts = list(itertools.chain.from_iterable(("--prompt", words) for words in WORDS))
    for source, *output in (
        (folder, "--masks", tmp_path / "masks"),
        (tmp_path / "bag", "--bag", tmp_path / "seen"),
    ):
        command = ["track", str(source), *prompts, "--size", SIZE, *map(str, output)]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    with Reader(tmp_path / "seen") as written:
        said = {
            topic: [data for connection, _, data in written.messages() if connection.topic == topic]
            for topic in ("/tracker/objects", "/tracker/label_image")
        }
    assert [len(messages) for messages in said.values()] == [FRAMES, FRAMES]

    # every image has to come through: as a bag is replayed to a node that must not miss one
    parameters = [
        f"size:={SIZE}",
        f"prompts:={list(WORDS)}",
        "stale_after:=60.0",
        "image_reliability:=reliable",
    ]
    with NodeProcess(tmp_path / "node.log", *parameters, program=REAL), Reader(tmp_path / "bag") as bag:
        peer.meet(warm_up=False)
        seen = 0
        for index, (_, _, data) in enumerate(bag.messages()):
            # the recorded bytes themselves, one image after the other's result
            result = shown(peer, data, attempts=1 if index else 3)
            assert result.frame_index == index, "no image is skipped"
            theirs = cv2.imread(str(tmp_path / "masks" / f"{index:05d}.png"), cv2.IMREAD_UNCHANGED)
            ours = np.zeros(theirs.shape, np.uint8)
            for item in result.objects:
                ours[full_mask(item, theirs.shape)] = item.slot
            assert np.array_equal(ours, theirs), f"image {index}"
            offline = deserialize_message(bytes(said["/tracker/objects"][index]), TrackedObjectArray)
            assert offline.objects == result.objects and offline.header == result.header
            labels = deserialize_message(bytes(said["/tracker/label_image"][index]), Image)
            assert np.array_equal(to_mask(labels), ours)
            seen += np.any(ours)
        assert seen > FRAMES // 2


def test_prompts_recorded_in_a_bag_are_obeyed_offline_as_the_node_obeys_them(tmp_path, peer, frames):
    """Words, words forgotten, a box in an earlier image, a pause: every message equal."""
    rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="rosbags is not installed here")
    from bag_maker import PERIOD, START, write_bag

    def stamped(index: int) -> Header:
        nanoseconds = START + index * PERIOD
        return Header(stamp=Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9), frame_id="camera")

    box = RegionOfInterest(x_offset=300, y_offset=60, width=200, height=150)
    add = TrackCommand(action=TrackCommand.ADD, object_id="b", box=box, header=stamped(3), text="a box")
    asked = {  # before the image with this index
        0: String(data="the yellow box"),
        5: add,
        8: String(data="forget the yellow box"),
        9: TrackCommand(action=TrackCommand.PAUSE),
        11: TrackCommand(action=TrackCommand.RESUME),
    }
    kinds = {
        String: ("/tracker/prompt", "std_msgs/msg/String"),
        TrackCommand: ("/tracker/command", "uniref_ros/msg/TrackCommand"),
    }
    messages = []
    for index, frame in enumerate(frames[:14]):
        image = serialize_message(fill_image(Image(), frame, "bgr8", stamped(index)))
        messages.append(("/image", "sensor_msgs/msg/Image", START + index * PERIOD, image))
        if index in asked:
            when = START + index * PERIOD - 1_000_000
            messages.append((*kinds[type(asked[index])], when, serialize_message(asked[index])))
    bag = write_bag(tmp_path / "bag", messages)
    command = ["track", str(bag), "--replay-prompts", "--bag", str(tmp_path / "seen"), "--size", SIZE]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    with rosbag2.Reader(tmp_path / "seen") as written:
        found = [data for connection, _, data in written.messages() if connection.topic == "/tracker/objects"]
    offline = [deserialize_message(bytes(data), TrackedObjectArray) for data in found]
    assert len(offline) == 12 and [item.id for item in offline[5].objects] == ["1", "b"]

    with NodeProcess(
        tmp_path / "node.log", f"size:={SIZE}", "image_reliability:=reliable", program=REAL
    ) as node:
        peer.meet(warm_up=False)
        answers, results = 0, iter(offline)
        for index, frame in enumerate(frames[:14]):
            if index in asked:
                answers += 1
                (peer.prompts if isinstance(asked[index], String) else peer.commands).publish(asked[index])
                peer.until(lambda: len(ANSWER.findall(node.text())) >= answers, "the answer")  # noqa: B023
            data = serialize_message(fill_image(Image(), frame, "bgr8", stamped(index)))
            if 9 <= index < 11:  # paused
                peer.images.publish(data)
                peer.spin(0.3)
                continue
            result, expected = shown(peer, data, attempts=1 if index else 3), next(results)
            assert result.objects == expected.objects and result.header == expected.header, index


def test_two_cameras_with_two_objects_each_both_advance(tmp_path, ros, frames):
    """640x480 at 15 a second each, which is more than two cores can do: each camera gets its half. How late
    the results are is measured by `python -m benchmarks`, not here."""
    left, right = Peer(camera="left"), Peer(camera="right")
    pictures = [cv2.resize(frame, (640, 480))[..., ::-1] for frame in frames[:5]]
    parameters = [f"size:={SIZE}", "cameras:=['left','right']", f"prompts:={list(WORDS)}", "warm_up:=2"]
    try:
        with NodeProcess(tmp_path / "node.log", *parameters, program=REAL) as process:
            left.meet()
            right.meet()
            for peer in (left, right):
                peer.results.clear()
            for picture in itertools.islice(itertools.cycle(pictures), 150):
                for peer in (left, right):
                    peer.images.publish(peer.image(picture))
                    peer.spin(0.033)
            for peer in (left, right):
                assert all(len(result.objects) == 2 for result in peer.results)
                indices = [result.frame_index for result in peer.results]
                assert len(indices) >= 5 and indices == sorted(set(indices))
            few, many = sorted((len(left.results), len(right.results)))
            assert few >= 0.7 * many, f"{few} and {many} results: one camera starves"
            assert "Traceback" not in process.text()
    finally:
        left.destroy_node()
        right.destroy_node()
