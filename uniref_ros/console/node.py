"""The node `console`: wires the tracker's and the voice node's topics to the page that browsers look at."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

from uniref_model.errors import UniRefError
from uniref_ros.console.audience import STALLED_AFTER, Audience
from uniref_ros.console.clients import TrackerClient, VoiceClient
from uniref_ros.console.desk import Desk
from uniref_ros.console.hearing import Hearing
from uniref_ros.console.options import OPTIONS, check, check_certificate, open_socket
from uniref_ros.console.pictures import MAX_PICTURE, Picture
from uniref_ros.console.relay import Relay
from uniref_ros.console.scene import Scene, known_text
from uniref_ros.console.talk import Floor
from uniref_ros.console.web import Door, WebServer, make_app
from uniref_ros.diagnostics import ErrorLog
from uniref_ros.executor import make_node, prepare_signals, spin, start_ros
from uniref_ros.msg import Heard, KnownObjectArray, TrackedObjectArray
from uniref_ros.parameter_rules import declare, snapshot, unknown
from uniref_ros.qos import latched, listen, quality
from uniref_ros.status import make_status

_TICK = 0.1  # s between states that browsers are sent
_LOOK = 2.0  # s between looks at the tracker's parameters
_STOP_TIMEOUT = 3.0  # s
_ASKED = ["cameras", "held_images"]
_FEW_HELD = 30  # images of the tracker, below which a click over a slow link may come too late


class Console(Node):
    """See docs/console.md. The executor's thread serves topics, and leaves what is new for the web server's;
    the server's serves browsers, and asks the tracker in their name."""

    def __init__(self, **options: Any) -> None:
        """options: for rclpy's Node. Raises ConsoleError."""
        super().__init__("console", **options)
        declare(self, OPTIONS)
        for line in unknown(self, OPTIONS):
            self.get_logger().warning(line)
        settings = self._settings = snapshot(self, OPTIONS)
        check(settings)
        if settings["certificate"]:
            check_certificate(settings["certificate"], settings["key"])
        listening = open_socket(settings["host"], settings["port"], 2 * STALLED_AFTER)
        self.port = listening.getsockname()[1]
        self.errors = ErrorLog(self.get_logger())
        self._tracker_name = self.resolve_topic_name(settings["tracker"]).lstrip("/")
        self._scene = Scene()
        self._hearing = Hearing()
        self._audience = Audience(settings["max_browsers"], settings["max_rate"])
        self._relay = Relay(self._audience.deliver)
        self._tracker = TrackerClient(self, settings["tracker"])
        self._voice = VoiceClient(self, settings["voice"])
        self._pictures = 0
        self._overlays: list[Any] = []
        self._objects: list[Any] = []
        self._asking: Any = None
        self._told_of_held = False
        self._web = self._make_server(listening)
        self._asker: Client = self.create_client(GetParameters, f"{settings['tracker']}/get_parameters")
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        topic = f"{settings['tracker']}/known_objects"
        self.create_subscription(KnownObjectArray, topic, self._on_known, latched())
        self.create_subscription(Heard, f"{settings['voice']}/heard", self._on_heard, 20)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        for period, work in ((_TICK, self._tick), (1.0, self._report), (_LOOK, self._ask_tracker)):
            self.create_timer(period, work, clock=steady)

    def _make_server(self, listening: Any) -> WebServer:
        settings, door = self._settings, Door(self._settings, self.port)
        desk, floor = Desk(self._tracker, self._scene), Floor(self._voice)

        async def serve(socket: Any) -> None:
            await self._audience.serve(socket, desk, floor)

        app = make_app(door, serve, self._health, bool(settings["certificate"]))
        return WebServer(app, listening, settings)

    @property
    def address(self) -> str:
        """What to type into a browser."""
        scheme = "https" if self._settings["certificate"] else "http"
        host = self._settings["host"]
        query = "?token=…" if self._settings["token"] else ""
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}/{query}"

    @property
    def failed(self) -> bool:
        """Whether the web server has ended by itself."""
        return self._web.ended.is_set()

    def start(self) -> None:
        """Begin to serve the page."""
        self._web.start(self._relay.open, self._wake)
        self.get_logger().info(f"the console is at {self.address}")

    def close(self) -> None:
        """Serve no more."""
        self._relay.close()
        self._web.stop(_STOP_TIMEOUT)

    def _wake(self) -> None:
        if self._web.error is not None and self.context.ok():
            self.get_logger().error(f"the web server ended: {self._web.error!r}")
        if self.executor is not None:
            self.executor.wake()

    # ---- what browsers are shown

    def _tick(self) -> None:
        self._attend()
        if not self._audience.count:
            return
        scene = self._scene
        scene.tracker_serves, scene.tracker_teaches = self._tracker.is_there, self._tracker.teaches
        scene.voice_hears = self._voice.hears
        self._relay.put(("text", "state"), scene.as_text())
        if self._hearing.look(scene.ids(), time.monotonic()):
            self._relay.put(("text", "heard"), self._hearing.as_text())

    def _attend(self) -> None:
        """Listen to results while a browser is connected, and to overlays while one looks: the tracker draws
        them only then."""
        self._listen(self._objects, self._audience.count > 0, TrackedObjectArray, "objects", self._on_objects)
        self._listen(
            self._overlays,
            self._audience.watching > 0,
            CompressedImage,
            "overlay/compressed",
            self._on_overlay,
        )

    def _listen(self, there: list[Any], wanted: bool, kind: type, name: str, callback: Any) -> None:
        if bool(there) == (wanted and bool(self._scene.cameras)):
            return
        if there:
            for subscription in there:
                self.destroy_subscription(subscription)
            there.clear()
            return
        for camera in self._scene.cameras:
            topic = "/".join(filter(None, (self._settings["tracker"], camera, name)))
            there.append(
                listen(
                    self,
                    kind,
                    self.resolve_topic_name(topic),
                    partial(callback, camera),
                    quality("best_effort", 1),
                )
            )

    def _on_overlay(self, camera: str, message: CompressedImage) -> None:
        if len(message.data) > MAX_PICTURE:
            size = f"{len(message.data)} bytes, more than the limit of {MAX_PICTURE}"
            self.errors.report("overlay", f"a picture of {size}: lower the tracker's overlay_quality")
            return
        self._pictures += 1
        picture = Picture.of(self._pictures, camera, message.header.stamp, bytes(message.data))
        self._relay.put(("picture", camera), picture)

    def _on_objects(self, camera: str, message: TrackedObjectArray) -> None:
        if camera in self._scene.cameras:
            self._scene.cameras[camera].add(message, time.monotonic())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name != self._tracker_name:
                continue
            if error := self._scene.report(status, time.monotonic()):
                self._relay.say(json.dumps({"type": "refused", "message": error}))

    def _on_known(self, message: KnownObjectArray) -> None:
        self._relay.put(("text", "known"), known_text(message))

    def _on_heard(self, message: Heard) -> None:
        self._hearing.add(message, self._scene.ids(), time.monotonic())
        self._relay.put(("text", "heard"), self._hearing.as_text())

    def _report(self) -> None:
        if self._audience.count:
            self._relay.put(("text", "curves"), self._scene.curve_text())
        counts, last, fresh = self.errors.summary()
        values = {
            **self._health(),
            "address": self.address,
            "pictures": self._pictures,
            **{f"errors: {kind}": count for kind, count in sorted(counts.items())},
            "last error": last,
        }
        name = self.get_fully_qualified_name().lstrip("/")
        level = DiagnosticStatus.WARN if fresh else DiagnosticStatus.OK
        text = last if fresh else f"{self._audience.count} browsers"
        message = DiagnosticArray(status=[make_status(name, level, text, values)])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _health(self) -> dict[str, Any]:
        return {
            "status": "ok",
            "tracker": self._tracker.is_there,
            "cameras": len(self._scene.cameras),
            "browsers": self._audience.count,
            "watching": self._audience.watching,
        }

    # ---- the tracker's parameters

    def _ask_tracker(self) -> None:
        if self._asking is not None and not self._asking.done():
            self._asker.remove_pending_request(self._asking)  # its answer was lost
        if self._asker.service_is_ready():
            self._asking = self._asker.call_async(GetParameters.Request(names=_ASKED))
            self._asking.add_done_callback(self._on_parameters)

    def _on_parameters(self, future: Any) -> None:
        values = future.result().values
        if len(values) < len(_ASKED):
            self.get_logger().warning("the tracker has no parameters cameras and held_images", once=True)
            return
        cameras, held = list(values[0].string_array_value), values[1].integer_value
        self._scene.held_images = held
        if self._scene.keep_cameras(cameras):
            self._listen(self._objects, False, TrackedObjectArray, "objects", self._on_objects)
            self._listen(self._overlays, False, CompressedImage, "overlay/compressed", self._on_overlay)
        if held < _FEW_HELD and not self._told_of_held:
            self._told_of_held = True
            self.get_logger().warning(
                f"the tracker's held_images is {held}: a click that takes longer than so many images is "
                "refused; 60 suit browsers (tracker.launch.py console:=true sets it)"
            )


def main(args: list[str] | None = None) -> int:
    """Serve the page until a signal; returns the exit status, 1 when it cannot be served."""
    prepare_signals()
    if not start_ros("console", args):
        return 1
    node = make_node(Console, "console", UniRefError)
    if node is None:
        status = int(rclpy.ok())
        rclpy.try_shutdown()
        return status
    node.start()
    spin(
        node,
        lambda error: node.errors.report_exception("a callback failed", error),
        until=lambda: node.failed,
    )
    failed = node.failed
    node.close()
    rclpy.try_shutdown()
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
