"""Starts a node and stops it by a signal, again and again, under a flood of messages; every stop is to end 0.

    python test/ros/stops.py [tracker|video|voice] [TIMES]

in an environment with ROS 2 and the package. The tests make a few stops, this any number.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE.parent), str(HERE)]

import numpy as np  # noqa: E402
import rclpy  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from ros_help import NodeProcess  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header, Int16MultiArray  # noqa: E402

from uniref_ros.conversion import fill_image  # noqa: E402

VIDEO = str(ROOT / "media" / "box.mp4")
PROGRAMS = {
    "tracker": ((), ("prompts:=['red']", "diagnostics_period:=0.1")),
    "video": (("-m", "uniref_ros.video_player"), (f"source:={VIDEO}", "loop:=true", "rate:=500.0")),
    "voice": (("-m", "uniref_ros.voice_command"), ("source:=topic", "trigger:=always")),
}
"""By name: what to run (the tracker on the double by default), and its parameters."""


class Flood:
    """Images and sound, as fast as they go, and a listener to images, from a thread."""

    def __init__(self) -> None:
        self._node = rclpy.create_node("flood")
        self._images = self._node.create_publisher(Image, "image", QoSProfile(depth=5))
        self._audio = self._node.create_publisher(Int16MultiArray, "audio", QoSProfile(depth=5))
        self._node.create_subscription(Image, "image", lambda _: None, 1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(5)
        self._node.destroy_node()

    def meets(self, name: str) -> bool:
        """Whether this program is there."""
        if name == "video":
            return self._node.count_publishers("image") > 1
        return self._node.count_subscribers("audio" if name == "voice" else "image") > (name == "tracker")

    def _run(self) -> None:
        image = fill_image(Image(), np.full((128, 224, 3), 128, np.uint8), "rgb8", Header())
        sound = Int16MultiArray(data=[0] * 160)
        index = 0
        while not self._stopping.wait(0.001):
            index += 1
            image.header.stamp.sec = 1 + index
            self._images.publish(image)
            self._audio.publish(sound)


def _wait(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def stop_often(name: str, times: int, folder: Path) -> list[tuple[int, float, str]]:
    """Exit status, seconds from the signal to the end, and log of each stop. rclpy is initialised."""
    program, parameters = PROGRAMS[name]
    stops = []
    moments = random.Random(times)
    with Flood() as flood:
        for index in range(times):
            _wait(lambda: not flood.meets(name))
            with NodeProcess(folder / f"{index}.log", *parameters, program=program) as process:
                # signals before that are another test's
                _wait(lambda: flood.meets(name) or bool(process.text()) or not process.running)
                time.sleep(moments.uniform(0.0, 1.0))
                began = time.monotonic()
                status = process.stop((signal.SIGINT, signal.SIGTERM)[index % 2])
                stops.append((status, time.monotonic() - began, process.text()))
    return stops


def main() -> int:
    name, times = (*sys.argv[1:], "tracker", "60")[:2] if len(sys.argv) < 3 else sys.argv[1:3]
    times = int(times) if len(sys.argv) > 2 else 60
    rclpy.init(args=[])
    with tempfile.TemporaryDirectory() as folder:
        stops = stop_often(name, times, Path(folder))
    rclpy.try_shutdown()
    print(name, "exit statuses:", dict(Counter(status for status, _, _ in stops)))
    print(f"longest stop: {max(seconds for _, seconds, _ in stops):.2f} s")
    bad = [text for status, _, text in stops if status or "Traceback" in text]
    print(f"with a traceback or not 0: {len(bad)}", *bad[:2], sep="\n")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
