"""The managed node `tracker`: wires topics, services and parameters to `uniref_model.tracking`."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter

from uniref_model.errors import UniRefError
from uniref_model.requests.commands import Commands
from uniref_model.runtime import Runtime, load_runtime
from uniref_model.tracking import Tracker, TrackerConfig
from uniref_model.tracking.ids import ObjectIds
from uniref_model.tracking.views import ViewBank
from uniref_ros import parameter_rules as rules
from uniref_ros import parameters
from uniref_ros.camera import Camera, CameraOptions, Conditions
from uniref_ros.diagnostics import camera_status, node_status
from uniref_ros.executor import (
    end_process,
    make_node,
    prepare_signals,
    spin,
    start_ros,
    steady_timer,
)
from uniref_ros.managed import ManagedNode
from uniref_ros.namesakes import Namesakes
from uniref_ros.parameters import OPTIONS
from uniref_ros.persistence import Persistence
from uniref_ros.status import plain
from uniref_ros.supervision import Supervisor
from uniref_ros.topics import Inputs
from uniref_ros.watchdog import HUNG, Watchdog
from uniref_ros.worker import Worker

_STOP_TIMEOUT = 1.0  # s to wait for what is in hand when the process ends; ^C is to be answered within two
_BEAT = 0.25  # s between signs that callbacks are served
_LOGGED = 160  # characters of a line about the start; the whole is in diagnostics


class TrackerNode(ManagedNode):
    """See the README for its topics, services and parameters.

    Under a `NodeExecutor` (the executable) or a MultiThreadedExecutor, transitions have a thread of their own
    and block nothing: parameters, the state and diagnostics stay available while a model loads or an engine
    is built. Under a SingleThreadedExecutor they wait, and diagnostics come with each step of the progress.
    The network always runs in the worker's thread, never in the executor's.
    """

    def __init__(self, **options: Any) -> None:
        """options: for rclpy's Node, such as namespace, context or parameter_overrides."""
        super().__init__("tracker", **options)
        self._cameras: dict[str, Camera] = {}
        self._runtime: Runtime | None = None
        self._workers: list[Worker] = []
        self._inputs: Inputs | None = None
        self._conditions = Conditions(threading.Condition(), threading.Condition())
        self._applying = threading.RLock()  # held while parameters are handed to the cameras
        self._enabled = True
        self._ids = ObjectIds()  # for the node's life: no id comes back after a new configuration
        self._persistence = Persistence(
            self,
            lambda: self._settings,
            lambda: self._cameras,
            lambda: self._enabled,
            self._ids,
            self.errors,
        )
        self._commands = Commands(
            lambda: self._cameras,
            self._set_enabled,
            self._ids,
            lambda: self._value("max_pixels"),
            lambda: self._persistence.teacher,
            self._persistence.added,
        )
        self._facts: dict[str, str] = {}
        self._watchdog = Watchdog(self._look)
        self._namesakes = Namesakes(self)
        rules.declare(self, OPTIONS)
        self._settings = rules.snapshot(self, OPTIONS)
        for line in rules.unknown(self, OPTIONS):
            self.get_logger().warning(line)
        rules.follow(self, OPTIONS, self._check_parameters, self._apply_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._reports = steady_timer(self, self._value("diagnostics_period"), self._diagnose)
        self._supervisor = Supervisor(self.errors, self.get_logger())
        self._beats = steady_timer(self, _BEAT, self._supervisor.heart.beat)
        if self._value("autostart"):
            self._start_soon()
        self._watchdog.start()

    # ---- life cycle

    def _configure(self) -> None:
        settings = self._settings
        runtime = self._runtime = self._load(settings)
        self._facts = dict(runtime.describe())
        shown = (f"{key} {value}" for key, value in self._facts.items() if key != "chosen")
        self.get_logger().info(plain(", ".join(shown), _LOGGED))
        count = settings["warm_up"]
        if count:
            self._on_progress("running the network once")
            runtime.prepare([bucket for bucket in runtime.buckets if bucket < 2 * count])
        self._make_cameras(runtime, settings, self._persistence.open(runtime))
        self._set_enabled(self._enabled)
        self._begin(settings)
        after = self._persistence.after_request
        self._inputs = Inputs(self, self._commands, self.errors, list(self._cameras), after)
        if late := parameters.differing(settings, self._settings, "configure"):
            raise UniRefError(f"{', '.join(late)} changed while the node was configured: configure again")

    def _begin(self, settings: Mapping[str, Any]) -> None:
        """Take up what was followed before, if that is remembered, and look for what is asked for."""
        wanted = tuple(prompt for prompt in settings["prompts"] if prompt.strip())
        session = self._persistence.resume() if settings["remember"] else None
        if session is not None:
            self._set_enabled(session.enabled)
        for prompt in wanted:
            if session is None or prompt not in session.prompts:  # else it was asked for before
                self._commands.say(prompt)
        self._persistence.begin(wanted)

    def _make_cameras(self, runtime: Runtime, settings: Mapping[str, Any], bank: ViewBank) -> None:
        config = TrackerConfig(**parameters.tracker_options(settings))
        options = CameraOptions(
            transport=settings["image_transport"],
            reliability=settings["image_reliability"],
            output_reliability=settings["output_reliability"],
            held=settings["held_images"],
        )
        cameras: dict[str, Camera] = {}
        try:
            for name in settings["cameras"]:
                cameras[name] = Camera(
                    self,
                    name,
                    Tracker(runtime, config, ids=self._ids, known=bank),
                    options,
                    self._conditions,
                    self.errors.report,
                    lambda: self._settings,
                    self._persistence.observe,
                )
        finally:
            with self._applying:
                self._cameras = cameras  # those that could be made, for whoever has to take them away again
                self._apply_parameters()  # what changed since the settings were read

    def _load(self, settings: Mapping[str, Any]) -> Runtime:
        model = settings["model"]
        self._on_progress(f"loading model {model!r}")
        return load_runtime(
            model,
            size=settings["size"] or None,
            runtime=settings["runtime"],
            threads=settings["threads"] or None,
            device=settings["device"],
            precision=settings["precision"],
            progress=self._on_progress,
        )

    def _on_progress(self, text: str) -> None:
        """Say what configuring is at: in the log, and at once in diagnostics."""
        self._progress = text
        if self.context.ok():
            self.get_logger().info(plain(text, _LOGGED))
            self.get_logger().debug(plain(text, 10 * _LOGGED))
            self._diagnose()

    def _activate(self) -> None:
        cameras = list(self._cameras.values())
        for camera in cameras:
            camera.subscribe()
        overlays = [camera.overlays for camera in cameras]
        self._workers = [
            Worker(cameras, self._conditions.images, self._on_consumer_error),
            Worker(overlays, self._conditions.pictures, self._on_consumer_error, "uniref overlays"),
        ]
        for worker in self._workers:
            worker.start()
        topics = ", ".join(camera.resolved_topic for camera in cameras)
        self.get_logger().info(f"active, listening to {topics}")
        for line in rules.unused_quality(self):
            self.get_logger().warning(line)

    def _deactivate(self) -> None:
        self._halt()
        if self._runtime is not None:
            self._runtime.trim()
        self.get_logger().info("inactive: no images are received; the model and the objects stay")

    def _clean_up(self) -> None:
        self._release()
        self.get_logger().info("unconfigured: the model, the objects and their topics are gone")

    def _halt(self) -> None:
        """Stop receiving, and wait for what is in hand."""
        for camera in self._cameras.values():
            camera.unsubscribe()
        if not self._stop_workers(_STOP_TIMEOUT):
            self.get_logger().warning("waiting for the image in hand, which takes long")
            self._stop_workers(None)
        self._workers = []
        for camera in self._cameras.values():
            camera.forget_images()

    def _stop_workers(self, timeout: float | None) -> bool:
        """Whether they have ended after `timeout` s together; None waits on."""
        deadline = None if timeout is None else time.monotonic() + timeout
        ended = [
            worker.stop(None if deadline is None else max(0.0, deadline - time.monotonic()))
            for worker in self._workers
        ]
        return all(ended)

    def _release(self) -> None:
        self._halt()
        if self._inputs is not None:
            self._inputs.destroy()
            self._inputs = None
        self._persistence.close()
        self._destroy_cameras()
        runtime, self._runtime = self._runtime, None
        self._facts = {}
        if runtime is not None:
            runtime.close()

    def _destroy_cameras(self) -> None:
        # Others may be looking at the cameras just now, so they are let go, and not emptied.
        cameras, self._cameras = self._cameras, {}
        for camera in cameras.values():
            camera.destroy()

    def close(self, timeout: float = _STOP_TIMEOUT) -> bool:
        """Release everything, in whatever state the node is.

        Returns False when something is still being worked on after `timeout` s: an engine that is built, a
        model that loads, an image. Nothing is waited for then, and the process has to end without it.
        """
        self._closed = True
        self._watchdog.stop()
        for camera in self._cameras.values():
            camera.unsubscribe()
        if not self._stop_workers(timeout) or not self._changing.acquire(timeout=timeout):
            return False
        try:
            self._release()
        finally:
            self._changing.release()
        return True

    def destroy_node(self) -> None:
        """Release everything, then what rclpy's node holds."""
        if not self._closed:
            self.close()
        super().destroy_node()

    # ---- parameters

    def _value(self, name: str) -> Any:
        return self._settings[name]

    def _check_parameters(self, changes: Sequence[Parameter]) -> Any:
        fixed = self._state not in ("unconfigured", "finalized")
        return parameters.result(
            parameters.refusal(changes, configured=fixed) or self._why_not_tracked(changes)
        )

    def _why_not_tracked(self, changes: Sequence[Parameter]) -> str:
        """Why the cameras' trackers cannot work with these changes, or ""."""
        changed = {**self._settings, **{change.name: change.value for change in changes}}
        options = parameters.tracker_options(changed)
        try:
            for camera in self._cameras.values():
                camera.tracker.check(**options)
        except ValueError as error:
            return str(error)
        return ""

    def _apply_parameters(self) -> None:
        """Take the parameters as they are now, whole, and hand them to whom they concern."""
        with self._applying:
            self._settings = rules.snapshot(self, OPTIONS)
            period = int(1e9 * self._value("diagnostics_period"))
            if self._reports.timer_period_ns != period:
                self._reports.timer_period_ns = period
            options = parameters.tracker_options(self._settings)
            for camera in self._cameras.values():
                try:
                    camera.tracker.configure(**options)
                except ValueError as error:  # an object was added between the check and now
                    self.errors.report("parameters", str(error))
        with self._conditions.images:
            self._conditions.images.notify_all()  # max_rate may let an image go that waits

    def _set_enabled(self, enabled: bool) -> str:
        self._enabled = enabled
        for camera in self._cameras.values():
            camera.pause(enabled)
        return "processing images" if enabled else "paused: objects are kept, images are not processed"

    # ---- reports

    def _on_consumer_error(self, consumer: Any, error: BaseException) -> None:
        if self.context.ok() and not self._closed:  # else there is nowhere to publish it, and no need
            self.errors.report_exception(consumer.topic, error)

    def _look(self) -> None:
        """What the watchdog does: say at once what has begun to hang, and end the process if told to."""
        if self._closed or not self.context.ok():
            return
        if self.executor is not None:
            self._supervisor.heart.expect()
        faults = self._supervisor.look(
            self._workers,
            list(self._cameras.values()),
            stale_after=self._value("stale_after"),
            in_transition=self._changing.locked(),
        )
        if faults.changed or (faults.node and faults.callbacks):  # else the executor's timer reports
            self._diagnose()
        if faults.hopeless and self._value("on_hang") == "exit":
            self.get_logger().fatal(f"ending, because on_hang is exit: {faults.node}")
            end_process(HUNG)

    def _diagnose(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        name = self.get_fully_qualified_name().lstrip("/")
        stale_after, max_delay = self._value("stale_after"), self._value("max_delay")
        faults = self._supervisor.faults
        message.status = [
            node_status(
                name,
                state=self._state,
                enabled=self._enabled,
                progress=self._progress,
                facts=self._facts,
                errors=self.errors,
                known=self._persistence.facts(),
                warning=self._namesakes.look() or (self._inputs.mistaken() if self._inputs else ""),
                fault=faults.node,
            ),
            *(
                camera_status(
                    name,
                    camera,
                    stale_after=stale_after,
                    max_delay=max_delay,
                    fault=faults.cameras.get(camera.name, ""),
                )
                for camera in self._cameras.values()
            ),
        ]
        self._diagnostics.publish(message)


def main(args: list[str] | None = None) -> int:
    """Run the node until a signal. Returns the exit status: 1 when it could not start by itself."""
    prepare_signals()
    if not start_ros("tracker", args):
        return 1
    node = make_node(TrackerNode, "tracker")
    if node is None:
        status = int(rclpy.ok())
        rclpy.try_shutdown()
        return status
    spin(
        node,
        lambda error: node.errors.report_exception("a callback failed", error),
        slow=[node.transitions],
        until=lambda: node.failed,
    )
    idle = node.close()
    node.destroy_node()
    rclpy.try_shutdown()
    if not idle:
        end_process(int(node.failed))
    return int(node.failed)


if __name__ == "__main__":
    raise SystemExit(main())
