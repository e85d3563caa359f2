"""The video player, and `make demo` in short: real processes over real topics."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from rclpy.node import Node
from rclpy.qos import QoSProfile
from ros_help import NodeProcess, Peer
from sensor_msgs.msg import Image

from uniref_model.errors import ModelFileError
from uniref_model.runtime import find_model
from uniref_model.video import open_source
from uniref_ros.demo import demo
from uniref_ros.demo.report import Figures, OverlayVideo

PLAYER = ["-m", "uniref_ros.video_player"]
FRAMES = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> str:
    """A video whose frames grow brighter."""
    path = str(tmp_path_factory.mktemp("clip") / "clip.mp4")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mp4v"), 25.0, (64, 48))
    for index in range(FRAMES):
        writer.write(np.full((48, 64, 3), 20 * index, np.uint8))
    writer.release()
    return path


@pytest.fixture
def seen(peer: Peer) -> list[Image]:
    """What arrives on `image`."""
    images: list[Image] = []
    Node.create_subscription(peer, Image, "image", images.append, QoSProfile(depth=100))
    return images


def test_a_video_is_played_once_in_order(tmp_path, clip, peer, seen):
    parameters = [f"source:={clip}", "wait_for_subscribers:=1", "frame_id:=eye", "rate:=20.0"]
    with NodeProcess(tmp_path / "player.log", *parameters, program=PLAYER) as process:
        peer.until(lambda: len(seen) == FRAMES, "all frames")
        assert process.child.wait(20) == 0
    assert {(m.width, m.height, m.encoding, m.header.frame_id) for m in seen} == {(64, 48, "bgr8", "eye")}
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in seen]
    assert stamps == sorted(set(stamps))
    brightness = [np.frombuffer(m.data, np.uint8).mean() for m in seen]
    assert np.allclose(brightness, np.arange(FRAMES) * 20, atol=6)


FIELD = Path(__file__).parents[1] / "field"


@pytest.mark.parametrize("name", ["stream.ts", "browser.webm"])
def test_a_stream_that_cannot_be_sought_is_played_whole_and_again(name, tmp_path, peer, seen):
    frames = sum(1 for _ in open_source(str(FIELD / name)))
    parameters = [f"source:={FIELD / name}", "wait_for_subscribers:=1", "rate:=100.0"]
    with NodeProcess(tmp_path / "once.log", *parameters, program=PLAYER) as process:
        assert process.child.wait(30) == 0
    assert f"played {frames} frames" in (tmp_path / "once.log").read_text()
    with NodeProcess(tmp_path / "loop.log", *parameters, "loop:=true", program=PLAYER):
        peer.until(lambda: len(seen) > 2 * frames, "another round")


def test_a_loop_begins_again(tmp_path, clip, peer, seen):
    parameters = [f"source:={clip}", "wait_for_subscribers:=1", "loop:=yes", "rate:=100", "frame:=eye"]
    with NodeProcess(tmp_path / "player.log", *parameters, program=PLAYER) as process:
        peer.until(lambda: len(seen) > 2 * FRAMES, "a third round")
        assert process.stop() == 0
        assert "there is no parameter 'frame'" in process.text() and "did you mean frame_id" in process.text()


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        ("rate:=.nan", "rate is nan, expected 0.0 to 1000.0"),
        ("rate:=fast", "rate is 'fast', expected a number"),
        ("loop:=3", "loop is 3, expected true or false"),
        (f"frame_id:={'x' * 201}", "expected a frame's name: frame_id has 201 characters"),
        ("source:=7", "camera device 7"),
    ],
)
def test_a_bad_parameter_of_the_player_is_one_clear_line(tmp_path, ros, clip, parameter, reason):
    with NodeProcess(tmp_path / "player.log", f"source:={clip}", parameter, program=PLAYER) as process:
        assert process.child.wait(60) == 1
        assert reason in process.text() and "Traceback" not in process.text()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "source is empty"),
        ("no/such.mp4", "no/such.mp4"),
        (__file__, "it is no video that OpenCV can decode"),
    ],
    ids=["none", "absent", "no video"],
)
def test_an_unreadable_video_ends_the_player_with_the_reason(tmp_path, ros, source, reason):
    with NodeProcess(tmp_path / "player.log", f"source:='{source}'", program=PLAYER) as process:
        assert process.child.wait(60) == 1
        assert reason in process.text()


def test_the_demo_tracks_the_yellow_box_with_the_shipped_weights(tmp_path, ros, request, monkeypatch):
    try:
        find_model("uniref_nano")
    except ModelFileError as error:
        pytest.skip(f"no weights here: {error}")
    monkeypatch.setattr(demo.rclpy, "init", lambda **_: None)  # one rclpy serves the whole session
    monkeypatch.setattr(demo.rclpy, "try_shutdown", lambda: None)
    video = str(request.config.rootpath / "media" / "box.mp4")
    status = demo.main(["--video", video, "--prompt", "the yellow box", "--out", str(tmp_path)])
    assert status == 0
    assert {"overlay.mp4", "contact_sheet.png", "summary.json"} <= {path.name for path in tmp_path.iterdir()}


def test_the_demo_says_at_once_that_a_video_cannot_be_read(tmp_path, ros, monkeypatch, capsys):
    monkeypatch.setattr(demo.rclpy, "init", lambda **_: None)
    monkeypatch.setattr(demo.rclpy, "try_shutdown", lambda: None)
    assert demo.main(["--video", "no/such.mp4", "--out", str(tmp_path)]) == 1
    assert "no/such.mp4" in capsys.readouterr().out


def test_the_summary_counts_from_the_first_sight():
    figures = Figures(
        "red", states=["searching"] * 5 + ["tracked"] * 3 + ["lost"], scores=[0.1] * 5 + [0.8] * 4
    )
    summary = figures.summary()
    assert (summary.images, summary.images_before_found, summary.tracked_share) == (9, 5, 0.75)
    assert summary.tracked and summary.mean_score == 0.8
    never = Figures("red", states=["searching"] * 5, scores=[0.1] * 5).summary()
    assert not never.tracked and never.images_before_found == 5


def test_the_overlay_video_plays_in_real_time(tmp_path):
    video = OverlayVideo(tmp_path / "overlay.mp4", rate=10.0)
    for seconds, value in ((0.0, 0), (0.5, 100), (0.6, 200)):
        video.add(seconds, np.full((48, 64, 3), value, np.uint8))
    video.close()
    capture = cv2.VideoCapture(str(video.path))
    levels = []
    while (frame := capture.read()[1]) is not None:
        levels.append(round(frame.mean() / 100))
    assert levels == [0] * 5 + [1] + [2]
    assert video.contact_sheet().shape[1] == 4 * 320
