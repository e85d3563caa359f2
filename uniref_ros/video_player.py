"""The node `video_player`: publishes a video file or a camera device as `image`, for demos and tests."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from uniref_model.errors import SourceError
from uniref_model.limits import LimitError, check_name, quoted
from uniref_model.video import open_capture, read_rate
from uniref_ros.conversion import fill_image
from uniref_ros.executor import end_process, make_node, prepare_signals, spin, start_ros
from uniref_ros.parameter_rules import Option, declare, snapshot, unknown
from uniref_ros.qos import overridable

_FALLBACK_RATE = 30.0  # frames/s, for a file that does not say
_POLL = 0.02  # s between looks for subscribers
_LOOK = 0.25  # s between looks for the end of the process
_STOP_TIMEOUT = 1.0  # s to wait for a device that is being read


def _frame_fault(name: str) -> str:
    try:
        check_name(name, "frame_id")
    except LimitError as error:
        return f"a frame's name: {error}"
    return ""


_option = partial(Option, when="start")

OPTIONS = (
    _option("source", "", "A video file, or the number of a camera device.", numbered=True),
    _option("rate", 0.0, "Frames a second; 0: the video's own, a camera's as it comes.", (0.0, 1000.0)),
    _option("loop", False, "Begin again at the end of a file."),
    _option("frame_id", "camera", "frame_id of the images.", fault=_frame_fault),
    _option("wait_for_subscribers", 0, "Subscribers to wait for before the first frame.", (0, 100)),
)


class Video:
    """A file that may be played again, or a camera. rate: frames/s, 0 for a camera (which sets the pace
    itself). Nothing is sought: many streams cannot be, so a file begins again by being opened again."""

    def __init__(self, source: str) -> None:
        """Raises SourceError."""
        if not source:
            raise SourceError(
                "parameter source is empty, expected a video file or the number of a camera device"
            )
        self.is_device = source.isascii() and source.isdigit()
        if not self.is_device and not Path(source).is_file():
            raise SourceError(f"there is no video file {quoted(source)}")
        self._what = int(source) if self.is_device else source
        self._title = f"camera device {source}" if self.is_device else f"the file {quoted(source)}"
        self._open()
        if self._next is None:
            raise SourceError(f"{self._title} cannot be read as a video, or has no frame")
        self.rate = 0.0 if self.is_device else read_rate(self._capture, Path(source)) or _FALLBACK_RATE

    def _open(self) -> None:
        self._capture = open_capture(self._what, self._title)
        self._next = self._read()

    def _read(self) -> np.ndarray | None:
        good, frame = self._capture.read()
        return frame if good else None

    @property
    def frames(self) -> int:
        """How many frames a file announces, 0 when it does not."""
        count = 0.0 if self.is_device else self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        return int(count) if 0 < count < 1e9 else 0

    def close(self) -> None:
        """Let go of the file or the camera."""
        self._capture.release()

    def read(self) -> np.ndarray | None:
        """The next frame, uint8 [h,w,3] BGR; None at the end."""
        frame, self._next = self._next, None
        return self._read() if frame is None else frame

    def rewind(self) -> None:
        """Back to the first frame of a file. Raises SourceError when there is none any more."""
        self._capture.release()
        self._open()
        if self._next is None:
            raise SourceError(f"{self._title} has no frame any more")


class VideoPlayer(Node):
    """Reads the source at its own pace and publishes each frame, stamped with the time of its publication.

    A thread of its own plays (`start`), so the node can share an executor and a process with others.
    """

    def __init__(self, **options: Any) -> None:
        """options: for rclpy's Node. Raises SourceError."""
        super().__init__("video_player", **options)
        declare(self, OPTIONS)
        for line in unknown(self, OPTIONS):
            self.get_logger().warning(line)
        settings = snapshot(self, OPTIONS)
        self._loop, self._frame_id = settings["loop"], settings["frame_id"]
        self._wait_for = settings["wait_for_subscribers"]
        self._video = Video(settings["source"])
        self._rate = settings["rate"] or self._video.rate
        self._publisher = self.create_publisher(
            Image, "image", QoSProfile(depth=1), qos_overriding_options=overridable()
        )
        self.played = 0
        self.failed = False
        self.ended = threading.Event()
        """Set when the last frame has been played."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._play, name="video", daemon=True)

    def start(self) -> None:
        """Begin to play; once only."""
        self._thread.start()

    def destroy_node(self) -> None:
        """Stop playing, then release the node."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_TIMEOUT)
        super().destroy_node()

    def _play(self) -> None:
        try:
            self._play_all()
        except Exception as error:
            if not self._over():  # else the publisher went away with the context
                self.get_logger().error(f"playing stopped: {error}")
                self.failed = True
        finally:
            self.ended.set()
            if self.executor is not None:
                self.executor.wake()

    def _over(self) -> bool:
        return self._stopping.is_set() or not self.context.ok()

    def _play_all(self) -> None:
        while self._publisher.get_subscription_count() < self._wait_for and not self._over():
            self._stopping.wait(_POLL)
        due = time.monotonic()
        while not self._over():
            frame = self._video.read()
            if frame is None:
                if not self._loop or self._video.is_device:
                    break
                self._video.rewind()
                continue
            due = self._pace(due)
            if not self._over():
                self._publish(frame)
        if self.context.ok():
            self.get_logger().info(f"played {self.played} frames")

    def _pace(self, due: float) -> float:
        """Wait until a frame is due; returns when the next one is. A late frame does not make the next ones
        hurry."""
        if self._rate <= 0:
            return due
        while (left := due - time.monotonic()) > 0 and not self._over():
            self._stopping.wait(min(left, _LOOK))
        return max(due + 1.0 / self._rate, time.monotonic())

    def _publish(self, frame: np.ndarray) -> None:
        message = Image()
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id = self._frame_id
        self._publisher.publish(fill_image(message, frame, "bgr8", message.header))
        self.played += 1


def main(args: list[str] | None = None) -> int:
    """Play; returns the exit status, 1 when the source cannot be read."""
    prepare_signals()
    if not start_ros("video_player", args):
        return 1
    player = make_node(VideoPlayer, "video_player", SourceError)
    if player is None:
        status = int(rclpy.ok())
        rclpy.try_shutdown()
        return status
    player.start()
    spin(player, lambda error: player.get_logger().error(str(error)), until=player.ended.is_set)
    player.destroy_node()
    rclpy.try_shutdown()
    if not player.ended.is_set():
        end_process(0)  # it is deep in the driver of a camera
    return int(player.failed)


if __name__ == "__main__":
    raise SystemExit(main())
