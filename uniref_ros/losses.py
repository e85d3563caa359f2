"""Messages that were sent and never came, by what rclpy tells of those that came."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

_MOST_SENDERS = 64  # remembered at a time; the one not heard for longest is forgotten


class Losses:
    """Counts the messages of one subscription that were lost on the way.

    A full queue drops its oldest message, and the middleware calls that no loss. So the numbers that each
    sender gives its messages are watched: rclpy tells them since Kilted (`publisher_gid` with
    `publication_sequence_number`). Where it does not, the middleware's own event is all there is.
    """

    def __init__(self) -> None:
        self.total = 0
        """Messages lost so far."""
        self._last: OrderedDict[bytes, int] = OrderedDict()

    def arrived(self, info: Mapping[str, Any]) -> int:
        """Note a message by its rclpy MessageInfo. Returns how many its sender sent just before it that never
        came."""
        number, sender = info.get("publication_sequence_number"), info.get("publisher_gid")
        if number is None or sender is None:
            return 0
        key = bytes(sender["data"])
        lost = max(0, number - self._last.get(key, number - 1) - 1)
        self._last[key] = number
        self._last.move_to_end(key)
        while len(self._last) > _MOST_SENDERS:
            self._last.popitem(last=False)
        self.total += lost
        return lost

    def told(self, event: Any) -> int:
        """Note rclpy's message-lost event. Returns how many it tells of that are not counted yet; 0 where the
        senders' numbers are known, which say the same and more."""
        if self._last:
            return 0
        self.total += event.total_count_change
        return event.total_count_change
