"""Helpers of the ROS tests: the real node as a process, and a peer that talks to it over real topics."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from uniref_ros.conversion import fill_image, fill_jpeg
from uniref_ros.msg import TrackCommand, TrackedObject, TrackedObjectArray

HERE = Path(__file__).parent
TIMEOUT = 30.0  # s; generous, because the machine may be busy


class NodeProcess:
    """A node in a process of its own. Used with `with`; ends with SIGINT."""

    def __init__(
        self,
        log: Path,
        *parameters: str,
        program: Sequence[str] = (),
        namespace: str = "",
        remaps: Sequence[str] = (),
        env: dict[str, str] | None = None,
    ) -> None:
        """parameters: "name:=value". program: what to run, the tracker on the colour double by default.
        remaps: "from:=to"."""
        self.log = log
        self._file = log.open("wb")
        command = [sys.executable, *(program or [str(HERE / "node_on_double.py")]), "--ros-args"]
        for parameter in parameters:
            command += ["-p", parameter]
        for remap in remaps:
            command += ["-r", remap]
        if namespace:
            command += ["-r", f"__ns:=/{namespace}"]
        self.child = subprocess.Popen(
            command, stdout=self._file, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}
        )

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, with_signal: int = signal.SIGINT) -> int:
        """End it and return its exit status. Fails when it does not end within 10 s."""
        if self.child.poll() is None:
            self.child.send_signal(with_signal)
        try:
            return self.child.wait(10.0)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise AssertionError(f"the node did not end within 10 s of signal {with_signal}") from None
        finally:
            self._file.close()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.child.poll() is None

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace")

    def memory_mb(self) -> float:
        """Its resident memory."""
        status = Path(f"/proc/{self.child.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


class Peer(Node):
    """Publishes images and commands, keeps what comes back."""

    def __init__(
        self,
        camera: str = "",
        transport: str = "raw",
        namespace: str = "",
        image_qos: QoSProfile | None = None,
    ) -> None:
        super().__init__("peer", namespace=namespace or None)
        self._compressed = transport == "compressed"
        self._callers: dict[str, Client] = {}
        name = f"{camera}/" if camera else ""
        self.results: list[TrackedObjectArray] = []
        self.labels: list[Image] = []
        self.overlays: list[Image] = []
        self.diagnostics: DiagnosticArray | None = None
        kind, topic = (Image, "image") if transport == "raw" else (CompressedImage, "image/compressed")
        self.image_topic = name + topic
        self._kind, self._image_qos = kind, image_qos or QoSProfile(depth=5)
        self.images = self.create_publisher(kind, self.image_topic, self._image_qos)
        self.prompts = self.create_publisher(String, "tracker/prompt", 10)
        self.commands = self.create_publisher(TrackCommand, "tracker/command", 10)
        self.masks = self.create_publisher(Image, "tracker/mask_prompt", 10)
        self.create_subscription(TrackedObjectArray, f"tracker/{name}objects", self.results.append, 100)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._prefix = f"tracker/{name}"
        self._stamp = 1000

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics = message

    def hear_pictures(self) -> list[Any]:
        """Also listen to the label image and the overlay. Returns the two subscriptions."""
        return [
            self.create_subscription(Image, f"{self._prefix}label_image", self.labels.append, 10),
            self.create_subscription(Image, f"{self._prefix}overlay", self.overlays.append, 10),
        ]

    def stop_camera(self) -> None:
        """Stop publishing images, as when the camera's driver ends."""
        self.destroy_publisher(self.images)

    def start_camera(self) -> None:
        """Publish images again."""
        self.images = self.create_publisher(self._kind, self.image_topic, self._image_qos)

    def until(self, condition: Callable[[], Any], what: str, timeout: float = TIMEOUT) -> Any:
        """Spin until the condition holds and return its value; fail otherwise, saying what was waited for."""
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited {timeout:.0f} s for {what}"
            rclpy.spin_once(self, timeout_sec=0.05)
        return value

    def spin(self, seconds: float) -> None:
        """Spin for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            rclpy.spin_once(self, timeout_sec=0.05)

    def meet(self, *, warm_up: bool = True) -> None:
        """Wait until the tracker is active and connected.

        warm_up: until an image has come through, too. Discovery has two directions, images are best effort,
        and only a result shows that the node hears us.
        """
        self.until(
            lambda: all(
                p.get_subscription_count() for p in (self.images, self.prompts, self.commands, self.masks)
            ),
            "the node's subscriptions",
        )
        self.until(lambda: self.count_publishers(f"{self._prefix}objects"), "the objects topic")
        if warm_up:
            self.results.clear()
            self.until(self._knock, "a first result")

    def _knock(self) -> bool:
        self.images.publish(self.image(np.full((128, 224, 3), 128, np.uint8)))
        deadline = time.monotonic() + 1.0
        while not self.results and time.monotonic() < deadline:
            rclpy.spin_once(self, timeout_sec=0.05)
        return bool(self.results)

    def image(self, pixels: np.ndarray) -> Any:
        """An image message (of this peer's transport) of RGB pixels, with a stamp of its own."""
        self._stamp += 1
        header = Header(stamp=Time(sec=self._stamp, nanosec=500), frame_id="camera_optical")
        if self._compressed:
            return fill_jpeg(CompressedImage(), pixels, 95, header)
        return fill_image(Image(), pixels, "rgb8", header)

    def show(self, pixels: np.ndarray) -> TrackedObjectArray:
        """Publish an image and wait for its result."""
        message = self.image(pixels)
        self.images.publish(message)
        return self.result_of(message)

    def result_of(self, message: Any, timeout: float = TIMEOUT) -> TrackedObjectArray:
        """Wait for the result with this message's stamp."""
        stamp = message.header.stamp
        found = self.until(
            lambda: [result for result in self.results if result.header.stamp == stamp],
            f"the result of the image {stamp.sec}",
            timeout,
        )
        return found[0]

    def show_until(
        self, pixels: np.ndarray, condition: Callable[[TrackedObjectArray], Any], what: str
    ) -> Any:
        """Publish an image again and again until a result satisfies the condition; returns that result."""
        deadline = time.monotonic() + TIMEOUT
        while not condition(result := self.show(pixels)):
            last = [(item.id, item.prompt[:40], item.state, round(item.score, 2)) for item in result.objects]
            assert time.monotonic() < deadline, f"waited {TIMEOUT:.0f} s for {what}; last: {last}"
        return result

    def tracked(self, pixels: np.ndarray, count: int = 1) -> list[TrackedObject]:
        """Publish an image until so many objects are tracked in it; returns them."""
        result = self.show_until(
            pixels,
            lambda r: len(r.objects) == count and all(o.state == TrackedObject.TRACKED for o in r.objects),
            f"{count} tracked objects",
        )
        return list(result.objects)

    def status(self, name: str) -> dict[str, str]:
        """The key-values of a fresh diagnostic status whose name ends so."""
        self.diagnostics = None

        def found() -> list[DiagnosticStatus]:  # other nodes report on the same topic
            return [one for one in (self.diagnostics or DiagnosticArray()).status if one.name.endswith(name)]

        status = self.until(found, f"diagnostics of {name}")[0]
        level = int.from_bytes(status.level, "little")
        return {pair.key: pair.value for pair in status.values} | {
            "message": status.message,
            "level": ("OK", "WARN", "ERROR", "STALE")[level],
        }

    def _be_found(self, node: str) -> None:
        """Wait until the node has found our readers: an answer that it sends before that is lost.

        Endpoints are announced in the order they were made, so an answer to the newest client says that the
        node knows the others.
        """
        client = self._callers[f"{len(self._callers)}"] = self.create_client(
            GetParameters, f"{node}/get_parameters"
        )
        self.until(client.service_is_ready, f"the parameters of {node}")
        deadline = time.monotonic() + TIMEOUT
        while True:
            future = client.call_async(GetParameters.Request())  # asks for nothing, so it may be sent again
            again = time.monotonic() + 2.0
            while not future.done() and time.monotonic() < again:
                rclpy.spin_once(self, timeout_sec=0.05)
            if future.done():
                break
            assert time.monotonic() < deadline, f"waited {TIMEOUT:.0f} s for an answer of {node}"

    def call(self, kind: type, name: str, request: Any) -> Any:
        """Call a service and return its answer."""
        if name not in self._callers:
            self._callers[name] = self.create_client(kind, name)
            self.until(self._callers[name].service_is_ready, f"the service {name}")
            self._be_found(name.rpartition("/")[0])
        future = self._callers[name].call_async(request)
        self.until(future.done, f"the answer of {name}")
        return future.result()


def full_mask(item: TrackedObject, size: tuple[int, int]) -> np.ndarray:
    """A TrackedObject's mask, bool of the image's size (h, w)."""
    mask = np.zeros(size, bool)
    box = item.box
    crop = np.frombuffer(item.mask.data, np.uint8).reshape(item.mask.height, item.mask.step)[
        :, : item.mask.width
    ]
    mask[box.y_offset : box.y_offset + box.height, box.x_offset : box.x_offset + box.width] = crop > 0
    return mask
