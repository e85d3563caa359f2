"""The tracker's and the voice node's public services and topics, as the web server's loop calls them."""

from __future__ import annotations

import array
import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import Point
from rclpy.client import Client
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Bool, Header, Int16MultiArray, String
from std_srvs.srv import SetBool

from uniref_ros.console.orders import Box, OrderError
from uniref_ros.msg import TrackCommand
from uniref_ros.srv import AddObject, ForgetKnown, RemoveObject, TeachObject

_PATIENCE = 5.0  # s for an answer
_COMMANDS, _AUDIO = 50, 200  # depths


class TrackerClient:
    """Asks the tracker. Every method may be called in the server's loop, and raises OrderError when nobody
    is there to answer."""

    def __init__(self, node: Node, name: str) -> None:
        """name: the tracker node's, relative to `node`'s namespace unless it is absolute."""
        self._prompts = node.create_publisher(String, f"{name}/prompt", QoSProfile(depth=_COMMANDS))
        self._commands = node.create_publisher(TrackCommand, f"{name}/command", QoSProfile(depth=_COMMANDS))
        self._add: Client = node.create_client(AddObject, f"{name}/add_object")
        self._remove: Client = node.create_client(RemoveObject, f"{name}/remove_object")
        self._enable: Client = node.create_client(SetBool, f"{name}/set_enabled")
        self._teach: Client = node.create_client(TeachObject, f"{name}/teach")
        self._forget: Client = node.create_client(ForgetKnown, f"{name}/forget_known")

    @property
    def is_there(self) -> bool:
        """Whether somebody serves its services."""
        return self._add.service_is_ready()

    @property
    def teaches(self) -> bool:
        """Whether it can know objects by name."""
        return self._teach.service_is_ready()

    async def add(self, request: AddObject.Request) -> AddObject.Response:
        """Add an object; the answer says its id, or why not."""
        return await _ask(self._add, request)

    async def remove(self, object_id: str) -> RemoveObject.Response:
        """Remove the object with this id."""
        return await _ask(self._remove, RemoveObject.Request(object_id=object_id))

    async def set_enabled(self, on: bool) -> SetBool.Response:
        """Process images, or pause."""
        return await _ask(self._enable, SetBool.Request(data=on))

    async def teach(self, object_id: str, name: str) -> TeachObject.Response:
        """Have an object that is followed known by a name from now on."""
        return await _ask(self._teach, TeachObject.Request(object_id=object_id, name=name))

    async def forget_known(self, name: str) -> ForgetKnown.Response:
        """Forget what a known object looks like."""
        return await _ask(self._forget, ForgetKnown.Request(name=name))

    def say(self, text: str) -> None:
        """Words, as if spoken. A refusal comes in diagnostics."""
        _publish(self._prompts, String(data=text))

    def reanchor(self, object_id: str) -> None:
        """Anchor an object anew. A refusal comes in diagnostics."""
        _publish(self._commands, TrackCommand(action=TrackCommand.REANCHOR, object_id=object_id))


class VoiceClient:
    """Talks to the voice node: the button, and 16 kHz mono PCM."""

    def __init__(self, node: Node, name: str) -> None:
        """name: the voice node's, as for the tracker."""
        self._button = node.create_publisher(Bool, f"{name}/talk", QoSProfile(depth=20))
        self._audio = node.create_publisher(Int16MultiArray, "audio", QoSProfile(depth=_AUDIO))

    @property
    def hears(self) -> bool:
        """Whether somebody takes the audio."""
        return self._audio.get_subscription_count() > 0

    def press(self, down: bool) -> None:
        """The talk button."""
        self._button.publish(Bool(data=down))

    def play(self, pcm: bytes) -> None:
        """Samples, 16-bit little endian."""
        self._audio.publish(Int16MultiArray(data=array.array("h", pcm)))


def marked(camera: str, stamp: Any, **fields: Any) -> AddObject.Request:
    """A request for what is marked in the image of this stamp, and in no other one. fields: of AddObject."""
    return AddObject.Request(header=Header(stamp=stamp), camera=camera, exact_stamp=True, **fields)


def at_points(camera: str, stamp: Any, *points: tuple[float, float, bool], **names: str) -> AddObject.Request:
    """A request for what is at these places (x, y, whether it is on the object). names: label, text."""
    places = [Point(x=x, y=y) for x, y, _ in points]
    return marked(camera, stamp, points=places, point_labels=[int(on) for *_, on in points], **names)


def in_box(order: Box) -> AddObject.Request:
    """A request for what is in a box."""
    x, y, width, height = order.box
    region = RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height)
    return marked(order.camera, order.stamp, box=region)


async def _ask(client: Client, request: Any) -> Any:
    if not client.service_is_ready():
        raise OrderError(f"nobody serves {client.srv_name}: is the tracker running and configured?")
    loop = asyncio.get_running_loop()
    answer = loop.create_future()
    future = client.call_async(request)
    future.add_done_callback(_in_loop(loop, answer))
    try:
        return await asyncio.wait_for(answer, _PATIENCE)
    except asyncio.TimeoutError:
        raise OrderError(f"no answer of {client.srv_name} for {_PATIENCE:.0f} s") from None
    finally:
        client.remove_pending_request(future)


def _in_loop(loop: asyncio.AbstractEventLoop, answer: asyncio.Future) -> Callable[[Any], None]:
    def settle(done: Any) -> None:
        if answer.done():  # who asked has gone
            return
        error = done.exception()
        if error is None:
            answer.set_result(done.result())
        else:
            answer.set_exception(error)

    def on_done(done: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, done)

    return on_done


def _publish(publisher: Any, message: Any) -> None:
    if not publisher.get_subscription_count():
        raise OrderError(f"nobody listens on {publisher.topic_name}: is the tracker running and configured?")
    publisher.publish(message)
