"""What senders may not do to the node: state huge sizes, flood it, mistake one object for another."""

from __future__ import annotations

import re
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fake_runtime import overlap, rectangle, scene
from hostile_pictures import huge_jpeg, huge_png

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from ros_help import NodeProcess, Peer, full_mask
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from uniref_ros.conversion import fill_image
from uniref_ros.msg import TrackCommand
from uniref_ros.serialized import stated_points
from uniref_ros.srv import AddObject, RemoveObject, TeachObject

LEFT, RIGHT, SIZE = (40, 32, 48, 40), (140, 60, 48, 40), (128, 224)
RED, MOVED = scene(("red", LEFT)), scene(("red", RIGHT))
ADD = TrackCommand.ADD


def peak_mb(process: NodeProcess) -> float:
    """The most memory the process ever had."""
    status = Path(f"/proc/{process.child.pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


def errors(peer: Peer, kind: str) -> int:
    return int(peer.status("tracker").get(f"errors: {kind}", 0))


def remove(peer: Peer, who: str) -> RemoveObject.Response:
    return peer.call(RemoveObject, "tracker/remove_object", RemoveObject.Request(object_id=who))


def mask_of(box, stamp: Time | None = None, value: int = 255) -> Image:
    pixels = rectangle(box, SIZE).astype(np.uint8) * value
    return fill_image(Image(), pixels, "mono8", Header(stamp=stamp or Time()))


@pytest.mark.parametrize("bomb", [huge_jpeg(), huge_png()], ids=["JPEG", "PNG"])
def test_a_picture_that_states_a_huge_size_costs_nothing_and_disturbs_no_other_camera(tmp_path, ros, bomb):
    left, right = Peer("left", "compressed"), Peer("right", "compressed")
    parameters = ("cameras:=['left','right']", "image_transport:=compressed", "diagnostics_period:=0.1")
    try:
        with NodeProcess(tmp_path / "node.log", *parameters) as process:
            left.meet()
            right.meet()
            right.prompts.publish(String(data="red"))
            right.tracked(RED)
            left.tracked(RED)
            before, start = peak_mb(process), time.monotonic()
            for number in range(3):
                header = Header(stamp=Time(sec=9000 + number))
                left.images.publish(CompressedImage(header=header, format="jpeg", data=bomb))
                left.spin(0.1)
                assert len(right.tracked(RED)) == 1
            left.until(lambda: int(left.status(": left/image/compressed")["failed"]) == 3, "the count")
            last = left.status("tracker")["last error"]
            assert "30000x30000" in last and "limit of 64.0 megapixels" in last
            print(f"{peak_mb(process) - before:.1f} MB and {time.monotonic() - start:.2f} s for all of it")
            assert peak_mb(process) - before < 50
            assert len(left.tracked(RED)) == 1
    finally:
        left.destroy_node()
        right.destroy_node()


def test_max_pixels_may_be_changed_and_is_kept_by_images_and_masks(tmp_path, peer):
    with NodeProcess(tmp_path / "node.log", "diagnostics_period:=0.1", f"max_pixels:={SIZE[0] * SIZE[1]}"):
        peer.meet()
        peer.show(RED)
        peer.images.publish(peer.image(np.zeros((SIZE[0] + 1, SIZE[1], 3), np.uint8)))
        peer.until(lambda: "224x129" in peer.status("tracker")["last error"], "the refusal of an image")
        large = fill_image(Image(), np.ones((SIZE[0] + 2, SIZE[1]), np.uint8), "mono8", Header())
        peer.masks.publish(large)
        peer.until(lambda: "224x130" in peer.status("tracker")["last error"], "the refusal on the topic")
        peer.commands.publish(TrackCommand(action=ADD, mask=large))
        peer.until(lambda: errors(peer, "command") == 1, "the refusal of a command")
        peer.show(RED)


def test_every_prompt_of_a_burst_is_carried_out_or_answered(tmp_path, peer):
    with NodeProcess(tmp_path / "node.log", "diagnostics_period:=0.1", "max_objects:=255"):
        peer.meet()
        prompts = peer.create_publisher(String, "tracker/prompt", QoSProfile(depth=100))
        peer.until(prompts.get_subscription_count, "the node's subscription")
        for number in range(60):
            prompts.publish(String(data=f"red {number}"))
        found = peer.show_until(RED, lambda r: len(r.objects) >= 60, "all objects")
        assert {item.prompt for item in found.objects} == {f"red {number}" for number in range(60)}
        for _ in range(60):
            prompts.publish(String(data="?!"))
        peer.until(lambda: errors(peer, "prompt") == 60, "all refusals")


def test_what_a_flood_loses_is_said(tmp_path, peer):
    """More than any queue holds, from a sender that keeps one message."""
    with NodeProcess(tmp_path / "node.log", "diagnostics_period:=0.1") as process:
        peer.meet()
        prompts = peer.create_publisher(String, "tracker/prompt", QoSProfile(depth=1))
        peer.until(prompts.get_subscription_count, "the node's subscription")
        for count in (1, 3000, 1):
            for _ in range(count):
                prompts.publish(String(data="?!"))
            peer.spin(0.5)
        peer.until(lambda: errors(peer, "prompt lost"), "the count of the lost")
        peer.spin(1.0)
        said = re.findall(r"prompt lost: .* never came \((\d+) in all\)", process.text())
        assert int(said[0]) > 0 and errors(peer, "prompt") < 3002
        assert peer.show(RED).objects == []


class TestIdentity:
    """Services mean ids; words are for people."""

    def add(self, peer: Peer, **fields) -> str:
        answer = peer.call(AddObject, "tracker/add_object", AddObject.Request(**fields))
        assert answer.success, answer.message
        return answer.object_id

    def ids(self, peer: Peer) -> list[str]:
        return [item.id for item in peer.show(RED).objects]

    def test_a_removal_never_hits_another_object(self, node, peer):
        peer.meet()
        self.add(peer, text="red", object_id="keep")
        assert self.add(peer, text="blue") == "1"
        self.add(peer, text="green", label="mask 1")
        self.add(peer, text="red box number 5")
        for other in (" keep", "keep ", "Keep", "5", "box", "", "x" * 100_000, "a\nb"):
            answer = remove(peer, other)
            assert not answer.success and len(answer.message) < 500 and "\n" not in answer.message
        assert remove(peer, "1").success
        again = remove(peer, "1")  # as after an answer that was lost
        assert not again.success and "not there any more" in again.message
        peer.prompts.publish(String(data="forget 1"))
        peer.until(lambda: errors(peer, "prompt") == 1, "the refusal")
        assert self.ids(peer) == ["keep", "2", "3"]
        assert remove(peer, "mask 1").success and remove(peer, "red box number 5").success
        assert self.ids(peer) == ["keep"]

    def test_spoken_words_never_remove_more_than_they_name(self, node, peer):
        peer.meet()
        for colour in ("red", "blue", "green"):
            self.add(peer, text=f"{colour} box")
        for words in ("forget the box", "forget", "drop"):
            before = errors(peer, "prompt")
            peer.prompts.publish(String(data=words))
            peer.until(lambda was=before: errors(peer, "prompt") == was + 1, "the refusal")
        peer.prompts.publish(String(data="drop box"))  # a thing of its own
        peer.show_until(RED, lambda r: "drop box" in {o.prompt for o in r.objects}, "one more to look for")
        peer.prompts.publish(String(data="drop the blue box"))
        left = peer.show_until(RED, lambda r: len(r.objects) == 3, "the removal")
        assert [item.prompt for item in left.objects] == ["red box", "green box", "drop box"]

    def test_ids_never_come_back_after_the_node_was_configured_anew(self, node, peer):
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        peer.meet()
        self.add(peer, text="red", object_id="cup")
        self.add(peer, text="red")
        steps = ("DEACTIVATE", "CLEANUP", "CONFIGURE", "ACTIVATE")
        for step in steps:
            transition = Transition(id=getattr(Transition, f"TRANSITION_{step}"))
            request = ChangeState.Request(transition=transition)
            assert peer.call(ChangeState, "tracker/change_state", request).success
        peer.meet()
        answer = peer.call(AddObject, "tracker/add_object", AddObject.Request(text="red", object_id="cup"))
        assert not answer.success and "'cup' was used before" in answer.message
        assert self.add(peer, text="red") == "2"

    def test_an_addition_that_failed_spends_no_id(self, node, peer):
        peer.meet()
        for request in (AddObject.Request(text="?!", object_id="cup"), AddObject.Request(text="?!")):
            assert not peer.call(AddObject, "tracker/add_object", request).success
        assert self.add(peer, text="red", object_id="cup") == "cup" and self.add(peer, text="red") == "1"


UNSHOWABLE = {
    "an id": {"object_id": "a\nb", "text": "red"},
    "an id with escapes": {"object_id": "\x1b[2J", "text": "red"},
    "a label": {"label": "a\x07", "text": "red"},
    "a prompt": {"text": "red\n[INFO] all is well"},
    "a long id": {"object_id": "x" * 100_000, "text": "red"},
    "a long prompt": {"text": "red " * 1_000_000},
    "a long camera name": {"camera": "y\n" * 100_000, "text": "red"},
}


@pytest.mark.parametrize("name", UNSHOWABLE)
def test_texts_that_cannot_be_shown_are_refused_and_quoted_plainly(node, peer, name):
    peer.meet()
    answer = peer.call(AddObject, "tracker/add_object", AddObject.Request(**UNSHOWABLE[name]))
    assert not answer.success and answer.message.isprintable() and len(answer.message) < 500
    assert len(peer.status("tracker")["last error"]) < 500
    assert peer.show(RED).objects == []
    assert "\n[INFO] all is well" not in node.text() and "\x1b[2J" not in node.text()


class TestStampsOfMasks:
    """Which image a mask is of."""

    def test_a_masks_own_stamp_counts_when_the_command_has_none(self, node, peer):
        peer.meet()
        stamp = peer.show(RED).header.stamp
        peer.show(MOVED)
        for request in (TrackCommand(action=ADD, mask=mask_of(LEFT, stamp)),):
            peer.commands.publish(request)
        item = peer.tracked(MOVED)[0]
        assert overlap(full_mask(item, SIZE), rectangle(RIGHT)) > 0.7

    def test_two_stamps_that_differ_are_refused(self, node, peer):
        peer.meet()
        first, second = peer.show(RED).header, peer.show(MOVED).header
        request = AddObject.Request(header=second, mask=mask_of(LEFT, first.stamp))
        answer = peer.call(AddObject, "tracker/add_object", request)
        assert not answer.success and "expected one stamp" in answer.message
        assert str(first.stamp.sec) in answer.message and str(second.stamp.sec) in answer.message
        same = AddObject.Request(header=first, mask=mask_of(LEFT, first.stamp))
        assert peer.call(AddObject, "tracker/add_object", same).success

    def test_of_two_images_with_one_stamp_the_newer_is_meant(self, node, peer):
        peer.meet()
        first, second = peer.image(scene(("blue", LEFT))), peer.image(RED)
        second.header = first.header
        for image in (first, second):
            peer.images.publish(image)
            peer.spin(0.3)
        request = AddObject.Request(header=first.header, mask=mask_of(LEFT))
        assert peer.call(AddObject, "tracker/add_object", request).success
        item = peer.tracked(MOVED)[0]
        assert overlap(full_mask(item, SIZE), rectangle(RIGHT)) > 0.7


def test_a_soft_mask_is_refused_with_the_way_out(node, peer):
    import cv2

    peer.meet()
    peer.show(RED)
    soft = cv2.GaussianBlur(rectangle(LEFT).astype(np.uint8) * 255, (9, 9), 0)
    message = fill_image(Image(), soft, "mono8", Header())
    answer = peer.call(AddObject, "tracker/add_object", AddObject.Request(mask=message))
    assert not answer.success and "threshold a soft mask at half" in answer.message
    peer.masks.publish(message)
    peer.until(lambda: errors(peer, "mask_prompt") == 1, "the refusal")
    assert peer.show(RED).objects == []


def test_a_remap_of_image_carries_to_its_compressed_topic(tmp_path, ros):
    peer = Peer("front", "compressed")
    peer.results = []
    peer.create_subscription(type_of_results(), "tracker/objects", lambda m: peer.results.append(m), 100)
    parameters = ("image_transport:=compressed", "diagnostics_period:=0.1")
    try:
        with NodeProcess(tmp_path / "node.log", *parameters, remaps=["image:=front/image"]):
            peer.until(peer.images.get_subscription_count, "the node's subscription")
            peer.until(lambda: peer.count_publishers("tracker/objects"), "the node's results")
            peer.until(peer._knock, "a result")
    finally:
        peer.destroy_node()


def type_of_results() -> type:
    from uniref_ros.msg import TrackedObjectArray

    return TrackedObjectArray


COMMANDS = {
    "nothing": TrackCommand(),
    "points": TrackCommand(points=[Point()] * 7, point_labels=[1] * 7),
    "texts of every length": TrackCommand(
        header=Header(frame_id="f"), camera="é", object_id="abc", label="", text="wörds", points=[Point()] * 3
    ),
    "a mask": TrackCommand(action=255, mask=mask_of(LEFT), text="x" * 999, points=[Point()]),
    "a mask of odd size": TrackCommand(mask=Image(data=bytes(5), encoding="mono8"), points=[Point()] * 1001),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_stated_number_of_points_is_that_of_the_message(name):
    data = serialize_message(COMMANDS[name])
    assert stated_points(data) == len(COMMANDS[name].points)
    for length in range(min(len(data), 80)):
        assert stated_points(data[:length]) >= 0


def test_a_command_of_many_points_is_refused_before_it_is_converted(node, peer):
    peer.meet()
    peer.prompts.publish(String(data="red"))
    peer.tracked(RED)
    data = serialize_message(TrackCommand(action=ADD, points=[Point()] * 1000))
    at = data.rindex((1000).to_bytes(4, "little"), 0, 200)  # a million of them, and the bytes that go with it
    million = data[:at] + (10**6).to_bytes(4, "little") + bytes(24 * 10**6 + 64)
    peer.commands.publish(million)
    peer.until(lambda: errors(peer, "command") == 1, "the refusal")
    assert "1000000 points, more than the limit of 1000" in peer.status("tracker")["last error"]
    assert len(peer.tracked(RED)) == 1


MANY_POINTS = {
    "a request to add": (AddObject, "add_object", AddObject.Request),
    "a request to teach": (TeachObject, "teach", partial(TeachObject.Request, name="mug")),
}


@pytest.mark.parametrize("name", MANY_POINTS)
def test_a_request_of_very_many_points_never_leaves_its_sender(node, peer, name):
    """rclpy would make a Python object of each before anybody can look at their number: a million took two
    seconds and 240 MB, in which no image was received."""
    kind, service, request = MANY_POINTS[name]
    peer.meet()
    most = peer.call(kind, f"tracker/{service}", request(points=[Point()] * 10_000))
    assert not most.success and "10000 points, more than the limit of 1000" in most.message
    with pytest.raises(RuntimeError, match="failed to send request"):
        peer.call(kind, f"tracker/{service}", request(points=[Point()] * 10_001))
    assert not peer.call(kind, f"tracker/{service}", request(points=[Point(x=-1.0)])).success
    assert errors(peer, service) == 2


def test_a_command_of_very_many_points_never_leaves_its_sender(node, peer):
    peer.meet()
    with pytest.raises(RuntimeError, match=r"[Ff]ailed to publish"):
        peer.commands.publish(TrackCommand(action=ADD, points=[Point()] * 10_001))
    peer.commands.publish(TrackCommand(action=ADD, text="red"))
    assert len(peer.tracked(RED)) == 1


def test_bytes_that_are_no_command_stop_nothing(node, peer):
    peer.meet()
    peer.commands.publish(serialize_message(TrackCommand(text="red"))[:30])
    peer.commands.publish(TrackCommand(action=ADD, text="red"))
    assert len(peer.tracked(RED)) == 1
