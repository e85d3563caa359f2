"""The managed node `tracker`: wires topics, services and parameters to `uniref_model.tracking`."""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from uniref_model.errors import UniRefError
from uniref_model.runtime import Runtime, load_runtime
from uniref_model.tracking import Tracker
from uniref_ros import parameters
from uniref_ros.camera import Camera, CameraOptions
from uniref_ros.commands import Answer, Commands, IdBook
from uniref_ros.diagnostics import ErrorBook, camera_status, node_status
from uniref_ros.msg import TrackCommand
from uniref_ros.srv import AddObject, RemoveObject
from uniref_ros.worker import Worker

_STOP_TIMEOUT = 1.5  # s to wait for the image in hand; ^C is to be answered within two seconds
_REPEATED = 100  # of errors of one kind, the first is logged and then every so many-th
_COMMANDS = QoSProfile(depth=20)


class TrackerNode(LifecycleNode):
    """See the README for its topics, services and parameters.

    The executor's thread only receives, answers and publishes diagnostics; the worker's thread runs the
    network.
    """

    def __init__(self) -> None:
        super().__init__("tracker", enable_communication_interface=True)
        parameters.declare(self)
        self.failed = False
        """Set when the node was to start by itself and could not."""
        self._cameras: dict[str, Camera] = {}
        self._runtime: Runtime | None = None
        self._worker: Worker | None = None
        self._bell = threading.Condition()
        self._enabled = True
        self._errors = ErrorBook()
        self._commands = Commands(lambda: self._cameras, self._set_enabled, IdBook())
        self._active = False
        self._entities: list[tuple[Callable[[Any], bool], Any]] = []
        self._facts: dict[str, str] = {}
        self.add_on_set_parameters_callback(self._change_parameters)
        self._autostart = None
        if self._value("autostart"):
            self._autostart = self.create_timer(0.0, self._start_by_itself, clock=_steady())

    # ---- life cycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, make trackers and topics."""
        try:
            self._configure()
        except (UniRefError, ValueError) as error:
            self.get_logger().error(f"cannot configure: {error}")
            self._errors.note("configure", str(error))
            self._release()
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to receive and process images."""
        for camera in self._cameras.values():
            camera.subscribe()
        self._worker = Worker(list(self._cameras.values()), self._bell, self._on_camera_error)
        self._worker.start()
        self._active = True
        topics = ", ".join(self.resolve_topic_name(camera.topic) for camera in self._cameras.values())
        self.get_logger().info(f"active, listening to {topics}")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop receiving; objects and model stay."""
        self._halt()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the model and all topics."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, from whatever state."""
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition raised: release everything and be unconfigured again."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _start_by_itself(self) -> None:
        self.destroy_timer(self._autostart)
        if (
            self.trigger_configure() != TransitionCallbackReturn.SUCCESS
            or self.trigger_activate() != TransitionCallbackReturn.SUCCESS
        ):
            self.failed = True

    def _configure(self) -> None:
        names = list(dict.fromkeys(self._value("cameras"))) or [""]
        model, size = self._value("model"), self._value("size") or None
        self.get_logger().info(f"loading model {model!r}")
        self._runtime = load_runtime(
            model, size=size, runtime=self._value("runtime"), threads=self._value("threads") or None
        )
        self._facts = dict(self._runtime.describe())
        self.get_logger().info(", ".join(f"{key} {value}" for key, value in self._facts.items()))
        options = CameraOptions(
            transport=self._value("image_transport"),
            reliability=self._value("image_reliability"),
            held=self._value("held_images"),
        )
        config = parameters.tracker_config(self)
        for name in names:
            self._cameras[name] = Camera(self, name, Tracker(self._runtime, config), options, self._bell)
        self._set_enabled(self._enabled)
        for prompt in filter(None, self._value("prompts")):
            self._commands.say(prompt)
        self._open_inputs()

    def _open_inputs(self) -> None:
        def topic(kind: type, name: str, callback: Callable[[Any], None]) -> None:
            subscription = self.create_subscription(kind, name, callback, _COMMANDS)
            self._entities.append((self.destroy_subscription, subscription))

        def service(kind: type, name: str, callback: Callable[[Any, Any], Any]) -> None:
            self._entities.append((self.destroy_service, self.create_service(kind, name, callback)))

        topic(
            String,
            "~/prompt",
            lambda message: self._attempt("prompt", lambda: self._commands.say(message.data)),
        )
        topic(
            TrackCommand, "~/command", lambda m: self._attempt("command", lambda: self._commands.carry_out(m))
        )
        topic(
            Image,
            "~/mask_prompt",
            lambda m: self._attempt("mask_prompt", lambda: self._commands.add_masks(m)),
        )
        for name in self._cameras:
            clicks = f"~/{name}/overlay_mouse_left" if name else "~/overlay_mouse_left"
            topic(
                Point,
                clicks,
                lambda m, camera=name: self._attempt("click", lambda: self._commands.click(m, camera)),
            )
        service(AddObject, "~/add_object", self._serve_add)
        service(RemoveObject, "~/remove_object", self._serve_remove)
        service(Trigger, "~/clear", self._serve_clear)
        service(SetBool, "~/set_enabled", self._serve_enabled)
        diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._entities.append((self.destroy_publisher, diagnostics))
        timer = self.create_timer(
            self._value("diagnostics_period"), lambda: self._diagnose(diagnostics), clock=_steady()
        )
        self._entities.append((self.destroy_timer, timer))

    def _halt(self) -> None:
        self._active = False
        for camera in self._cameras.values():
            camera.unsubscribe()
        if self._worker is not None and not self._worker.stop(_STOP_TIMEOUT):
            self.get_logger().warning(
                f"the image in hand is not finished after {_STOP_TIMEOUT} s; not waiting for it"
            )
        self._worker = None

    def _release(self) -> None:
        self._halt()
        for destroy, entity in self._entities:
            destroy(entity)
        self._entities.clear()
        for camera in self._cameras.values():
            camera.destroy()
        self._cameras.clear()
        if self._runtime is not None:
            self._runtime.close()
            self._runtime = None

    # ---- parameters

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _change_parameters(self, changes: Sequence[Parameter]) -> Any:
        reason = parameters.refusal(changes, configured=bool(self._cameras))
        values = parameters.tracker_changes(changes)
        if values and not reason:
            try:
                for camera in self._cameras.values():
                    camera.tracker.configure(**values)
            except ValueError as error:
                reason = str(error)
        return parameters.result(reason)

    # ---- commands

    def _attempt(self, source: str, action: Callable[[], Answer]) -> Answer | None:
        """Carry out a command; a refusal is logged, counted and shown in diagnostics. Returns None then."""
        try:
            answer = action()
        except UniRefError as error:
            self._complain(source, str(error))
            return None
        self.get_logger().info(answer.message)
        return answer

    def _complain(self, kind: str, text: str) -> None:
        count = self._errors.note(kind, f"{kind}: {text}")
        if count % _REPEATED == 1:
            more = f" (number {count}; the next {_REPEATED - 1} are only counted)" if count > 1 else ""
            self.get_logger().error(f"{kind}: {text}{more}")

    def _serve_add(self, request: AddObject.Request, response: AddObject.Response) -> AddObject.Response:
        try:
            answer = self._commands.add(request)
        except UniRefError as error:
            response.message = str(error)
            self._complain("add_object", response.message)
            return response
        response.success, response.object_id, response.message = True, answer.object_ids[0], answer.message
        return response

    def _serve_remove(
        self, request: RemoveObject.Request, response: RemoveObject.Response
    ) -> RemoveObject.Response:
        return self._serve(
            "remove_object", lambda: self._commands.remove(request.object_id, request.camera), response
        )

    def _serve_clear(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._serve("clear", self._commands.clear, response)

    def _serve_enabled(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        return self._serve("set_enabled", lambda: self._commands.set_enabled(request.data), response)

    def _serve(self, source: str, action: Callable[[], Answer], response: Any) -> Any:
        try:
            response.message = action().message
            response.success = True
        except UniRefError as error:
            response.message = str(error)
            self._complain(source, response.message)
        return response

    def _set_enabled(self, enabled: bool) -> str:
        self._enabled = enabled
        for camera in self._cameras.values():
            camera.enabled = enabled
        return "processing images" if enabled else "paused: objects are kept, images are not processed"

    # ---- reports

    def _on_camera_error(self, camera: Any, error: Exception) -> None:
        if not self.context.ok():
            return  # a signal came while an image was in hand: there is nowhere to publish it
        if isinstance(error, UniRefError):
            self._complain(camera.topic, str(error))
        else:
            text = "".join(traceback.format_exception(error))
            self._complain(camera.topic, f"an image could not be processed: {text}")

    def _diagnose(self, publisher: Any) -> None:
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        name = self.get_fully_qualified_name().lstrip("/")
        state = "active" if self._active else "inactive"
        message.status = [
            node_status(name, state=state, enabled=self._enabled, facts=self._facts, errors=self._errors),
            *(
                camera_status(name, camera, active=self._active, stale_after=self._value("stale_after"))
                for camera in self._cameras.values()
            ),
        ]
        publisher.publish(message)

    def close(self) -> None:
        """Release everything when the process ends, in whatever state the node is."""
        self._release()


def _steady() -> Clock:
    # Timers must run when use_sim_time is set and no clock is published.
    return Clock(clock_type=ClockType.STEADY_TIME)


def main(args: list[str] | None = None) -> int:
    """Run the node until a signal. Returns the exit status: 1 when it could not start by itself."""
    rclpy.init(args=args)
    try:
        node = TrackerNode()
    except ParameterException as error:
        rclpy.logging.get_logger("tracker").error(f"cannot start: {error}")
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not node.failed:
            executor.spin_once()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.close()
        with contextlib.suppress(KeyboardInterrupt):
            executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return int(node.failed)


if __name__ == "__main__":
    raise SystemExit(main())
