"""What prompts mean: the full command, which image a click or a stamped mask is for, and that one prompt's
change disturbs no other object."""

from __future__ import annotations

import numpy as np
import pytest
from fake_runtime import FakeColourRuntime, overlap, rectangle, scene

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from geometry_msgs.msg import Point
from ros_help import NodeProcess, Peer, full_mask
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from uniref_model.tracking import Tracker
from uniref_ros.conversion import fill_image
from uniref_ros.msg import TrackCommand
from uniref_ros.srv import AddObject

LEFT, RIGHT, SIZE = (40, 32, 48, 40), (140, 60, 48, 40), (128, 224)
RED = scene(("red", LEFT))
RED_AND_BLUE = scene(("red", LEFT), ("blue", RIGHT))


@pytest.fixture
def met(node, peer) -> Peer:
    """A peer connected to an active node."""
    peer.meet()
    return peer


def mask_message(box, encoding="mono8", header=None) -> Image:
    pixels = rectangle(box, SIZE).astype(np.uint16 if encoding == "mono16" else np.uint8) * 255
    return fill_image(Image(), pixels, encoding, header or Header())


def test_a_click_means_the_image_that_was_shown(met):
    subscriptions = met.hear_pictures()
    met.show_until(RED, lambda _: met.overlays, "an overlay")
    for subscription in subscriptions:
        met.destroy_subscription(subscription)
    # The overlay stands still while the scene moves on: red is at the right now, and where the person sees
    # red, there is blue.
    moved = scene(("red", RIGHT), ("blue", LEFT))
    met.until(lambda: met.count_subscribers("tracker/overlay") == 0, "the end of the overlay's subscription")
    met.spin(1.0)  # the node hears of that later than we do; an overlay it still publishes shows the same
    for _ in range(3):
        met.show(RED)
    for _ in range(12):  # more images than the node holds
        met.show(moved)
    clicks = met.create_publisher(Point, "tracker/overlay_mouse_left", 10)
    met.until(clicks.get_subscription_count, "the node's subscription to clicks")
    clicks.publish(Point(x=60.0, y=50.0))
    item = met.tracked(moved)[0]
    assert overlap(full_mask(item, SIZE), rectangle(RIGHT)) > 0.7


def test_every_action_of_a_command(met):
    def do(action, **fields) -> None:
        met.commands.publish(TrackCommand(action=action, **fields))

    do(TrackCommand.ADD, text="red", object_id="r", label="cup")
    do(TrackCommand.ADD, text="blue", object_id="b")
    met.tracked(RED_AND_BLUE, 2)
    do(TrackCommand.REMOVE, object_id="cup")  # its label, which is unique
    met.show_until(RED_AND_BLUE, lambda r: [o.id for o in r.objects] == ["b"], "the removal by label")
    do(TrackCommand.PAUSE)
    met.until(lambda: "paused" in met.status("tracker")["message"], "the pause")
    do(TrackCommand.RESUME)
    met.until(lambda: "paused" not in met.status("tracker")["message"], "the resumption")
    assert [item.id for item in met.tracked(RED_AND_BLUE)] == ["b"], "objects outlast a pause"
    do(TrackCommand.CLEAR)
    met.show_until(RED_AND_BLUE, lambda r: not r.objects, "no objects")


def test_reanchoring_renews_the_first_reference(tmp_path, peer):
    """An object that changes little by little, and references: first. The double knows a colour within 60."""

    def shade(green: int) -> np.ndarray:
        image = scene()
        image[rectangle(LEFT)] = (30, green, 220)
        return image

    with NodeProcess(tmp_path / "node.log", "references:=first"):
        peer.meet()
        for name in ("renewed", "left alone"):
            peer.show(shade(60))
            peer.commands.publish(
                TrackCommand(action=TrackCommand.ADD, object_id=name, mask=mask_message(LEFT))
            )
            assert [item.id for item in peer.tracked(shade(60))] == [name]
            assert [item.id for item in peer.tracked(shade(105))] == [name]
            if name == "renewed":
                peer.commands.publish(TrackCommand(action=TrackCommand.REANCHOR, object_id=name))
                peer.until(lambda: "anchored anew" in (tmp_path / "node.log").read_text(), "the command")
                peer.show(shade(105))
            assert (peer.show(shade(150)).objects[0].area > 0) == (name == "renewed")
            peer.commands.publish(TrackCommand(action=TrackCommand.CLEAR))
            peer.show_until(shade(150), lambda r: not r.objects, "no objects")


def test_changing_one_prompt_leaves_every_other_object_as_if_nothing_had_happened(met):
    """Against a tracker that has the red object alone: the same masks and counters, frame by frame."""

    def frame(index: int) -> np.ndarray:
        moving = ("red", (10 + 6 * index, 20, 40, 40))
        return scene(moving, ("blue", (150, 70, 40, 40)), ("green", (20, 80, 30, 30)))

    changes = {
        2: lambda: met.commands.publish(TrackCommand(action=TrackCommand.ADD, text="blue", object_id="b")),
        4: lambda: met.prompts.publish(String(data="the green box")),
        6: lambda: met.commands.publish(TrackCommand(action=TrackCommand.REANCHOR, object_id="b")),
        8: lambda: met.commands.publish(TrackCommand(action=TrackCommand.ADD, text="?!")),
        10: lambda: met.prompts.publish(String(data="forget the green box")),
        12: lambda: met.commands.publish(TrackCommand(action=TrackCommand.REMOVE, object_id="b")),
        14: lambda: met.commands.publish(TrackCommand(action=TrackCommand.ADD, object_id="b2", text="blue")),
    }
    alone = Tracker(FakeColourRuntime(interactive=True))
    alone.add_text("red")
    assert met.call(AddObject, "tracker/add_object", AddObject.Request(text="red")).success
    for index in range(18):
        changes.get(index, lambda: None)()
        result, expected = met.show(frame(index)), alone.step(frame(index)).objects[0]
        red = next(item for item in result.objects if item.prompt == "red")
        assert (red.id, red.slot, red.area) == (expected.id, expected.slot, expected.area)
        assert red.frames_tracked == expected.frames_tracked and red.score == pytest.approx(expected.score)
        box = red.box
        assert (box.x_offset, box.y_offset, box.width, box.height) == expected.box
        assert bytes(red.mask.data) == expected.mask.tobytes()
    met.show_until(frame(0), lambda r: {o.id for o in r.objects} >= {"1", "b2"}, "the last addition")


def test_a_mask_of_many_objects_stops_at_the_limit_with_the_reason(tmp_path, peer):
    with NodeProcess(tmp_path / "node.log", "max_objects:=1", "diagnostics_period:=0.1"):
        peer.meet()
        peer.show(RED_AND_BLUE)
        values = rectangle(LEFT).astype(np.uint16) * 7 + rectangle(RIGHT).astype(np.uint16) * 300
        peer.masks.publish(fill_image(Image(), values, "mono16", Header()))
        peer.until(lambda: "errors: mask_prompt" in peer.status("tracker"), "the refusal")
        last = peer.status("tracker")["last error"]
        assert "mask 300" in last and "max_objects" in last and "added before it: 1" in last
        assert len(peer.tracked(RED_AND_BLUE)) == 1


def test_a_stamped_mask_goes_to_the_camera_that_holds_its_image(tmp_path, ros):
    left, right = Peer(camera="left"), Peer(camera="right")
    right._stamp = 5000
    try:
        with NodeProcess(tmp_path / "node.log", "cameras:=['left','right']"):
            left.meet()
            right.meet()
            image = right.image(RED)
            right.images.publish(image)
            right.result_of(image)
            left.masks.publish(mask_message(LEFT, header=image.header))
            assert len(right.tracked(RED)) == 1
            assert left.show(RED).objects == [], "the image is not the left camera's"
            own = left.create_publisher(Image, "tracker/left/mask_prompt", 10)
            left.until(own.get_subscription_count, "the camera's own topic")
            own.publish(mask_message(LEFT))
            assert len(left.tracked(RED)) == 1 and len(right.show(RED).objects) == 1
    finally:
        left.destroy_node()
        right.destroy_node()
