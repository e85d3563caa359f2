"""The node's memory of its session: what it follows outlives it, if the parameter remember says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rclpy.node import Node

from uniref_model.errors import UniRefError
from uniref_model.prompts import Prompt
from uniref_model.requests.remembering import Remembering
from uniref_model.requests.session import Session, SessionFolder
from uniref_model.tracking.ids import ObjectIds
from uniref_ros.camera import Camera, ProcessedImage
from uniref_ros.diagnostics import ErrorLog
from uniref_ros.executor import steady_timer

_PERIOD = 0.25  # s within which an anchor that a frame became is on disk
_PAUSE = 5.0  # s until the timer tries again what failed


def session_folder(known_objects: Path, node: Node) -> Path:
    """Where a node's session is kept: beside the known objects, under the node's full name, so that two nodes
    have two."""
    return known_objects / ".sessions" / node.get_fully_qualified_name().strip("/").replace("/", ".")


class Memory:
    """There while the node is configured. Whatever goes wrong with the disk is reported, and stops
    nothing."""

    def __init__(
        self,
        node: Node,
        folder: Path,
        cameras: Callable[[], Mapping[str, Camera]],
        ids: ObjectIds,
        enabled: Callable[[], bool],
        errors: ErrorLog,
    ) -> None:
        """Raises UniRefError when the folder cannot be had."""
        self._node, self._errors = node, errors
        self._session = Remembering(
            SessionFolder(folder), cameras, ids, enabled, lambda text: errors.report("remember", text)
        )
        self._timer: Any = None
        self._not_before = 0.0

    def restore(self) -> Session | None:
        """Take up the session of before, None where there was none, and keep it from now on."""
        session = self._session.restore()
        self._timer = steady_timer(self._node, _PERIOD, self._on_timer)
        return session

    def begin(self, prompts: tuple[str, ...]) -> None:
        """Note what was asked for from the start, with all that is followed."""
        self._session.prompts = prompts
        self.flush()

    def added(self, camera: Camera, object_id: str, prompt: Prompt) -> None:
        """See `Remembering`."""
        self._session.added(camera, object_id, prompt)

    def observe(self, camera: Camera, shown: ProcessedImage) -> None:
        """See `Remembering`."""
        self._session.observe(camera, shown)

    def flush(self) -> None:
        """Have on disk what is followed now."""
        try:
            self._session.flush()
        except UniRefError as error:
            self._not_before = time.monotonic() + _PAUSE
            self._errors.report("remember", f"what is followed is not on disk: {error}")

    def destroy(self) -> None:
        """Write the last of it, and let the folder go."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self.flush()
        self._session.close()

    def _on_timer(self) -> None:
        if time.monotonic() >= self._not_before:
            self.flush()
