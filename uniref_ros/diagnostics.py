"""What /diagnostics says: one status for the node, one for each camera."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterable, Mapping

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from uniref_ros.camera import STAGES, Camera


class ErrorBook:
    """Counts errors by kind and keeps the last text. Safe between threads."""

    def __init__(self) -> None:
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

    def report(self) -> tuple[dict[str, int], str, bool]:
        """Counts by kind, the last error's text, and whether errors came in since the last report."""
        with self._lock:
            fresh = self._counts != self._reported
            self._reported = Counter(self._counts)
            return dict(self._counts), self._last, fresh


def node_status(
    name: str, *, state: str, enabled: bool, facts: Mapping[str, str], errors: ErrorBook
) -> DiagnosticStatus:
    """The node's own status. state: its lifecycle state. facts: from `Runtime.describe`."""
    counts, last, fresh = errors.report()
    level, message = DiagnosticStatus.OK, state if enabled else f"{state}, paused"
    if fresh:
        level, message = DiagnosticStatus.WARN, last
    values = {
        "state": state,
        "enabled": enabled,
        **facts,
        **{f"errors: {kind}": count for kind, count in sorted(counts.items())},
        "last error": last,
    }
    return _status(name, level, message, values)


def camera_status(name: str, camera: Camera, *, active: bool, stale_after: float) -> DiagnosticStatus:
    """A camera's status: rates, latencies, and how its objects stand. stale_after: s without an image to warn
    at."""
    silent = camera.received.since_last()
    rate_in, rate_out = camera.received.hertz(), camera.processed.hertz()
    level, message = DiagnosticStatus.OK, f"{rate_out:.1f} images/s"
    if active and camera.enabled and (silent is None or silent > stale_after):
        level = DiagnosticStatus.WARN
        message = f"no image on {camera.topic} " + ("yet" if silent is None else f"for {silent:.1f} s")
    age_50, age_95 = camera.ages.percentiles(50, 95)
    values = {
        "topic": camera.topic,
        "received (1/s)": f"{rate_in:.2f}",
        "processed (1/s)": f"{rate_out:.2f}",
        "dropped": camera.dropped,
        "failed": camera.failed,
        "clock jumps": camera.clock_jumps,
        "image size": "x".join(map(str, reversed(camera.tracker.frame_size or ()))),
        "age at publication p50/p95 (ms)": f"{_number(age_50)}/{_number(age_95)}",
    }
    for stage in STAGES:
        middle, high = camera.times[stage].percentiles(50, 95)
        values[f"{stage} p50/p95 (ms)"] = f"{_number(middle)}/{_number(high)}"
    for item in camera.tracker.objects:
        values[f"object {item.id}"] = (
            f"{item.label or item.prompt}: {item.state.value}, score {item.score:.2f}"
        )
    return _status(f"{name}: {camera.topic}", level, message, values)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def _status(name: str, level: bytes, message: str, values: Mapping[str, object]) -> DiagnosticStatus:
    pairs: Iterable[KeyValue] = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(
        level=level, name=name, message=message, hardware_id="uniref_ros", values=list(pairs)
    )
