"""What /diagnostics says: one status for the node, one for each camera."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from uniref_model.errors import UniRefError
from uniref_model.limits import clipped
from uniref_model.runtime.memory import resident_mb
from uniref_model.tracking.types import FOUND_BY, TrackedObject
from uniref_ros.camera import TIMINGS, TRACK_TIMINGS, Camera
from uniref_ros.status import make_status, plain

_BURST = 5  # errors of one kind that are logged at once
_QUIET = 30.0  # s, after which one more of them is
_AHEAD = 10  # images in a row from the future until it is warned of: clocks differ by a little
_MAX_KINDS = 200  # of errors that are told apart


@dataclass
class _Kind:
    """How one kind of error has been told of. allowance: lines that may be logged now; it grows by one in
    `_QUIET` seconds. silent: errors since the last line."""

    allowance: float = float(_BURST)
    since: float = 0.0
    silent: int = 0

    def may_log(self, now: float) -> bool:
        if self.since:
            self.allowance = min(_BURST, self.allowance + (now - self.since) / _QUIET)
        self.since = now
        if self.allowance < 1.0:
            self.silent += 1
            return False
        self.allowance -= 1.0
        return True


class ErrorLog:
    """Counts errors by kind and keeps the last text. Of each kind the first few are logged, then one in half
    a minute, with how many there were. Safe between threads."""

    def __init__(self, logger: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        """logger: rclpy's; None logs nothing. clock: in seconds."""
        self._logger = logger
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._kinds: dict[str, _Kind] = {}
        self._traced: set[tuple[str, str]] = set()
        self._last = ""

    def report(self, kind: str, text: str) -> None:
        """Count an error, and log it unless it is one of many."""
        self._count(kind, text)

    def report_exception(self, kind: str, error: BaseException) -> str:
        """As `report`. An error that nobody foresaw is logged with its traceback, once for each kind.
        Returns the text for who asked."""
        foreseen = isinstance(error, UniRefError)
        text = _words_of(error) if foreseen else f"internal error: {type(error).__name__}: {_words_of(error)}"
        self._count(kind, text)
        if not foreseen and self._logger is not None and self._is_new(kind, error):
            self._logger.error("".join(traceback.format_exception(error)))
        return text

    def summary(self) -> tuple[dict[str, int], str, bool]:
        """Counts by kind, the last error's text, and whether errors came in since the last report."""
        with self._lock:
            fresh = self._counts != self._reported
            self._reported = Counter(self._counts)
            return dict(self._counts), self._last, fresh

    def _count(self, kind: str, text: str) -> None:
        line = plain(f"{kind}: {text}")
        with self._lock:
            kind = kind if kind in self._kinds or len(self._kinds) < _MAX_KINDS else "other"
            self._counts[kind] += 1
            self._last = line
            told = self._kinds.setdefault(kind, _Kind())
            may_log, missed = told.may_log(self._clock()), told.silent
            told.silent = 0 if may_log else missed
        if may_log and self._logger is not None:
            self._logger.error(f"{line} ({missed} more since the last such line)" if missed else line)

    def _is_new(self, kind: str, error: BaseException) -> bool:
        key = kind, type(error).__name__
        with self._lock:
            if key in self._traced or len(self._traced) >= _MAX_KINDS:
                return False
            self._traced.add(key)
            return True


def _words_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # some cannot even say what they are
        return "(an error without words)"


def node_status(
    name: str,
    *,
    state: str,
    enabled: bool,
    progress: str,
    facts: Mapping[str, str],
    errors: ErrorLog,
    known: Mapping[str, Any],
    warning: str = "",
    fault: str = "",
) -> DiagnosticStatus:
    """The node's own status. state: its lifecycle state. progress: what configuring is at, "" when it is not.
    facts: from `Runtime.describe`. known: from `Known.facts`. warning: what is wrong all the time, a WARN, or
    "". fault: what keeps results away, an ERROR, or ""."""
    counts, last, fresh = errors.summary()
    level, message = DiagnosticStatus.OK, state if enabled else f"{state}, paused"
    if progress:
        message = f"{message}: {progress}"
    if fresh or warning:
        level, message = DiagnosticStatus.WARN, last if fresh else warning
    if fault:
        level, message = DiagnosticStatus.ERROR, fault
    values = {
        "state": state,
        "enabled": enabled,
        "progress": progress,
        **facts,
        **known,
        "memory (MB)": _number(resident_mb()),
        **{f"errors: {kind}": count for kind, count in sorted(counts.items())},
        "last error": last,
    }
    return make_status(name, level, message, values)


def camera_status(
    name: str, camera: Camera, *, stale_after: float, max_delay: float, fault: str = ""
) -> DiagnosticStatus:
    """A camera's status: rates, latencies, and how its objects stand. stale_after: s without an image to warn
    at. max_delay: s from stamp to result to warn at, 0 never. fault: what keeps results away although images
    come, an ERROR."""
    rate_in, rate_out = camera.received.hertz(), camera.processed.hertz()
    age_50, age_95 = camera.ages.percentiles(50, 95)
    warning = camera.silence(stale_after) or _lateness(camera, age_50, max_delay) or camera.depth.warning
    level = DiagnosticStatus.WARN if warning else DiagnosticStatus.OK
    if fault:
        level, warning = DiagnosticStatus.ERROR, fault
    values = {
        "topic": camera.resolved_topic,
        "received (1/s)": f"{rate_in:.2f}",
        "processed (1/s)": f"{rate_out:.2f}",
        "dropped": camera.dropped,
        "failed": camera.failed,
        "torn": camera.torn,
        "lost in transport": camera.lost,
        "clock jumps": camera.clock_jumps,
        "image size": "x".join(map(str, reversed(camera.tracker.frame_size or ()))),
        "age at publication p50/p95 (ms)": f"{_number(age_50)}/{_number(age_95)}",
        **{f"found by {by}": camera.finds[by] for by in FOUND_BY},
        **camera.depth.facts(),
    }
    for step in (*TIMINGS, *TRACK_TIMINGS):
        middle, high = camera.times[step].percentiles(50, 95)
        label = f"track/{step}" if step in TRACK_TIMINGS else step
        values[f"{label} p50/p95 (ms)"] = f"{_number(middle)}/{_number(high)}"
    for item in camera.tracker.objects:
        values[f"object {item.id}"] = (
            f"{clipped(item.label or item.prompt)}: {item.state.value}, score {item.score:.2f}{_found(item)}"
        )
    return make_status(f"{name}: {camera.topic}", level, warning or f"{rate_out:.1f} images/s", values)


def _found(item: TrackedObject) -> str:
    view = f" {item.found.view}" if item.found.view else ""
    return f", found by {item.found.by}{view}" if item.found.by else ""


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
