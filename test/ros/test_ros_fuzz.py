"""A hundred malformed messages of every type the node takes: each is refused and counted, the node stays, and
the object it tracks is as it was.

Every message is valid for DDS and wrong in what it holds, drawn at random from kinds of wrongness (fixed
seed).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fake_runtime import scene

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from ros_help import NodeProcess, Peer
from sensor_msgs.msg import CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header, String

from uniref_ros.msg import TrackCommand
from uniref_ros.srv import AddObject, RemoveObject

RED = scene(("red", (40, 32, 48, 40)))
COUNT, BATCH = 100, 10
HUGE = 2**32 - 1


def noise(rng: random.Random, most: int = 300) -> bytes:
    return rng.randbytes(rng.randrange(most))


def bad_image(rng: random.Random) -> Image:
    image = Image(width=16, height=12, step=48, encoding="rgb8", data=rng.randbytes(576))
    wrong: list[Callable[[], Any]] = [
        lambda: setattr(image, "encoding", rng.choice(["", "jpeg", "32FC1", "rgb", "\x00\x01", "é" * 50])),
        lambda: setattr(image, "width", rng.choice([0, 17, HUGE])),
        lambda: setattr(image, "height", rng.choice([0, 13, 4000, HUGE])),
        lambda: setattr(image, "step", rng.choice([1, 47, 49, HUGE])),
        lambda: setattr(image, "data", noise(rng)),
        lambda: setattr(image, "header", Header(stamp=Time(sec=-rng.randrange(1, 2**31)))),
    ]
    rng.choice(wrong)()
    return image


def bad_mask(rng: random.Random) -> Image:
    """Wrong for an image of 128x224 pixels."""
    height, width = rng.choice([(128, 223), (1, 1), (127, 224)])
    return rng.choice(
        [
            Image(),
            Image(width=width, height=height, step=width, encoding="mono8", data=b"\1" * (width * height)),
            Image(width=224, height=128, step=224, encoding="mono8", data=bytes(224 * 128)),
            Image(width=224, height=128, step=224, encoding="mono8", data=noise(rng)),
            Image(width=HUGE, height=HUGE, step=0, encoding="mono16", data=noise(rng)),
            Image(width=224, height=128, step=1, encoding="8UC1", data=b"\1" * (224 * 128)),
            Image(width=8, height=8, step=24, encoding="rgb8", data=rng.randbytes(192)),
        ]
    )


def bad_compressed(rng: random.Random) -> CompressedImage:
    heads = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF", b"BM", b"GIF89a"]
    return CompressedImage(
        format=rng.choice(["", "jpeg", "png", "\x00"]), data=rng.choice(heads) + noise(rng)
    )


def bad_words(rng: random.Random) -> str:
    return rng.choice(
        [
            "".join(rng.choice(" \t\n.,;:!?()\"'*#-/") for _ in range(rng.randrange(40))),
            "red " * rng.randrange(300, 3000),
            f"forget the {rng.randrange(10**9)}",
            "\x00\x01\x7f",
        ]
    )


def bad_point(rng: random.Random) -> Point:
    wrong = rng.choice([math.nan, math.inf, -math.inf, -1.0, 224.0, 1e300, -1e-9])
    return rng.choice([Point(x=wrong, y=5.0), Point(x=300.0, y=wrong if wrong != 224.0 else 128.0)])


def bad_reference(rng: random.Random) -> dict[str, Any]:
    """Fields of TrackCommand and AddObject that no object can be added from."""
    return rng.choice(
        [
            {},
            {"text": "?!"},
            {"text": "red " * 400},
            {"mask": rng.choice([bad_mask(rng), Image(width=3)]), "text": "blue", "object_id": "1"},
            {"points": [bad_point(rng)]},
            {"points": [Point(x=5.0, y=5.0)], "point_labels": [rng.randrange(2, 256)]},
            {"points": [Point(x=5.0, y=5.0)], "point_labels": [1, 0, 1]},
            {"points": [Point(x=5.0, y=5.0)] * 1001},
            {"box": RegionOfInterest(x_offset=rng.randrange(224, HUGE), width=9, height=9)},
            {"box": RegionOfInterest(width=rng.randrange(1, HUGE))},
            {"text": "blue", "object_id": "1"},
            {"text": "blue", "object_id": " "},
            {"text": "blue", "object_id": "x" * 2000},
            {"text": "blue", "label": "y" * 2000},
            {"text": "blue", "camera": rng.choice(["roof", "\n", "x" * 500])},
        ]
    )


def bad_command(rng: random.Random) -> TrackCommand:
    if rng.random() < 0.5:
        return TrackCommand(action=TrackCommand.ADD, **bad_reference(rng))
    action = rng.choice([0, 7, 255, TrackCommand.REMOVE, TrackCommand.REANCHOR])
    return TrackCommand(action=action, object_id=rng.choice(["", "nobody", "\x00", "z" * 300]))


TOPICS: dict[str, tuple[type, str, str, Callable[[random.Random], Any]]] = {
    "prompt": (String, "tracker/prompt", "prompt", lambda rng: String(data=bad_words(rng))),
    "command": (TrackCommand, "tracker/command", "command", bad_command),
    "click": (Point, "tracker/overlay_mouse_left", "click", bad_point),
    "mask_prompt": (Image, "tracker/mask_prompt", "mask_prompt", bad_mask),
}
SERVICES: dict[str, tuple[type, Callable[[random.Random], Any]]] = {
    "add_object": (AddObject, lambda rng: AddObject.Request(**bad_reference(rng))),
    "remove_object": (
        RemoveObject,
        lambda rng: RemoveObject.Request(object_id=rng.choice(["", "no", "\x00"])),
    ),
}


class Subject:
    """A node that tracks the red box, object 1, and its peer."""

    def __init__(self, process: NodeProcess, peer: Peer) -> None:
        self.process, self.peer = process, peer
        peer.meet()
        peer.prompts.publish(String(data="red"))
        self.mask = bytes(peer.tracked(RED)[0].mask.data)

    def count(self, key: str, where: str = "tracker") -> int:
        return int(self.peer.status(where).get(key, 0))

    def check(self) -> None:
        (item,) = self.peer.tracked(RED)
        assert item.id == "1" and bytes(item.mask.data) == self.mask, "the object is as it was"
        assert self.process.running and "Traceback" not in self.process.text()


@pytest.fixture(scope="class")
def subject(tmp_path_factory, ros) -> Iterator[Subject]:
    peer = Peer()
    log = tmp_path_factory.mktemp("fuzz") / "node.log"
    with NodeProcess(log, "diagnostics_period:=0.1") as process:
        yield Subject(process, peer)
    peer.destroy_node()


def _send_images(subject: Subject, make: Callable[[random.Random], Any]) -> None:
    """One after the other: of those that wait, the node would drop all but the newest."""
    peer, rng = subject.peer, random.Random(7)
    where = f": {peer.image_topic}"
    before = subject.count("failed", where) + subject.count("dropped", where)
    failed = subject.count("failed", where)
    for _ in range(COUNT):
        peer.images.publish(make(rng))
        peer.spin(0.01)

    def seen() -> int:
        return subject.count("failed", where) + subject.count("dropped", where) - before

    peer.until(lambda: seen() >= COUNT, "the refusals in diagnostics")
    assert seen() == COUNT and subject.count("failed", where) > failed + COUNT // 2
    subject.check()


class TestOneNode:
    """One node gets all of it."""

    @pytest.mark.parametrize("name", TOPICS)
    def test_malformed_commands(self, subject, name):
        kind, topic, counter, make = TOPICS[name]
        peer, rng = subject.peer, random.Random(name)
        publisher = peer.create_publisher(kind, topic, BATCH)
        peer.until(publisher.get_subscription_count, "the node's subscription")
        key = f"errors: {counter}"
        for _ in range(COUNT // BATCH):
            before = subject.count(key)
            for _ in range(BATCH):
                publisher.publish(make(rng))
            peer.until(lambda low=before: subject.count(key) >= low + BATCH, f"{BATCH} refusals of {name}")
            assert subject.count(key) == before + BATCH
        peer.destroy_publisher(publisher)
        subject.check()

    @pytest.mark.parametrize("name", SERVICES)
    def test_malformed_requests(self, subject, name):
        kind, make = SERVICES[name]
        rng, before = random.Random(name), subject.count(f"errors: {name}")
        for _ in range(COUNT):
            answer = subject.peer.call(kind, f"tracker/{name}", make(rng))
            assert not answer.success and answer.message
        assert subject.count(f"errors: {name}") == before + COUNT
        subject.check()

    def test_malformed_images(self, subject):
        _send_images(subject, bad_image)

    def test_bytes_that_are_no_message_at_all(self, subject):
        """Published as if they were serialized messages: DDS drops what it cannot read."""
        peer, rng = subject.peer, random.Random(1)
        for publisher in (peer.prompts, peer.commands, peer.masks, peer.images):
            for _ in range(COUNT // 4):
                publisher.publish(b"\0\1\0\0" + bytes(np.frombuffer(noise(rng), np.uint8) | 128))
        peer.spin(0.5)
        subject.check()


def test_malformed_compressed_images(tmp_path, ros):
    peer = Peer(transport="compressed")
    try:
        with NodeProcess(
            tmp_path / "node.log", "diagnostics_period:=0.1", "image_transport:=compressed"
        ) as process:
            _send_images(Subject(process, peer), bad_compressed)
    finally:
        peer.destroy_node()
