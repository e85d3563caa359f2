"""Prompts that were recorded in a bag, obeyed at their time, by the code that obeys them in the node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..bags.reader import Record
from ..bags.source import NODE, BagSource, decode
from ..errors import SourceError, UniRefError
from ..limits import MAX_PIXELS
from ..requests.commands import Answer, Commands
from ..requests.stamps import HeldImages
from ..tracking import Tracker
from ..tracking.ids import ObjectIds
from ..video import FrameSource

_HELD = 8
"""Images held for prompts that refer to an earlier one: the node's default."""


class RecordedCamera:
    """What `Commands` asks of a camera; its images are those of a bag."""

    last = shown = None  # what a person saw when clicking is not recorded

    def __init__(self, name: str, tracker: Tracker, max_pixels: int) -> None:
        self.name, self.tracker = name, tracker
        self._max_pixels = max_pixels
        self._held = HeldImages(_HELD)
        self._kind = ""

    @property
    def topic(self) -> str:
        return self.name or "image"

    def hold(self, message: Any, kind: str) -> None:
        """Keep an image message of this type for a while."""
        self._held.add(message)
        self._kind = kind

    def holds(self, stamp: Any) -> bool:
        return self._held.find(stamp) is not None

    def image_at(self, stamp: Any) -> np.ndarray | str:
        message = self._held.find(stamp)
        if message is None:
            return self._held.why_absent(stamp)
        return decode(message, self._kind, self._max_pixels)


class Replay:
    """Hears `~/prompt`, `~/command` and `~/mask_prompt` of a bag, and carries them out between the images.

    What the node would refuse is refused, said, and disturbs nothing. While the recording is paused
    (`enabled` is false) its images are not to be stepped. The cameras' names are those that commands know
    them by.
    """

    def __init__(
        self,
        source: FrameSource,
        trackers: Mapping[str, Tracker],
        ids: ObjectIds,
        say: Callable[[str], None],
        *,
        node: str = NODE,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """ids: the registry of the trackers. say: told of every answer and refusal. Raises SourceError where
        the source is no bag, UniRefError for a bag without prompts."""
        if not isinstance(source, BagSource):
            raise SourceError("prompts are replayed from a bag, and the source is none")
        self.enabled = True
        self.obeyed = 0
        """Prompts and commands that were carried out."""
        self._bag, self._say = source.bag, say
        self._cameras = {
            name: RecordedCamera(name, tracker, max_pixels) for name, tracker in trackers.items()
        }
        self._commands = Commands(lambda: self._cameras, self._set_enabled, ids, lambda: max_pixels)
        source.watch(self._hold)
        actions: dict[str, tuple[str, Callable[[Any], Answer]]] = {
            f"{node}/prompt": ("std_msgs/msg/String", lambda message: self._commands.say(message.data)),
            f"{node}/command": ("uniref_ros/msg/TrackCommand", self._commands.carry_out),
            f"{node}/mask_prompt": ("sensor_msgs/msg/Image", self._commands.add_masks),
        }
        there = [name for name, (kind, _) in actions.items() if self._has(name, kind)]
        for name in there:
            source.listen(name, partial(self._obey, actions[name][1]))
        if not there:
            raise UniRefError(
                f"no prompts to replay: the bag has none of {', '.join(actions)} (--node says whose they are)"
            )

    def _has(self, name: str, kind: str) -> bool:
        return name in self._bag.topics and self._bag.topics[name].kind == kind

    def _hold(self, camera: str, message: Any, kind: str) -> None:
        if self.enabled:  # as the node, which hears no images while it is paused
            self._cameras[camera].hold(message, kind)

    def _obey(self, action: Callable[[Any], Answer], record: Record) -> None:
        seconds = (record.received - self._bag.start) / 1e9
        try:
            answer = action(record.message())
        except UniRefError as error:
            self._say(f"{seconds:.2f} s: refused on {record.topic.name}: {error}")
        else:
            self.obeyed += 1
            self._say(f"{seconds:.2f} s: {answer.message}")

    def _set_enabled(self, enabled: bool) -> str:
        self.enabled = enabled
        return "images are stepped again" if enabled else "paused: objects are kept, images are left out"
