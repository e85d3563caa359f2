"""Prompts in, objects out: the real node on a double that sees colours, over real topics and services."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from fake_runtime import FakeColourRuntime, overlap, rectangle, scene

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from geometry_msgs.msg import Point
from ros_help import NodeProcess, Peer, full_mask
from sensor_msgs.msg import CompressedImage, Image, RegionOfInterest
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from uniref_model.tracking import Tracker
from uniref_ros.conversion import fill_image
from uniref_ros.msg import TrackCommand, TrackedObject
from uniref_ros.srv import AddObject, RemoveObject

LEFT, RIGHT, SIZE = (40, 32, 48, 40), (140, 60, 48, 40), (128, 224)
RED = scene(("red", LEFT))
RED_AND_BLUE = scene(("red", LEFT), ("blue", RIGHT))
STATES = {TrackedObject.SEARCHING: "searching", TrackedObject.TRACKED: "tracked", TrackedObject.LOST: "lost"}
MISS_ALLOWED = 5  # images until LOST, by default


@pytest.fixture
def met(node, peer) -> Peer:
    """A peer connected to an active node."""
    peer.meet()
    return peer


def mask_message(box, encoding="mono8", value=255, size=SIZE) -> Image:
    pixels = rectangle(box, size).astype(np.uint16 if encoding == "mono16" else np.uint8) * value
    return fill_image(Image(), pixels, encoding, Image().header)


def add(peer: Peer, **fields) -> AddObject.Response:
    return peer.call(AddObject, "tracker/add_object", AddObject.Request(**fields))


def test_a_prompt_gives_objects_under_the_images_own_header(met):
    met.prompts.publish(String(data="the red box"))
    item = met.tracked(RED)[0]
    assert (item.id, item.prompt, item.frames_since_seen) == ("1", "the red box", 0)
    assert overlap(full_mask(item, SIZE), rectangle(LEFT)) > 0.85
    assert item.mask.encoding == "mono8" and set(item.mask.data) <= {0, 255}
    assert (item.mask.width, item.mask.height) == (item.box.width, item.box.height)
    assert item.area == np.count_nonzero(np.frombuffer(item.mask.data, np.uint8))
    message = met.image(RED)
    met.images.publish(message)
    result = met.result_of(message)
    assert result.header == message.header and result.objects[0].mask.header == message.header
    assert (result.width, result.height, result.camera) == (SIZE[1], SIZE[0], "")
    assert 0 <= result.wait_ms <= result.total_ms and 0 < result.track_ms <= result.total_ms
    assert result.age_ms > 1e6  # the stamp is of 1970


def test_label_image_and_overlay_come_when_someone_listens(met):
    met.prompts.publish(String(data="red"))
    slot = met.tracked(RED)[0].slot
    met.hear_pictures()
    met.show_until(RED, lambda _: met.labels and met.overlays, "pictures")
    labels, overlay = met.labels[-1], met.overlays[-1]
    values = np.frombuffer(labels.data, np.uint16).reshape(SIZE)
    assert labels.encoding == "mono16" and overlap(values == slot, rectangle(LEFT)) > 0.85
    assert set(np.unique(values)) == {0, slot}
    drawn = np.frombuffer(overlay.data, np.uint8).reshape(*SIZE, 3)
    assert overlay.encoding == "rgb8" and np.any(drawn != RED) and labels.header.frame_id == "camera_optical"


@pytest.mark.parametrize(
    "reference",
    [
        {"mask": mask_message(LEFT)},
        {"mask": mask_message(LEFT), "text": "the red box"},
        {"points": [Point(x=60.0, y=50.0)]},
        {"points": [Point(x=60.0, y=50.0), Point(x=5.0, y=5.0)], "point_labels": [1, 0]},
        {"box": RegionOfInterest(x_offset=38, y_offset=30, width=52, height=44)},
    ],
    ids=["mask", "mask and text", "point", "points on and off", "box"],
)
def test_every_reference_of_a_command_finds_its_object(met, reference):
    met.show(RED)
    met.commands.publish(TrackCommand(action=TrackCommand.ADD, object_id="mine", label="thing", **reference))
    item = met.tracked(RED)[0]
    assert (item.id, item.label) == ("mine", "thing")
    assert overlap(full_mask(item, SIZE), rectangle(LEFT)) > 0.7


def test_a_mono16_mask_prompt_gives_one_object_a_value(met):
    met.show(RED_AND_BLUE)
    values = rectangle(LEFT).astype(np.uint16) * 7 + rectangle(RIGHT).astype(np.uint16) * 300
    met.masks.publish(fill_image(Image(), values, "mono16", Image().header))
    one, two = met.tracked(RED_AND_BLUE, 2)
    assert overlap(full_mask(one, SIZE), rectangle(LEFT)) > 0.85
    assert overlap(full_mask(two, SIZE), rectangle(RIGHT)) > 0.85


def test_a_stamped_mask_applies_to_the_image_of_that_stamp(met):
    early = met.image(scene(("red", LEFT)))
    met.images.publish(early)
    met.result_of(early)
    late = scene(("red", RIGHT), ("blue", LEFT))
    met.show(late)
    answer = add(met, header=early.header, mask=mask_message(LEFT))
    assert answer.success, answer.message
    # What was red at the left is at the right now; unstamped, the mask would have meant the blue thing there.
    assert overlap(full_mask(met.tracked(late)[0], SIZE), rectangle(RIGHT)) > 0.85


@pytest.mark.parametrize(("offset", "reason"), [(-500, "not held any more"), (500, "has not come yet")])
def test_a_stamp_that_is_late_or_early_is_said_and_means_the_next_image(met, offset, reason):
    met.show(RED)
    header = met.image(RED).header
    header.stamp.sec += offset
    answer = add(met, header=header, mask=mask_message(LEFT))
    assert answer.success and reason in answer.message and "next image" in answer.message
    assert met.tracked(RED)
    refused = add(met, header=header, points=[Point(x=50.0, y=50.0)], exact_stamp=True)
    assert not refused.success and reason in refused.message and "exact_stamp" in refused.message
    assert len(met.show(RED).objects) == 1


def test_services_answer_with_the_id_or_the_reason(met):
    met.show(RED_AND_BLUE)
    assert add(met, text="red", object_id="r").object_id == "r"
    assert add(met, text="blue", label="the cup").success
    again = add(met, text="green", object_id="r")
    assert not again.success and "'r'" in again.message and again.object_id == ""
    met.tracked(RED_AND_BLUE, 2)
    gone = met.call(RemoveObject, "tracker/remove_object", RemoveObject.Request(object_id="r"))
    assert gone.success
    assert [item.label for item in met.tracked(RED_AND_BLUE, 1)] == ["the cup"]
    unknown = met.call(RemoveObject, "tracker/remove_object", RemoveObject.Request(object_id="nobody"))
    assert not unknown.success and "nobody" in unknown.message
    reused = add(met, text="red", object_id="r")
    assert not reused.success, "an id must not come back after its removal"
    assert met.call(Trigger, "tracker/clear", Trigger.Request()).success
    assert met.show(RED_AND_BLUE).objects == []


def test_one_object_more_than_allowed_is_refused_with_the_limit(tmp_path, peer):
    with NodeProcess(tmp_path / "node.log", "max_objects:=2"):
        peer.meet()
        assert add(peer, text="red").success and add(peer, text="blue").success
        third = add(peer, text="green")
        assert not third.success and "2" in third.message
        peer.tracked(RED_AND_BLUE, 2)


def test_spoken_controls(met):
    met.prompts.publish(String(data="red"))
    met.prompts.publish(String(data="the blue box"))
    met.tracked(RED_AND_BLUE, 2)
    met.prompts.publish(String(data="Forget the blue box!"))
    met.show_until(RED_AND_BLUE, lambda r: [o.prompt for o in r.objects] == ["red"], "one object")
    met.prompts.publish(String(data="pause"))
    met.until(lambda: "paused" in met.status("tracker")["message"], "the pause")
    count = len(met.results)
    met.images.publish(met.image(RED))
    met.spin(0.5)
    assert len(met.results) == count, "no image is processed while paused"
    met.prompts.publish(String(data="resume"))
    met.until(lambda: "paused" not in met.status("tracker")["message"], "the resumption")
    assert [item.prompt for item in met.tracked(RED)] == ["red"], "objects outlast a pause"
    met.prompts.publish(String(data="forget everything"))
    met.show_until(RED, lambda r: not r.objects, "no objects")


def test_set_enabled_pauses_and_resumes(met):
    assert met.call(SetBool, "tracker/set_enabled", SetBool.Request(data=False)).success
    met.results.clear()
    met.images.publish(met.image(RED))
    met.spin(0.5)
    assert not met.results
    met.call(SetBool, "tracker/set_enabled", SetBool.Request(data=True))
    assert met.show(RED).objects == []


def test_a_lost_object_is_said_to_be_lost_and_found_again(met):
    met.prompts.publish(String(data="red"))
    met.tracked(RED)
    empty = scene()
    for _ in range(MISS_ALLOWED):
        item = met.show(empty).objects[0]
    assert item.state == TrackedObject.LOST and item.frames_since_seen >= MISS_ALLOWED
    assert item.area == 0 and len(item.mask.data) == 0 and item.box == RegionOfInterest()
    moved = met.tracked(scene(("red", RIGHT)))[0]
    assert moved.id == "1" and overlap(full_mask(moved, SIZE), rectangle(RIGHT)) > 0.85


def test_the_newest_image_wins(tmp_path, peer):
    count, delay = 25, 0.25
    with NodeProcess(tmp_path / "node.log", env={"DOUBLE_DELAY": str(delay)}):
        peer.meet()
        peer.prompts.publish(String(data="red"))
        peer.tracked(RED)
        peer.results.clear()
        sent = []
        for index in range(count):
            sent.append(peer.image(scene(("red", (10 + 5 * index, 40, 40, 40)))))
            peer.images.publish(sent[-1])
            peer.spin(0.04)
        last = peer.result_of(sent[-1])
        stamps = [result.header.stamp.sec for result in peer.results]
        assert stamps == sorted(set(stamps)), "never an older image after a newer one"
        assert len(stamps) < count, "a slow network must not process every image"
        assert 0 < last.frames_dropped <= count - len(stamps), "what the node replaced is counted"
        assert last.wait_ms < 4e3 * delay
        for result in peer.results:  # a mask of the right time: where the object was in that very image
            x = 10 + 5 * [m.header.stamp.sec for m in sent].index(result.header.stamp.sec)
            assert abs(result.objects[0].box.x_offset - x) <= 4


def test_compressed_images(tmp_path, ros):
    peer = Peer(transport="compressed")
    try:
        with NodeProcess(tmp_path / "node.log", "image_transport:=compressed", "diagnostics_period:=0.2"):
            peer.meet()
            peer.images.publish(CompressedImage(format="jpeg", data=b"this is no picture"))
            peer.until(lambda: "could not be decoded" in peer.status("tracker")["last error"], "the refusal")
            peer.prompts.publish(String(data="red"))
            assert overlap(full_mask(peer.tracked(RED)[0], SIZE), rectangle(LEFT)) > 0.8
    finally:
        peer.destroy_node()


def test_two_cameras_have_their_own_images_and_objects(tmp_path, ros):
    left, right = Peer(camera="left"), Peer(camera="right")
    try:
        with NodeProcess(tmp_path / "node.log", "cameras:=['left','right']"):
            left.meet()
            right.meet()
            left.prompts.publish(String(data="red"))
            one = left.tracked(RED)[0]
            two = right.tracked(scene(("red", RIGHT)))[0]
            assert one.id == two.id == "1"
            assert overlap(full_mask(one, SIZE), rectangle(LEFT)) > 0.85
            assert overlap(full_mask(two, SIZE), rectangle(RIGHT)) > 0.85
            assert left.results[-1].camera == "left" and right.results[-1].camera == "right"
            only = add(left, camera="right", text="blue")
            assert only.success and only.object_id == "2"
            assert len(right.show(RED).objects) == 2 and len(left.show(RED).objects) == 1
    finally:
        left.destroy_node()
        right.destroy_node()


def test_a_click_on_the_overlay_adds_what_is_there_once(met):
    met.show(RED_AND_BLUE)
    clicks = met.create_publisher(Point, "tracker/overlay_mouse_left", 10)
    met.until(clicks.get_subscription_count, "the node's subscription to clicks")
    clicks.publish(Point(x=60.0, y=50.0))
    item = met.tracked(RED_AND_BLUE)[0]
    assert overlap(full_mask(item, SIZE), rectangle(LEFT)) > 0.7
    clicks.publish(Point(x=61.0, y=51.0))  # on the object that is tracked now
    clicks.publish(Point(x=5000.0, y=51.0))  # outside
    clicks.publish(Point(x=160.0, y=80.0))
    both = met.tracked(RED_AND_BLUE, 2)
    assert overlap(full_mask(both[1], SIZE), rectangle(RIGHT)) > 0.7


def test_the_node_and_the_tracker_offline_give_the_same_masks(met):
    frames = [scene(("red", (8 * i, 4 * i, 40, 40)), ("blue", (160 - 6 * i, 60, 40, 40))) for i in range(12)]
    frames.insert(6, scene())
    offline = Tracker(FakeColourRuntime(interactive=True))
    for words in ("red", "the blue box"):
        offline.add_text(words)
        assert add(met, text=words).success
    for frame in frames:
        ours, theirs = offline.step(frame), met.show(frame)
        assert [(o.id, o.slot, o.state.value, o.area) for o in ours.objects] == [
            (o.id, o.slot, STATES[o.state], o.area) for o in theirs.objects
        ]
        for one, other in zip(ours.objects, theirs.objects, strict=True):
            assert np.array_equal(ours.label_image == one.slot, full_mask(other, SIZE))


def test_images_of_a_new_size_are_taken(met):
    met.prompts.publish(String(data="red"))
    met.tracked(RED)
    big = cv2.resize(RED, (448, 256), interpolation=cv2.INTER_NEAREST)
    item = met.tracked(big)[0]
    assert met.results[-1].width == 448
    assert (
        overlap(full_mask(item, (256, 448)), cv2.resize(rectangle(LEFT).astype(np.uint8), (448, 256), 0))
        > 0.8
    )
