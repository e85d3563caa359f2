"""What /diagnostics says: one status for the node, one for each camera."""

from __future__ import annotations

import math
import threading
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from uniref_model.errors import UniRefError
from uniref_model.limits import clipped
from uniref_model.runtime.memory import resident_mb
from uniref_ros.camera import STAGES, TRACK_STAGES, Camera

_REPEATED = 100  # of errors of one kind, the first is logged and then every so many-th
_AHEAD = 10  # images in a row from the future until it is warned of: clocks differ by a little


class ErrorBook:
    """Counts errors by kind, keeps the last text, and logs the first and then every 100th of a kind. Safe
    between threads."""

    def __init__(self, logger: Any = None) -> None:
        """logger: rclpy's; None logs nothing."""
        self._logger = logger
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._last = ""

    def note(self, kind: str, text: str) -> int:
        """Count an error. Returns how many of this kind there were."""
        with self._lock:
            self._counts[kind] += 1
            self._last = text
            return self._counts[kind]

    def complain(self, kind: str, text: str) -> None:
        """Count an error, and log it unless it is one of many."""
        count = self.note(kind, f"{kind}: {text}")
        if self._logger is not None and count % _REPEATED == 1:
            more = f" (number {count}; the next {_REPEATED - 1} are only counted)" if count > 1 else ""
            self._logger.error(f"{kind}: {text}{more}")

    def complain_of(self, kind: str, error: Exception) -> str:
        """As `complain`. An error that nobody foresaw is logged with its traceback. Returns the text for who
        asked."""
        if isinstance(error, UniRefError):
            self.complain(kind, str(error))
            return str(error)
        text = f"internal error: {type(error).__name__}: {error}"
        self.complain(kind, text)
        if self._logger is not None:
            self._logger.error("".join(traceback.format_exception(error)))
        return text

    def report(self) -> tuple[dict[str, int], str, bool]:
        """Counts by kind, the last error's text, and whether errors came in since the last report."""
        with self._lock:
            fresh = self._counts != self._reported
            self._reported = Counter(self._counts)
            return dict(self._counts), self._last, fresh


def node_status(
    name: str, *, state: str, enabled: bool, progress: str, facts: Mapping[str, str], errors: ErrorBook
) -> DiagnosticStatus:
    """The node's own status. state: its lifecycle state. progress: what configuring is at, "" when it is not.
    facts: from `Runtime.describe`."""
    counts, last, fresh = errors.report()
    level, message = DiagnosticStatus.OK, state if enabled else f"{state}, paused"
    if progress:
        message = f"{message}: {progress}"
    if fresh:
        level, message = DiagnosticStatus.WARN, last
    values = {
        "state": state,
        "enabled": enabled,
        "progress": progress,
        **facts,
        "memory (MB)": _number(resident_mb()),
        **{f"errors: {kind}": count for kind, count in sorted(counts.items())},
        "last error": last,
    }
    return _status(name, level, message, values)


def camera_status(name: str, camera: Camera, *, stale_after: float, max_delay: float) -> DiagnosticStatus:
    """A camera's status: rates, latencies, and how its objects stand. stale_after: s without an image to warn
    at. max_delay: s from stamp to result to warn at, 0 never."""
    rate_in, rate_out = camera.received.hertz(), camera.processed.hertz()
    age_50, age_95 = camera.ages.percentiles(50, 95)
    warning = camera.silence(stale_after) or _lateness(camera, age_50, max_delay) or camera.depth.warning
    level = DiagnosticStatus.WARN if warning else DiagnosticStatus.OK
    values = {
        "topic": camera.topic,
        "received (1/s)": f"{rate_in:.2f}",
        "processed (1/s)": f"{rate_out:.2f}",
        "dropped": camera.dropped,
        "failed": camera.failed,
        "torn": camera.torn,
        "lost in transport": camera.lost,
        "clock jumps": camera.clock_jumps,
        "image size": "x".join(map(str, reversed(camera.tracker.frame_size or ()))),
        "age at publication p50/p95 (ms)": f"{_number(age_50)}/{_number(age_95)}",
        **camera.depth.facts(),
    }
    for stage in (*STAGES, *TRACK_STAGES):
        middle, high = camera.times[stage].percentiles(50, 95)
        label = f"track/{stage}" if stage in TRACK_STAGES else stage
        values[f"{label} p50/p95 (ms)"] = f"{_number(middle)}/{_number(high)}"
    for item in camera.tracker.objects:
        values[f"object {item.id}"] = (
            f"{clipped(item.label or item.prompt)}: {item.state.value}, score {item.score:.2f}"
        )
    return _status(f"{name}: {camera.topic}", level, warning or f"{rate_out:.1f} images/s", values)


def _lateness(camera: Camera, age_ms: float, max_delay: float) -> str:
    if camera.ahead >= _AHEAD:
        return f"the stamps on {camera.topic} are ahead of this node's clock (use_sim_time? clocks in step?)"
    if max_delay and age_ms > 1000 * max_delay:  # false for not-a-number
        return (
            f"results on {camera.topic} are {age_ms / 1000:.1f} s later than their images' stamps "
            "(a bag without use_sim_time? clocks in step?)"
        )
    return ""


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def _status(name: str, level: bytes, message: str, values: Mapping[str, object]) -> DiagnosticStatus:
    pairs: Iterable[KeyValue] = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(
        level=level, name=name, message=message, hardware_id="uniref_ros", values=list(pairs)
    )
