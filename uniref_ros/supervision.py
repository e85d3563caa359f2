"""Judges what the watchdog sees of the tracker node: which results do not come, why, whether they will."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from uniref_ros.camera import Camera
from uniref_ros.diagnostics import ErrorLog
from uniref_ros.watchdog import PATIENCE, Heartbeat, Stuck, stack_of, stuck_item
from uniref_ros.worker import Worker


@dataclass(frozen=True)
class Faults:
    """What keeps results away now. node: in words, "" when nothing does. cameras: the same by camera name, of
    those concerned. callbacks: whether callbacks are not served. changed: whether something began or ended
    since the look before. hopeless: whether it lasts so long that only a restart will help."""

    node: str = ""
    cameras: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    callbacks: bool = False
    changed: bool = False
    hopeless: bool = False


class Supervisor:
    """Looks at workers and cameras, keeps what it found, and tells the log when something begins to hang."""

    def __init__(self, errors: ErrorLog, logger: Any) -> None:
        self.heart = Heartbeat()
        """Beaten by whoever serves the node's callbacks."""
        self.faults = Faults()
        """As of the last look."""
        self._errors = errors
        self._logger = logger
        self._told: dict[str, float] = {}  # what hangs and was told of, and since when
        self._traced: set[tuple[str, str]] = set()

    def look(
        self, workers: Sequence[Worker], cameras: Sequence[Camera], *, stale_after: float, in_transition: bool
    ) -> Faults:
        """workers: those there are now. in_transition: a callback may take long then."""
        dead = any(worker.dead for worker in workers)
        stuck = [found for worker in workers if (found := stuck_item(worker, stale_after)) is not None]
        if in_transition:
            self.heart.excuse()
        late = self.heart.stuck(stale_after)
        hanging = [*stuck, *([late] if late is not None else [])]
        reasons = [str(one) for one in hanging]
        if dead:
            reasons.insert(0, "a worker thread has died: restart the node")
        waits = {
            camera.name: (camera, seconds)
            for camera in cameras
            if (seconds := camera.without_result(stale_after)) is not None
        }
        by_camera = {name: _words(*wait, reasons) for name, wait in waits.items()}
        for camera in cameras:  # one image may have come, and no more
            own = [str(one) for one in stuck if one.what in (camera.topic, camera.overlays.topic)]
            if own and camera.name not in by_camera:
                by_camera[camera.name] = own[0]
        self._tell(hanging)
        patience = PATIENCE * stale_after
        node = "; ".join(reasons) or next(iter(by_camera.values()), "")
        before = self.faults
        self.faults = Faults(
            node=node,
            cameras=MappingProxyType(by_camera),
            callbacks=late is not None,
            changed=bool(before.node) != bool(node) or set(before.cameras) != set(by_camera),
            hopeless=dead
            or any(one.seconds > patience for one in hanging)
            or any(camera.broken and seconds > patience for camera, seconds in waits.values()),
        )
        return self.faults

    def _tell(self, hanging: Sequence[Stuck]) -> None:
        now = {one.what: one for one in hanging}
        for what, one in now.items():
            if what not in self._told:
                self._told[what] = time.monotonic() - one.seconds
                self._errors.report("hang", str(one))
                self._trace(one)
        for what in [what for what in self._told if what not in now]:
            seconds = time.monotonic() - self._told.pop(what)
            self._logger.info(f"{what} goes on after {seconds:.1f} s", throttle_duration_sec=30.0)

    def _trace(self, one: Stuck) -> None:
        """Where it hangs, once for each step."""
        key = one.what, one.step
        if key not in self._traced:
            self._traced.add(key)
            self._logger.error(f"it hangs here:\n{stack_of(one.thread)}")


def _words(camera: Camera, seconds: float, reasons: Sequence[str]) -> str:
    text = f"no result for {seconds:.1f} s, though images come on {camera.resolved_topic}"
    if reasons:
        return f"{text}: {'; '.join(reasons)}"
    return f"{text}; the last one failed: {camera.failure}" if camera.failure else text
