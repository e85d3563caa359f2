"""Small rolling figures for messages and diagnostics; constant memory."""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np


class Rolling:
    """The last `size` values of something, with percentiles. Safe between threads."""

    def __init__(self, size: int = 300) -> None:
        self._values: deque[float] = deque(maxlen=size)
        self._lock = threading.Lock()

    def add(self, value: float) -> None:
        """Append a value; the oldest one falls out."""
        with self._lock:
            self._values.append(value)

    def percentiles(self, *ranks: float) -> tuple[float, ...]:
        """The values at these ranks (0 to 100); NaN when there are none."""
        with self._lock:
            values = list(self._values)
        if not values:
            return tuple(float("nan") for _ in ranks)
        return tuple(float(value) for value in np.percentile(values, ranks))


class Rate:
    """Events a second over the last `window` seconds. Safe between threads."""

    def __init__(self, window: float = 5.0) -> None:
        self._window = window
        self._times: deque[float] = deque(maxlen=1000)
        self._lock = threading.Lock()

    def tick(self, now: float | None = None) -> None:
        """Note one event. now: time.monotonic() unless given."""
        with self._lock:
            self._times.append(time.monotonic() if now is None else now)

    def hertz(self, now: float | None = None) -> float:
        """The rate; 0 with fewer than two events in the window."""
        now = time.monotonic() if now is None else now
        with self._lock:
            times = [moment for moment in self._times if now - moment <= self._window]
        if len(times) < 2:
            return 0.0
        return (len(times) - 1) / (times[-1] - times[0]) if times[-1] > times[0] else 0.0

    def since_last(self, now: float | None = None) -> float | None:
        """Seconds since the last event, None when there was none."""
        with self._lock:
            if not self._times:
                return None
            return (time.monotonic() if now is None else now) - self._times[-1]
