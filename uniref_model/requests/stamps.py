"""Time stamps of images, and the images kept so that a later prompt can refer to one of them."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..errors import ImageError
from ..limits import check_name

_JUMP = 10_000_000_000
"""ns. A stamp this much later than the one before, or any earlier one, is a jump of the clock."""


def nanoseconds(stamp: Any) -> int:
    """builtin_interfaces/Time as one number."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def is_set(stamp: Any) -> bool:
    """Whether the stamp says a time; zero says none."""
    return bool(stamp.sec or stamp.nanosec)


def in_words(stamp: Any) -> str:
    """The stamp in seconds, for people."""
    seconds, rest = divmod(nanoseconds(stamp), 1_000_000_000)  # a message may hold more than a second of them
    return f"{seconds}.{rest:09d}"


def check_header(header: Any) -> None:
    """Refuse an image's header (std_msgs/Header), which every result repeats. Raises ImageError for a stamp
    that no clock of ROS can show, and for a frame_id that is too long or holds control characters."""
    check_name(header.frame_id, "the image's frame_id", ImageError)
    stamp = header.stamp
    if stamp.sec < 0:
        raise ImageError(f"the image's stamp is {in_words(stamp)}, expected 0 or a time after 1970")


class HeldImages:
    """The last messages of a camera by stamp; after a jump of the clock only those that came after it."""

    def __init__(self, size: int) -> None:
        self._messages: deque[Any] = deque(maxlen=size)
        self._last: int | None = None
        self.jumps = 0
        """Times the stamps jumped."""

    def add(self, message: Any) -> float:
        """Keep a message. Returns the seconds its stamp jumped by, 0 in the normal course."""
        now = nanoseconds(message.header.stamp)
        before = now if self._last is None else self._last
        self._last = now
        jumped = now < before or now - before > _JUMP
        if jumped:
            self.jumps += 1
            self._messages.clear()  # a bag played again has the same stamps again
        self._messages.append(message)
        return (now - before) / 1e9 if jumped else 0.0

    def find(self, stamp: Any) -> Any | None:
        """The message with this stamp, the newest of several, None when it is not held."""
        newest_first = reversed(tuple(self._messages))
        return next((message for message in newest_first if message.header.stamp == stamp), None)

    def why_absent(self, stamp: Any) -> str:
        """What to tell the sender of a stamp that `find` does not find."""
        if self._last is not None and nanoseconds(stamp) > self._last:
            return f"the image of {in_words(stamp)} has not come yet"
        return f"the image of {in_words(stamp)} is not held any more"

    def clear(self) -> None:
        """Forget all images, and what the clock showed."""
        self._messages.clear()
        self._last = None
