"""The images of a bag as frames, decoded as the node decodes what it hears."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SourceError, UniRefError
from ..image_messages import compressed_to_rgb, to_rgb
from ..limits import MAX_PIXELS, quoted
from ..outputs import show
from ..requests.stamps import check_header
from ..video import FrameSource, Selection, SourceFrame
from .reader import IMAGE_TYPES, Bag, Record, Topic

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:/[A-Za-z_][A-Za-z0-9_]*)*")

NODE = "/tracker"
"""Under whose name results are written and recorded prompts are found, as the node has it by default."""

SECOND = 1_000_000_000  # ns


class BagSource(FrameSource):
    """The images of some topics in the order in which they were received.

    A camera may be given a name, "left=/left/image"; else, with one topic it has none, with several each is
    named by its topic, without the first slash.
    An image that cannot be decoded is left out, as the node leaves it out, and counted in `refused`. fps: of
    one camera, on the average.
    """

    def __init__(
        self,
        path: Path,
        topics: Sequence[str] = (),
        selection: Selection | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """topics: none for the only one with images. Raises SourceError, which names those that there are."""
        self.bag = Bag(path)
        self._selection = selection or Selection()
        self._max_pixels = max_pixels
        self._listeners: dict[str, Callable[[Record], None]] = {}
        self._watcher: Callable[[str, Any, str], None] | None = None
        self.refused: Counter[str] = Counter()
        """Images left out, by topic."""
        self.first_refusal = ""
        try:
            self._names = _choose(self.bag, topics)
        except SourceError:
            self.bag.close()
            raise
        self._topics = [self.bag.topics[name] for name in self._names]
        self.cameras = tuple(self._names.values())
        self.paths = self.bag.paths
        self.length = None if self._selection.is_timed else sum(map(self._count, self._topics))
        self.fps = self._rate()

    def listen(self, topic: str, callback: Callable[[Record], None]) -> None:
        """Call back with the messages of another topic, between the images, as they were received."""
        if topic in self.bag.topics:
            self._listeners[topic] = callback

    def watch(self, callback: Callable[[str, Any, str], None]) -> None:
        """Call back with (camera, message, type) of every image before it comes, also those that the stride
        leaves out."""
        self._watcher = callback

    def __iter__(self) -> Iterator[SourceFrame]:
        seen: Counter[str] = Counter()
        for record in self.bag.messages({*self._names, *self._listeners}, *self._span()):
            name = record.topic.name
            if name in self._listeners:
                self._listeners[name](record)
                continue
            index = seen[name]
            seen[name] += 1
            chosen = index % self._selection.stride == 0
            if (chosen or self._watcher is not None) and (frame := self._frame(record, index, chosen)):
                yield frame
        if self.first_refusal and self.refused.total() == sum(seen.values()):
            raise SourceError(f"no image of {show(self.bag.path)} can be used: {self.first_refusal}")

    @property
    def seconds(self) -> float:
        return (self.bag.end - self.bag.start) / SECOND

    def close(self) -> None:
        self.bag.close()

    def _frame(self, record: Record, index: int, chosen: bool) -> SourceFrame | None:
        camera, kind = self._names[record.topic.name], record.topic.kind
        try:
            message = record.message()
            if self._watcher is not None:
                self._watcher(camera, message, kind)
            if not chosen:
                return None
            pixels = decode(message, kind, self._max_pixels)
        except UniRefError as error:
            self.refused[record.topic.name] += 1
            self.first_refusal = self.first_refusal or f"image {index} of {record.topic.name}: {error}"
            return None
        stamp = message.header.stamp
        return SourceFrame(
            index,
            f"{index:05d}",
            pixels,
            camera=camera,
            stamp=stamp.sec * SECOND + stamp.nanosec,
            frame_id=message.header.frame_id,
            recorded=record.received,
        )

    def _span(self) -> tuple[int | None, int | None]:
        start, end = (
            None if seconds is None else self.bag.start + round(seconds * SECOND)
            for seconds in (self._selection.start, self._selection.end)
        )
        return start, end

    def _count(self, topic: Topic) -> int:
        return -(-topic.count // self._selection.stride)

    def _rate(self) -> float | None:
        seconds = (self.bag.end - self.bag.start) / SECOND
        most = max(topic.count for topic in self._topics)
        return (most - 1) / seconds / self._selection.stride if most > 1 and seconds > 0 else None


def decode(message: Any, kind: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """RGB uint8 [h,w,3] of a message of one of IMAGE_TYPES. Raises ImageError, LimitError."""
    check_header(message.header)
    return (to_rgb if kind == IMAGE_TYPES[0] else compressed_to_rgb)(message, max_pixels)


def _choose(bag: Bag, wanted: Sequence[str]) -> dict[str, str]:
    """The names of the cameras by topic. wanted: topics, or "camera=topic". Raises SourceError."""
    images = {name: topic for name, topic in bag.topics.items() if topic.kind in IMAGE_TYPES}
    there = ", ".join(f"{quoted(name)} ({topic.count})" for name, topic in images.items()) or "none"
    sources = [name for name in images if not name.startswith(f"{NODE}/")]  # what a tracker said is no camera
    if not wanted and len(sources) != 1:
        raise SourceError(
            f"the bag {show(bag.path)} has {len(images)} topics with images ({there}): "
            f"{'name one or more' if images else 'there is nothing to see'}"
        )
    cameras: dict[str, str] = {}
    for text in wanted or sources:
        camera, named, topic = text.rpartition("=")
        topic = topic if topic.startswith("/") or topic in images else f"/{topic}"
        if topic not in images:
            found = f"is of type {quoted(bag.topics[topic].kind)}" if topic in bag.topics else "is not there"
            raise SourceError(
                f"the topic {quoted(topic)} of the bag {show(bag.path)} {found}; with images: {there}"
            )
        if not named:
            camera = "" if len(set(wanted)) <= 1 else topic.strip("/")
        if camera and not _NAME.fullmatch(camera):  # files are named by it
            raise SourceError(f"{quoted(camera)} is no name for a camera: letters, digits, _ and / between")
        if camera in cameras.values() and cameras.get(topic) != camera:
            raise SourceError(f"two topics are called {quoted(camera)}")
        cameras[topic] = camera
    return cameras
