"""Bad input over real topics: refused with a reason, shown in diagnostics, and nothing else is disturbed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_runtime import scene

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from ros_help import Peer
from sensor_msgs.msg import Image, RegionOfInterest
from std_msgs.msg import Header, String

from uniref_ros.conversion import fill_image
from uniref_ros.msg import TrackCommand

LEFT, SIZE = (40, 32, 48, 40), (128, 224)
RED = scene(("red", LEFT))
ADD = TrackCommand.ADD


@pytest.fixture
def tracking(node, peer) -> Peer:
    """A peer whose node tracks the red box, object 1."""
    peer.meet()
    peer.prompts.publish(String(data="red"))
    peer.tracked(RED)
    return peer


def mask(size=SIZE, encoding="mono8", value=1) -> Image:
    pixels = np.full(size, value, np.uint8)
    pixels = np.stack([pixels] * 3, -1) if encoding == "rgb8" else pixels
    pixels = pixels.astype(np.uint16) if encoding == "mono16" else pixels
    return fill_image(Image(), pixels, encoding, Header())


def soft() -> Image:
    pixels = np.tile(np.arange(SIZE[1], dtype=np.uint8), (SIZE[0], 1))
    return fill_image(Image(), pixels, "mono8", Header())


def cut(message: Image) -> Image:
    message.data = message.data[:100]
    return message


BAD_COMMANDS = {
    "nothing given": (TrackCommand(action=ADD), "needs words, a mask, points or a box"),
    "blank text": (TrackCommand(action=ADD, text="   "), "prompt"),
    "text without words": (TrackCommand(action=ADD, text="?!"), "prompt"),
    "unknown action": (TrackCommand(action=99), "99"),
    "no action": (TrackCommand(text="blue"), "action is 0"),
    "mask of another size": (TrackCommand(action=ADD, mask=mask((10, 12))), "10"),
    "mask in colour": (TrackCommand(action=ADD, mask=mask(encoding="rgb8")), "'rgb8'"),
    "empty mask": (TrackCommand(action=ADD, mask=mask(value=0)), "mask"),
    "mask cut short": (TrackCommand(action=ADD, mask=cut(mask())), "100 bytes"),
    "mask without height": (TrackCommand(action=ADD, mask=Image(width=5, encoding="mono8")), "5x0"),
    "two references": (TrackCommand(action=ADD, mask=mask(), points=[Point()]), "mask and points"),
    "point not finite": (TrackCommand(action=ADD, points=[Point(x=math.nan)]), "nan"),
    "point outside": (TrackCommand(action=ADD, points=[Point(x=9999.0, y=3.0)]), "9999"),
    "labels and points differ": (
        TrackCommand(action=ADD, points=[Point()], point_labels=[1, 0]),
        "1 points but 2 labels",
    ),
    "many labels": (
        TrackCommand(action=ADD, points=[Point()], point_labels=bytes(1_000_000)),
        "1000000 point_labels, more than the limit of 1000",
    ),
    "many points": (TrackCommand(action=ADD, points=[Point()] * 1001), "1001 points, more than the limit"),
    "soft mask": (TrackCommand(action=ADD, mask=soft()), "values besides 0"),
    "mask of many objects": (TrackCommand(action=ADD, mask=mask(encoding="mono16")), "'mono16'"),
    "blank id": (TrackCommand(action=ADD, text="blue", object_id="  "), "non-empty"),
    "id of two lines": (TrackCommand(action=ADD, text="blue", object_id="a\nb"), "U+000A"),
    "labels of unknown value": (
        TrackCommand(action=ADD, points=[Point(x=9.0, y=9.0)], point_labels=[7]),
        "7",
    ),
    "flat box": (TrackCommand(action=ADD, box=RegionOfInterest(width=5)), "at least one pixel"),
    "box outside": (TrackCommand(action=ADD, box=RegionOfInterest(x_offset=900, width=5, height=5)), "900"),
    "huge box": (
        TrackCommand(action=ADD, box=RegionOfInterest(x_offset=2**32 - 1, width=9, height=9)),
        "box",
    ),
    "unknown camera": (TrackCommand(action=ADD, text="blue", camera="roof"), "'roof'"),
    "id in use": (TrackCommand(action=ADD, text="blue", object_id="1"), "'1'"),
    "removal of nobody": (TrackCommand(action=TrackCommand.REMOVE, object_id="nobody"), "'nobody'"),
    "removal of no id": (TrackCommand(action=TrackCommand.REMOVE), "''"),
    "re-anchoring of nobody": (TrackCommand(action=TrackCommand.REANCHOR, object_id="nobody"), "'nobody'"),
}


@pytest.fixture(scope="class")
def shared(tmp_path_factory, ros):
    """A node that tracks the red box, object 1, and its peer."""
    from ros_help import NodeProcess

    peer = Peer()
    with NodeProcess(tmp_path_factory.mktemp("faults") / "node.log", "diagnostics_period:=0.1") as process:
        peer.meet()
        peer.prompts.publish(String(data="red"))
        peer.tracked(RED)
        yield process, peer
    peer.destroy_node()


def errors(peer: Peer, kind: str) -> int:
    return int(peer.status("tracker").get(f"errors: {kind}", 0))


BAD_IMAGES = {
    "unknown encoding": (Image(width=8, height=8, step=8, encoding="jpeg2000", data=bytes(64)), "'jpeg2000'"),
    "no encoding": (Image(width=8, height=8, step=8, data=bytes(64)), "''"),
    "no pixels": (Image(encoding="rgb8"), "0x0"),
    "data cut short": (Image(width=640, height=480, step=1920, encoding="rgb8", data=bytes(64)), "64 bytes"),
    "step too small": (Image(width=8, height=8, step=8, encoding="rgb8", data=bytes(192)), "step is 8"),
    "size that cannot be": (
        Image(width=2**32 - 1, height=2**32 - 1, encoding="rgb8", data=bytes(64)),
        "64 bytes",
    ),
    "time before 1970": (
        Image(header=Header(stamp=Time(sec=-5)), width=4, height=4, step=4, encoding="mono8", data=bytes(16)),
        "",
    ),
}


class TestOneNode:
    """One node gets all of it: nothing here may disturb it."""

    @pytest.mark.parametrize("name", BAD_COMMANDS)
    def test_a_bad_command_is_refused_and_the_other_object_stays(self, shared, name):
        process, peer = shared
        command, reason = BAD_COMMANDS[name]
        before = errors(peer, "command")
        peer.commands.publish(command)
        peer.until(lambda: errors(peer, "command") == before + 1, "the refusal in diagnostics")
        assert reason in peer.status("tracker")["last error"]
        assert [item.id for item in peer.tracked(RED)] == ["1"]
        assert process.running and "Traceback" not in process.text()

    @pytest.mark.parametrize("words", ["", "  \n", "forget the purple elephant", "red " * 9000])
    def test_a_prompt_that_names_nothing_is_refused(self, shared, words):
        process, peer = shared
        before = errors(peer, "prompt")
        peer.prompts.publish(String(data=words))
        peer.until(lambda: errors(peer, "prompt") == before + 1, "the refusal in diagnostics")
        assert [item.id for item in peer.tracked(RED)] == ["1"]
        assert "Traceback" not in process.text()

    @pytest.mark.parametrize("name", BAD_IMAGES)
    def test_a_bad_image_is_refused_and_the_next_one_is_processed(self, shared, name):
        process, peer = shared
        message, reason = BAD_IMAGES[name]
        before = int(peer.status(": image")["failed"])
        peer.images.publish(message)
        peer.until(lambda: int(peer.status(": image")["failed"]) == before + 1, "the refusal in diagnostics")
        assert reason in peer.status("tracker")["last error"]
        assert [item.id for item in peer.tracked(RED)] == ["1"]
        assert process.running


def test_a_prompt_of_many_words_is_taken_and_its_cut_is_said(node, peer):
    peer.meet()
    peer.prompts.publish(String(data="red " + "and more words " * 20))
    assert peer.tracked(RED)
    peer.until(lambda: "WARN" in node.text(), "a warning")


BAD_MASKS = {
    "another size": mask((10, 12)),
    "empty": mask(value=0),
    "in colour": mask(encoding="rgb8"),
    "without pixels": Image(),
}


@pytest.mark.parametrize("name", BAD_MASKS)
def test_a_bad_mask_on_the_mask_topic_is_refused(tracking, name):
    tracking.masks.publish(BAD_MASKS[name])
    tracking.until(lambda: errors(tracking, "mask_prompt") == 1, "the refusal in diagnostics")
    assert [item.id for item in tracking.tracked(RED)] == ["1"]


def test_a_clock_that_jumps_back_is_seen_and_tracking_goes_on(tracking):
    tracking._stamp = 10
    assert tracking.tracked(RED)
    assert int(tracking.status(": image")["clock jumps"]) >= 1


def test_silence_of_the_camera_is_warned_of(tmp_path, peer):
    from ros_help import NodeProcess

    with NodeProcess(tmp_path / "node.log", "diagnostics_period:=0.1", "stale_after:=0.3"):
        peer.meet(warm_up=False)
        peer.until(lambda: "no image on /image yet" in peer.status(": image")["message"], "a warning")
        peer.meet()
        peer.until(lambda: "no image on /image for" in peer.status(": image")["message"], "a warning")
        assert peer.show(RED).objects == []
