"""The thread that does the work, and the one-slot mailboxes that feed it.

Subscriptions only drop an image into a mailbox; a newer image replaces one that was not taken yet. So a slow
network makes the rate drop, never the images grow old in a queue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Holds at most one item, the newest. Safe between threads; `bell` is rung when an item arrives."""

    def __init__(self, bell: threading.Condition) -> None:
        self._bell = bell
        self._item: T | None = None
        self.replaced = 0
        """Items that a newer one replaced before they were taken."""

    def put(self, item: T) -> None:
        """Leave an item, replacing one that is still there."""
        with self._bell:
            self.replaced += self._item is not None
            self._item = item
            self._bell.notify()

    def take(self) -> T | None:
        """The item, if there is one; the mailbox is empty then."""
        with self._bell:
            item, self._item = self._item, None
            return item

    @property
    def full(self) -> bool:
        """Whether an item waits."""
        return self._item is not None


class Station(Protocol):
    """What the worker serves: a mailbox and the work on its items."""

    mailbox: Mailbox[Any]

    def ready_in(self, now: float) -> float:
        """Seconds until the next item may be processed, 0 or less when at once. now: time.monotonic()."""

    def process(self, item: Any) -> None:
        """Do the work on one item."""


class Worker:
    """One thread that serves stations in turn, so that a busy camera does not starve the others."""

    def __init__(
        self,
        stations: Sequence[Station],
        bell: threading.Condition,
        on_error: Callable[[Station, Exception], None],
    ) -> None:
        """bell: the condition the stations' mailboxes ring. on_error: told of what `process` raised; work
        goes on."""
        self._stations = list(stations)
        self._bell = bell
        self._on_error = on_error
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="uniref worker", daemon=True)

    def start(self) -> None:
        """Begin; once only."""
        self._thread.start()

    def stop(self, timeout: float | None) -> bool:
        """Finish the item in hand and end. Returns False when it is still busy after `timeout` seconds, None
        waits on."""
        with self._bell:
            self._stopping = True
            self._bell.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (station := self._next()) is not None:
            item = station.mailbox.take()
            if item is None:
                continue
            try:
                station.process(item)
            except (
                Exception
            ) as error:  # one bad image must not end the work on all others; on_error makes it known
                self._on_error(station, error)

    def _next(self) -> Station | None:
        """Wait for the next station with something to do; None when stopping."""
        with self._bell:
            while not self._stopping:
                waiting = [station for station in self._stations if station.mailbox.full]
                delays = {id(station): station.ready_in(time.monotonic()) for station in waiting}
                due = [station for station in waiting if delays[id(station)] <= 0]
                if due:
                    self._stations.remove(due[0])
                    self._stations.append(due[0])  # served last next time
                    return due[0]
                self._bell.wait(min(delays.values()) if delays else None)
        return None
