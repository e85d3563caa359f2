"""From ROS's threads to the web server's: the newest of everything, and nobody waits for anybody."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

Key = tuple[str, str]
"""What an item is, and whose."""
_MOST_LINES = 64  # that may wait for the server; the oldest go


class Relay:
    """Takes from any thread, hands over in the server's. Of each key only the newest item is kept; lines are
    kept in their order, and are few."""

    def __init__(self, deliver: Callable[[dict[Key, Any], list[Any]], None]) -> None:
        """deliver: called in the server's loop with the newest item of each key, and with the lines."""
        self._deliver = deliver
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._newest: dict[Key, Any] = {}
        self._lines: deque[Any] = deque(maxlen=_MOST_LINES)
        self._rung = False

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to deliver in this loop."""
        with self._lock:
            self._loop = loop

    def close(self) -> None:
        """Deliver no more."""
        with self._lock:
            self._loop = None

    def put(self, key: Key, item: Any) -> None:
        """Leave an item; it replaces one of the same key that was not delivered yet."""
        with self._lock:
            self._newest[key] = item
            self._ring()

    def say(self, line: Any) -> None:
        """Leave a line."""
        with self._lock:
            self._lines.append(line)
            self._ring()

    def _ring(self) -> None:
        if self._loop is None or self._rung:
            return
        with contextlib.suppress(RuntimeError):  # the loop has just been closed
            self._loop.call_soon_threadsafe(self._hand_over)
            self._rung = True

    def _hand_over(self) -> None:
        with self._lock:
            newest, self._newest = self._newest, {}
            lines = list(self._lines)
            self._lines.clear()
            self._rung = False
        self._deliver(newest, lines)
