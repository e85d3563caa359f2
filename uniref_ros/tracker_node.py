"""The managed node `tracker`: wires topics, services and parameters to `uniref_model.tracking`."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter

from uniref_model.errors import UniRefError
from uniref_model.runtime import Runtime, load_runtime
from uniref_model.tracking import Tracker
from uniref_model.tracking.ids import ObjectIds
from uniref_ros import parameters
from uniref_ros.camera import Camera, CameraOptions
from uniref_ros.diagnostics import ErrorBook, camera_status, node_status
from uniref_ros.executor import NodeExecutor, end_process, make_node, prepare_signals
from uniref_ros.requests import Commands
from uniref_ros.topics import Inputs
from uniref_ros.worker import Worker

_STOP_TIMEOUT = 1.0  # s to wait for what is in hand when the process ends; ^C is to be answered within two


class TrackerNode(LifecycleNodeMixin, Node):
    """See the README for its topics, services and parameters.

    Under a `NodeExecutor` (the executable) or a MultiThreadedExecutor, transitions have a thread of their own
    and block nothing: parameters, the state and diagnostics stay available while a model loads or an engine
    is built. Under a SingleThreadedExecutor they wait, and diagnostics come with each step of the progress.
    The network always runs in the worker's thread, never in the executor's.
    """

    def __init__(self, **options: Any) -> None:
        """options: for rclpy's Node, such as namespace, context or parameter_overrides."""
        Node.__init__(self, "tracker", **options)
        self.transitions = ReentrantCallbackGroup()
        """Callback group of whatever may take long: the life cycle's services, and starting by itself."""
        LifecycleNodeMixin.__init__(self, callback_group=self.transitions)
        self.failed = False
        """Set when the node was to start by itself and could not."""
        self.errors = ErrorBook(self.get_logger())
        self._cameras: dict[str, Camera] = {}
        self._runtime: Runtime | None = None
        self._worker: Worker | None = None
        self._inputs: Inputs | None = None
        self._bell = threading.Condition()
        self._changing = threading.Lock()  # held while a transition is carried out
        self._closed = False
        self._enabled = True
        self._ids = ObjectIds()  # for the node's life: no id comes back after a new configuration
        self._commands = Commands(
            lambda: self._cameras, self._set_enabled, self._ids, lambda: self._value("max_pixels")
        )
        self._state, self._progress = "unconfigured", ""
        self._facts: dict[str, str] = {}
        parameters.declare(self)
        self.add_on_set_parameters_callback(self._change_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._reports = self.create_timer(
            self._value("diagnostics_period"),
            self._diagnose,
            callback_group=MutuallyExclusiveCallbackGroup(),
            clock=_steady(),
        )
        self._autostart = None
        if self._value("autostart"):
            self._autostart = self.create_timer(
                0.0, self._start_by_itself, callback_group=self.transitions, clock=_steady()
            )

    # ---- life cycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, make trackers and topics."""
        return self._change("configure", self._configure, "configuring", "inactive", undo=self._release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to receive and process images."""
        return self._change("activate", self._activate, "activating", "active", undo=self._halt)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop receiving, and give back the memory that only images need; objects and model stay."""
        return self._change("deactivate", self._deactivate, "deactivating", "inactive")

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the model and all topics."""
        return self._change("clean up", self._release, "cleaning up", "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, from whatever state."""
        return self._change("shut down", self._release, "shutting down", "finalized")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition raised: release everything and be unconfigured again."""
        return self._change("recover", self._release, "recovering", "unconfigured")

    def _change(
        self,
        what: str,
        work: Callable[[], None],
        during: str,
        after: str,
        undo: Callable[[], None] = lambda: None,
    ) -> TransitionCallbackReturn:
        """Carry out a transition. What it raises is told (rclpy itself would swallow it) and undone."""
        with self._changing:
            before, self._state = self._state, during
            try:
                if self._closed:
                    raise UniRefError("the node is closed")
                work()
            except Exception as error:
                undo()
                self._state = before
                if self.context.ok():  # else a signal came in the middle of it
                    self.errors.complain_of(f"cannot {what}", error)
                return TransitionCallbackReturn.FAILURE
            finally:
                self._progress = ""
            self._state = after
            return TransitionCallbackReturn.SUCCESS

    def _start_by_itself(self) -> None:
        timer, self._autostart = self._autostart, None
        if timer is None:
            return  # it was due again before it was gone
        self.destroy_timer(timer)
        done = TransitionCallbackReturn.SUCCESS
        started = self.trigger_configure() == done and self.trigger_activate() == done
        self.failed = not started and self.context.ok()  # a signal in the middle of it is no failure
        if self.failed and self.executor is not None:
            self.executor.wake()  # whoever spins is to see it

    def _configure(self) -> None:
        names = list(dict.fromkeys(self._value("cameras"))) or [""]
        runtime = self._runtime = self._load()
        self._facts = dict(runtime.describe())
        self.get_logger().info(", ".join(f"{key} {value}" for key, value in self._facts.items()))
        count = self._value("warm_up")
        if count:
            self._on_progress("running the network once")
            runtime.warm_up([bucket for bucket in runtime.buckets if bucket < 2 * count])
        config = parameters.tracker_config(self)
        options = CameraOptions(
            transport=self._value("image_transport"),
            reliability=self._value("image_reliability"),
            output_reliability=self._value("output_reliability"),
            held=self._value("held_images"),
        )
        cameras: dict[str, Camera] = {}
        try:
            for name in names:
                tracker = Tracker(runtime, config, ids=self._ids)
                cameras[name] = Camera(self, name, tracker, options, self._bell, self.errors.complain)
        finally:
            self._cameras = cameras  # those that could be made, for whoever has to take them away again
        self._set_enabled(self._enabled)
        for prompt in filter(None, self._value("prompts")):
            self._commands.say(prompt)
        self._inputs = Inputs(self, self._commands, self.errors, names)

    def _load(self) -> Runtime:
        model = self._value("model")
        self._on_progress(f"loading model {model!r}")
        return load_runtime(
            model,
            size=self._value("size") or None,
            runtime=self._value("runtime"),
            threads=self._value("threads") or None,
            device=self._value("device"),
            progress=self._on_progress,
        )

    def _on_progress(self, text: str) -> None:
        """Say what configuring is at: in the log, and at once in diagnostics."""
        self._progress = text
        if self.context.ok():
            self.get_logger().info(text)
            self._diagnose()

    def _activate(self) -> None:
        for camera in self._cameras.values():
            camera.subscribe()
        self._worker = Worker(list(self._cameras.values()), self._bell, self._on_camera_error)
        self._worker.start()
        topics = ", ".join(camera.resolved_topic for camera in self._cameras.values())
        self.get_logger().info(f"active, listening to {topics}")

    def _deactivate(self) -> None:
        self._halt()
        self._runtime.trim()

    def _halt(self) -> None:
        """Stop receiving, and wait for the image in hand."""
        for camera in self._cameras.values():
            camera.unsubscribe()
        worker, self._worker = self._worker, None
        if worker is not None and not worker.stop(_STOP_TIMEOUT):
            self.get_logger().warning("waiting for the image in hand, which takes long")
            worker.stop(None)

    def _release(self) -> None:
        self._halt()
        if self._inputs is not None:
            self._inputs.destroy()
            self._inputs = None
        # Others may be looking at the cameras just now, so they are let go, and not emptied.
        cameras, self._cameras = self._cameras, {}
        for camera in cameras.values():
            camera.destroy()
        cameras = camera = None
        runtime, self._runtime = self._runtime, None
        self._facts = {}
        if runtime is not None:
            gc.collect()  # references of objects live in the runtime's memory, which close() gives back
            runtime.close()

    def close(self, timeout: float = _STOP_TIMEOUT) -> bool:
        """Release everything, in whatever state the node is.

        Returns False when something is still being worked on after `timeout` s: an engine that is built, a
        model that loads, an image. Nothing is waited for then, and the process has to end without it.
        """
        self._closed = True
        for camera in self._cameras.values():
            camera.unsubscribe()
        worker = self._worker
        if (worker is not None and not worker.stop(timeout)) or not self._changing.acquire(timeout=timeout):
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
        return self.get_parameter(name).value

    def _change_parameters(self, changes: Sequence[Parameter]) -> Any:
        fixed = self._state not in ("unconfigured", "finalized")
        reason = parameters.refusal(changes, configured=fixed) or self._change_trackers(changes)
        if not reason:
            for change in changes:
                if change.name == "diagnostics_period":
                    self._reports.timer_period_ns = int(1e9 * change.value)
        return parameters.result(reason)

    def _change_trackers(self, changes: Sequence[Parameter]) -> str:
        """Hand the changes to every camera's tracker, or to none; returns why not."""
        values = parameters.tracker_changes(changes)
        done: list[tuple[Tracker, dict[str, Any]]] = []
        for camera in self._cameras.values() if values else ():
            before = {name: getattr(camera.tracker.config, name) for name in values}
            try:
                camera.tracker.configure(**values)
            except ValueError as error:
                for tracker, old in done:
                    tracker.configure(**old)
                return str(error)
            done.append((camera.tracker, before))
        return ""

    def _set_enabled(self, enabled: bool) -> str:
        self._enabled = enabled
        for camera in self._cameras.values():
            camera.pause(enabled)
        return "processing images" if enabled else "paused: objects are kept, images are not processed"

    # ---- reports

    def _on_camera_error(self, camera: Any, error: Exception) -> None:
        if self.context.ok() and not self._closed:  # else there is nowhere to publish it, and no need
            self.errors.complain_of(camera.topic, error)

    def _diagnose(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        name = self.get_fully_qualified_name().lstrip("/")
        stale_after, max_delay = self._value("stale_after"), self._value("max_delay")
        message.status = [
            node_status(
                name,
                state=self._state,
                enabled=self._enabled,
                progress=self._progress,
                facts=self._facts,
                errors=self.errors,
            ),
            *(
                camera_status(name, camera, stale_after=stale_after, max_delay=max_delay)
                for camera in self._cameras.values()
            ),
        ]
        self._diagnostics.publish(message)


def _steady() -> Clock:
    # Timers must run when use_sim_time is set and no clock is published.
    return Clock(clock_type=ClockType.STEADY_TIME)


def main(args: list[str] | None = None) -> int:
    """Run the node until a signal. Returns the exit status: 1 when it could not start by itself."""
    prepare_signals()
    rclpy.init(args=args)
    node = make_node(TrackerNode, "tracker")
    if node is None:
        status = int(rclpy.ok())
        rclpy.try_shutdown()
        return status
    executor = NodeExecutor(
        lambda error: node.errors.complain_of("a callback failed", error),
        slow=[node.transitions],
        until=lambda: node.failed,
    )
    executor.add_node(node)
    with contextlib.suppress(KeyboardInterrupt):
        executor.spin_until_over()
    idle = node.close()
    executor.shutdown(timeout_sec=0)
    node.destroy_node()
    rclpy.try_shutdown()
    if not idle:
        end_process(int(node.failed))
    return int(node.failed)


if __name__ == "__main__":
    raise SystemExit(main())
