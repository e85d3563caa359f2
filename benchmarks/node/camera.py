"""A synthetic camera as a process of its own: `python -m benchmarks.node.camera '{"topics": ["image"], …}'`.

It publishes at a fixed rate whatever the tracker does, and stamps each image with the time at which it is
handed to DDS. `frame_id` repeats camera and stamp, so that a listener can see that no header was mixed up.
SIGUSR1 stops it, SIGUSR2 lets it go on; it ends on SIGINT and says on its standard output what it sent.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from uniref_ros.conversion import fill_image, fill_jpeg

from .scene import ACTORS, Actor, Scene

_JPEG = 95  # quality: of image_transport's publishers


@dataclass
class CameraPlan:
    """names: one camera each, as the tracker's parameter `cameras`. cached: pictures drawn beforehand and
    repeated, 0 draws each one. malformed_every: every so many-th image is one that cannot be used. transport:
    "raw" or "compressed" (JPEG)."""

    names: tuple[str, ...] = ("",)
    height: int = 480
    width: int = 640
    rate: float = 30.0
    reliability: str = "best_effort"
    actors: tuple[dict[str, Any], ...] = tuple(asdict(actor) for actor in ACTORS)
    cached: int = 16
    malformed_every: int = 0
    transport: str = "raw"


def frame_id(name: str, stamp: Time) -> str:
    """What an image's header must say."""
    return f"{name or 'camera'}:{stamp.sec}.{stamp.nanosec:09d}"


def from_seconds(seconds: float) -> Time:
    """A stamp."""
    whole = int(seconds)
    return Time(sec=whole, nanosec=int((seconds - whole) * 1e9))


class Camera(Node):
    """Publishes from a plan; `tick` is to be called again and again."""

    def __init__(self, plan: CameraPlan) -> None:
        super().__init__("synthetic_camera")
        self._plan = plan
        reliability = ReliabilityPolicy[plan.reliability.upper()]
        qos = QoSProfile(depth=1, reliability=reliability)
        raw = plan.transport == "raw"
        kind, topic = (Image, "image") if raw else (CompressedImage, "image/compressed")
        self._outputs = [
            (name, self.create_publisher(kind, f"{name}/{topic}" if name else topic, qos))
            for name in plan.names
        ]
        actors = tuple(Actor(**{**values, "away": tuple(values["away"])}) for values in plan.actors)
        self._scene = Scene((plan.height, plan.width), actors)
        self._cache = [self._message(index / plan.rate) for index in range(plan.cached)]
        self.sent = dict.fromkeys(plan.names, 0)
        self.malformed = 0
        self.running = True
        self._count = 0

    @property
    def heard(self) -> bool:
        """Whether somebody listens to every camera."""
        return all(output.get_subscription_count() for _, output in self._outputs)

    def publish(self) -> None:
        """One image of every camera."""
        self._count += 1
        now = time.time()
        message = self._cache[self._count % len(self._cache)] if self._cache else self._message(now)
        every = self._plan.malformed_every
        for name, output in self._outputs:
            stamp = from_seconds(time.time() if self._cache else now)
            if every and self._count % every == 0:
                output.publish(_malformed(self._count // every, stamp))
                self.malformed += 1
                continue
            message.header.stamp, message.header.frame_id = stamp, frame_id(name, stamp)
            output.publish(message)
            self.sent[name] += 1

    def _message(self, moment: float) -> Image | CompressedImage:
        pixels = self._scene.image(moment)
        if self._plan.transport == "raw":
            return fill_image(Image(), pixels, "rgb8", Header())
        return fill_jpeg(CompressedImage(), pixels, _JPEG, Header())


def _malformed(number: int, stamp: Time) -> Image:
    """Images no tracker can use, of several kinds in turn."""
    header = Header(stamp=stamp, frame_id="malformed")
    kinds = (
        Image(header=header, width=64, height=64, step=192, encoding="rgb8", data=bytes(100)),
        Image(header=header, width=8, height=8, step=8, encoding="jpeg2000", data=bytes(64)),
        Image(header=header, encoding="rgb8"),
        Image(header=header, width=2**32 - 1, height=2**32 - 1, encoding="rgb8", data=bytes(8)),
        fill_image(Image(), np.zeros((48, 64, 3), np.uint8), "bgra8", header),
    )
    return kinds[number % len(kinds)]


def main(arguments: list[str]) -> int:
    """Run until SIGINT. Prints one line of JSON."""
    plan = CameraPlan(**json.loads(arguments[0]))
    rclpy.init(args=[], signal_handler_options=rclpy.SignalHandlerOptions.NO)
    camera = Camera(plan)
    stop = False

    def end(*_: object) -> None:
        nonlocal stop
        stop = True

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGUSR1, lambda *_: setattr(camera, "running", False))
    signal.signal(signal.SIGUSR2, lambda *_: setattr(camera, "running", True))
    due = time.monotonic()
    late = 0
    while not stop:
        due += 1.0 / plan.rate
        pause = due - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        elif pause < -1.0 / plan.rate:
            late += 1
            due = time.monotonic()
        if camera.running and camera.heard:
            camera.publish()
    print(json.dumps({"sent": camera.sent, "malformed": camera.malformed, "late": late}), flush=True)
    camera.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
