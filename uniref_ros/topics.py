"""The topics and services by which the node is told what to do. There while it is configured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from geometry_msgs.msg import Point
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from uniref_model.errors import MaskError
from uniref_model.limits import MAX_POINTS, check_count, quoted
from uniref_model.requests.commands import Answer, CommandError, Commands
from uniref_ros.diagnostics import ErrorLog
from uniref_ros.losses import Losses
from uniref_ros.msg import TrackCommand
from uniref_ros.qos import listen, mismatch, type_name, types_sent, with_info
from uniref_ros.serialized import stated_points
from uniref_ros.srv import AddObject, ForgetKnown, RemoveObject, TeachObject

_DEPTH = 500  # commands that may wait: a program that starts asks for everything at once
_MASK_DEPTH = 50  # masks that may wait; each is as large as an image


class Inputs:
    """Opens them on a node and carries out what comes in.

    Whatever a message holds, its callback returns: a refusal is counted, logged, shown in diagnostics and, by
    services, answered.
    """

    def __init__(
        self,
        node: Node,
        commands: Commands,
        errors: ErrorLog,
        cameras: Iterable[str],
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """cameras: names; a named one has topics of its own for what refers to its images. after: called when
        something was carried out, before it is answered."""
        self._after = after
        self._node = node
        self._errors = errors
        self._entities: list[tuple[Callable[[Any], bool], Any]] = []
        self._types: dict[str, str] = {}  # by resolved topic
        self._told = ""
        self._topic(String, "~/prompt", "prompt", lambda message: commands.say(message.data))
        self._topic(
            TrackCommand,
            "~/command",
            "command",
            lambda data: commands.carry_out(_read_command(data)),
            raw=True,
        )
        self._topic(Image, "~/mask_prompt", "mask_prompt", commands.add_masks)
        for name in cameras:
            prefix = f"~/{name}/" if name else "~/"
            self._topic(
                Point,
                f"{prefix}overlay_mouse_left",
                "click",
                partial(commands.click, camera=name),
            )
            if name:
                self._topic(
                    Image,
                    f"{prefix}mask_prompt",
                    "mask_prompt",
                    partial(commands.add_masks, camera=name),
                )
        self._service(AddObject, "add_object", commands.add)
        self._service(RemoveObject, "remove_object", lambda r: commands.remove(r.object_id, r.camera))
        self._service(TeachObject, "teach", commands.teach)
        self._service(ForgetKnown, "forget_known", lambda request: commands.forget_known(request.name))
        self._service(Trigger, "clear", lambda _: commands.clear())
        self._service(SetBool, "set_enabled", lambda request: commands.set_enabled(request.data))

    def mistaken(self) -> str:
        """What somebody sends in the place of what these topics take, and never arrives; "" for nothing.
        Logged when it begins."""
        found = ""
        for topic, wanted in tuple(self._types.items()):
            others = [kind for kind in types_sent(self._node, topic) if kind != wanted]
            if others:
                found = f"{topic} takes {wanted}, and is sent {', '.join(others)}, of which nothing arrives"
                break
        if found and found != self._told:
            self._node.get_logger().warning(found)
        self._told = found
        return found

    def destroy(self) -> None:
        """Take them away."""
        for destroy, entity in self._entities:
            destroy(entity)
        self._entities.clear()

    def _topic(
        self, kind: type, name: str, source: str, action: Callable[[Any], Answer], *, raw: bool = False
    ) -> None:
        losses = Losses()

        def on_message(message: Any, info: Mapping[str, Any]) -> None:
            say_lost(losses.arrived(info))
            try:
                answer = action(message)
                self._after()
            except Exception as error:  # a message must never stop the node
                self._errors.report_exception(source, error)
            else:
                self._node.get_logger().info(answer.message)

        def say_lost(count: int) -> None:
            if count:
                self._errors.report(
                    f"{source} lost",
                    f"{count} of {subscription.topic_name} never came ({losses.total} in all): send fewer at "
                    "once, with a deeper queue, or by a service, which answers",
                )

        subscription = listen(
            self._node,
            kind,
            name,
            with_info(on_message),
            QoSProfile(depth=_MASK_DEPTH if kind is Image else _DEPTH),
            on_lost=lambda event: say_lost(losses.told(event)),
            on_incompatible=lambda event: self._errors.report(
                "quality of service", mismatch(subscription.topic_name, event)
            ),
            raw=raw,
        )
        self._entities.append((self._node.destroy_subscription, subscription))
        self._types[subscription.topic_name] = type_name(kind)

    def _service(self, kind: type, source: str, action: Callable[[Any], Answer]) -> None:
        def on_request(request: Any, response: Any) -> Any:
            try:
                answer = action(request)
                self._after()
            except Exception as error:  # who asked is waiting for an answer
                response.success = False
                response.message = self._errors.report_exception(source, error)
                return response
            response.success, response.message = True, answer.message
            if hasattr(response, "views"):
                response.views = answer.views
            if hasattr(response, "object_id"):
                response.object_id = answer.object_ids[0]
            return response

        service = self._node.create_service(kind, f"~/{source}", on_request)
        self._entities.append((self._node.destroy_service, service))


def _read_command(data: bytes) -> TrackCommand:
    """A serialized command. Raises MaskError when it states too many points, CommandError when it is none."""
    check_count(stated_points(data), "points", MAX_POINTS, MaskError)
    try:
        return deserialize_message(data, TrackCommand)
    except Exception as error:  # what it raises depends on the middleware
        raise CommandError(f"{len(data)} bytes that are no TrackCommand: {quoted(error)}") from error
