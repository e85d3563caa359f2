"""What outlives the node: known objects, and its session, if the parameter remember says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node

from uniref_model.errors import UniRefError
from uniref_model.prompts import Prompt
from uniref_model.requests.session import Session
from uniref_model.runtime import Runtime
from uniref_model.tracking.ids import ObjectIds
from uniref_model.tracking.teaching import Teacher
from uniref_model.tracking.views import ViewBank
from uniref_ros.camera import Camera, ProcessedImage
from uniref_ros.diagnostics import ErrorLog
from uniref_ros.known import Known
from uniref_ros.memory import Memory, session_folder


class Persistence:
    """There for the node's life; it holds something between `open` and `close`. Cameras and commands may tell
    it of what happens at any time, from any thread."""

    def __init__(
        self,
        node: Node,
        settings: Callable[[], Mapping[str, Any]],
        cameras: Callable[[], Mapping[str, Camera]],
        enabled: Callable[[], bool],
        ids: ObjectIds,
        errors: ErrorLog,
    ) -> None:
        """settings: gives the node's parameters in force; cameras: gives its cameras, by name; enabled: says
        whether images are processed."""
        self._node, self._settings, self._cameras = node, settings, cameras
        self._enabled, self._ids, self._errors = enabled, ids, errors
        self._known: Known | None = None
        self._memory: Memory | None = None

    def open(self, runtime: Runtime) -> ViewBank:
        """Read the known objects, encode them and publish their names. Returns the bank for trackers."""
        self._known = Known(self._node, runtime, self._settings, self._cameras, self._errors)
        return self._known.bank

    def close(self) -> None:
        """Write the last of it, and let the folders and topics go. Closing twice is allowed."""
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.destroy()
        known, self._known = self._known, None
        if known is not None:
            known.destroy()

    @property
    def teacher(self) -> Teacher | None:
        """Keeps what is taught; None while nothing is open."""
        return None if self._known is None else self._known.teacher

    def facts(self) -> dict[str, Any]:
        """For diagnostics."""
        known = self._known
        return {} if known is None else known.facts()

    def resume(self) -> Session | None:
        """Take up the session of before, None where there was none, and remember it from now on. What keeps
        that from being done is reported."""
        assert self._known is not None, "opened before"
        memory = None
        try:
            memory = Memory(
                self._node,
                session_folder(self._known.store.folder, self._node),
                self._cameras,
                self._ids,
                self._enabled,
                self._errors,
            )
            session = memory.restore()
        except UniRefError as error:
            self._errors.report("remember", f"nothing is remembered: {error}")
            if memory is not None:
                memory.destroy()  # what is on disk stays as it is
            return None
        self._memory = memory
        return session

    def begin(self, prompts: tuple[str, ...]) -> None:
        """Note what was asked for from the start, with all that is followed."""
        if self._memory is not None:
            self._memory.begin(prompts)

    def added(self, camera: Any, object_id: str, prompt: Prompt) -> None:
        """Note an object that was added, and what it was asked for by."""
        memory = self._memory
        if memory is not None:
            memory.added(camera, object_id, prompt)

    def observe(self, camera: Camera, shown: ProcessedImage) -> None:
        """Look at an image that was processed: known objects from a new side, anchors to be kept."""
        known, memory = self._known, self._memory
        if known is not None:
            known.observe(camera, shown)
        if memory is not None:
            memory.observe(camera, shown)

    def after_request(self) -> None:
        """Publish what is known now, and have on disk what is followed now."""
        if self._known is not None:
            self._known.tell()
        if self._memory is not None:
            self._memory.flush()
