"""Compressed images, decoded to no more pixels than somebody needs: the real node over real topics."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from fake_runtime import overlap, rectangle, scene

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from geometry_msgs.msg import Point
from ros_help import NodeProcess, Peer, full_mask
from std_msgs.msg import String

from uniref_model.runtime import load_runtime
from uniref_model.runtime.files import WEIGHTS
from uniref_model.tracking import Tracker
from uniref_ros.conversion import compressed_to_rgb, reduced_to_rgb
from uniref_ros.srv import AddObject

SIZE, LEFT, RIGHT = (512, 896), (160, 128, 192, 160), (560, 240, 192, 160)
PICTURE = scene(("red", LEFT), ("blue", RIGHT), size=SIZE)
LEAST, MEAN = 0.9, 0.97
"""IoU of the masks of a picture decoded in part and whole: in any frame, and in the mean."""


@pytest.fixture
def peer(ros):
    node = Peer(transport="compressed")
    yield node
    node.destroy_node()


@pytest.fixture
def met(tmp_path, peer):
    with NodeProcess(tmp_path / "node.log", "diagnostics_period:=0.2", "image_transport:=compressed"):
        peer.meet()
        yield peer


def test_masks_labels_and_clicks_are_in_the_pixels_of_the_whole_picture(met):
    assert reduced_to_rgb(met.image(PICTURE), (96, 168))[0].shape == (128, 224, 3), "the node needs no more"
    met.prompts.publish(String(data="red"))
    red = met.tracked(PICTURE)[0]
    assert overlap(full_mask(red, SIZE), rectangle(LEFT, SIZE)) > 0.85
    answer = met.call(AddObject, "tracker/add_object", AddObject.Request(points=[Point(x=650.0, y=300.0)]))
    assert answer.success, answer.message
    blue = next(item for item in met.tracked(PICTURE, 2) if item.id == answer.object_id)
    assert overlap(full_mask(blue, SIZE), rectangle(RIGHT, SIZE)) > 0.85
    result = met.results[-1]
    assert (result.height, result.width) == SIZE


def test_what_people_see_and_click_at_has_all_pixels(met):
    first = met.image(PICTURE)
    clicks = met.create_publisher(Point, "tracker/overlay_mouse_left", 5)
    met.until(clicks.get_subscription_count, "the node to hear clicks")
    met.images.publish(first)
    met.result_of(first)
    clicks.publish(Point(x=650.0, y=300.0))  # at an image of which a part alone was decoded
    blue = met.tracked(PICTURE)[0]
    assert overlap(full_mask(blue, SIZE), rectangle(RIGHT, SIZE)) > 0.85
    met.hear_pictures()
    met.show_until(PICTURE, lambda _: met.labels and met.overlays, "pictures")
    overlay, labels = met.overlays[-1], met.labels[-1]
    assert (overlay.height, overlay.width) == (labels.height, labels.width) == SIZE
    drawn = np.frombuffer(overlay.data, np.uint8).reshape(*SIZE, 3)
    rows = slice(LEFT[1] - 8, LEFT[1] + LEFT[3] + 8), slice(LEFT[0] - 8, LEFT[0] + LEFT[2] + 8)
    assert np.array_equal(drawn[rows], compressed_to_rgb(met.image(PICTURE))[rows])  # not even one is blurred


def test_a_webcam_that_pads_its_jpegs_fills_no_log(tmp_path, peer):
    """libjpeg says so for every image, straight to the terminal."""
    parameters = "diagnostics_period:=0.2", "image_transport:=compressed"
    with NodeProcess(tmp_path / "node.log", *parameters) as node:
        peer.meet()
        peer.prompts.publish(String(data="red"))
        peer.tracked(PICTURE)
        for _ in range(60):
            message = peer.image(PICTURE)
            data = bytes(message.data)
            message.data = data[:-2] + b"\0\1\2\3" * 3 + data[-2:]
            peer.images.publish(message)
            (red,) = peer.result_of(message).objects
            assert red.area
        peer.until(lambda: peer.status("tracker")["errors: decoder"] == "60", "the count")
        assert 1 <= node.text().count("extraneous bytes") <= 6, node.text()
        assert "decoder: image/compressed: Corrupt JPEG data" in node.text()


@pytest.mark.skipif(
    not (WEIGHTS / "uniref_nano" / "model.json").is_file(), reason="the weights of uniref_nano are not there"
)
def test_masks_of_real_pictures_agree_with_those_of_whole_ones(tmp_path, peer, request):
    video = cv2.VideoCapture(str(request.config.rootpath / "media" / "box.mp4"))
    frames = [cv2.resize(video.read()[1], (1920, 1080), interpolation=cv2.INTER_CUBIC) for _ in range(12)]
    parameters = ("image_transport:=compressed", "runtime:=onnxruntime", "size:=192x320")
    program = ["-m", "uniref_ros.tracker_node"]
    overlaps = []
    with (
        load_runtime("uniref_nano", "192x320", "onnxruntime", threads=1) as runtime,
        NodeProcess(tmp_path / "node.log", *parameters, program=program),
    ):
        tracker = Tracker(runtime)
        peer.meet()
        answer = peer.call(AddObject, "tracker/add_object", AddObject.Request(text="the yellow box"))
        assert answer.success, answer.message
        tracker.add_text("the yellow box")
        for frame in frames:
            message = peer.image(np.ascontiguousarray(frame[..., ::-1]))
            assert reduced_to_rgb(message, (288, 480))[0].shape == (540, 960, 3), "the node sees no more"
            peer.images.publish(message)
            found = peer.result_of(message).objects[0]
            whole = tracker.step(compressed_to_rgb(message))
            if found.area and whole.objects[0].area:
                mask = full_mask(found, whole.size)
                overlaps.append(overlap(mask, whole.label_image > 0))
    assert len(overlaps) >= 6 and min(overlaps) >= LEAST and np.mean(overlaps) >= MEAN, overlaps
