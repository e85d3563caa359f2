"""Other nodes of a node's own name: commands reach all of them, and their results come on one topic."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.node import Node

_PATIENCE = 30.0
"""s until it is said: a node that was killed is remembered by the others for about twenty."""


class Namesakes:
    """Looks for them, and says how many there are."""

    def __init__(self, node: Node, clock: Callable[[], float] = time.monotonic) -> None:
        self._node = node
        self._clock = clock
        self._since: float | None = None
        self._told = False

    def look(self) -> str:
        """What is wrong, "" for nothing; logged when it begins."""
        own = self._node.get_name(), self._node.get_namespace()
        others = sum(tuple(found) == own for found in self._node.get_node_names_and_namespaces()) - 1
        if others < 1:
            self._since, self._told = None, False
            return ""
        now = self._clock()
        self._since = now if self._since is None else self._since
        if now - self._since < _PATIENCE:
            return ""
        count = "another node is" if others == 1 else f"{others} other nodes are"
        text = (
            f"{count} called {self._node.get_fully_qualified_name()} too: commands reach each of them, and "
            "their results come on one topic; give one another name or namespace (-r __node:=, -r __ns:=)"
        )
        if not self._told:
            self._told = True
            self._node.get_logger().warning(text)
        return text
