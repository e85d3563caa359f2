"""The thread that does the work, and the one-slot mailboxes that feed it.

Subscriptions only drop an image into a mailbox; a newer image replaces one that was not taken yet. So a slow
network makes the rate drop, never the images grow old in a queue.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")

_LONGEST_WAIT = 1.0  # s until stations are asked again: an answer may be longer than can be waited


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


@dataclass(frozen=True)
class InHand:
    """What a thread is at: whose item, and since when (time.monotonic())."""

    station: Station
    since: float


class Worker:
    """One thread that serves stations in turn, so that a busy camera does not starve the others.

    It ends when it is stopped, and by nothing else: whatever a station or `on_error` raises, the next item is
    served.
    """

    def __init__(
        self,
        stations: Sequence[Station],
        bell: threading.Condition,
        on_error: Callable[[Station, BaseException], None],
        name: str = "uniref worker",
    ) -> None:
        """bell: the condition the stations' mailboxes ring. on_error: told of what a station raised. name: of
        the thread."""
        self._stations = list(stations)
        self._bell = bell
        self._on_error = on_error
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.in_hand: InHand | None = None
        """The item that is being processed, None between items."""

    def start(self) -> None:
        """Begin; once only."""
        self._thread.start()

    def stop(self, timeout: float | None) -> bool:
        """Finish the item in hand and end. Returns False when it is still busy after `timeout` seconds, None
        waits on."""
        with self._bell:
            self._stopping = True
            self._bell.notify_all()
        if self._thread.ident is None:
            return True  # it never began
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def dead(self) -> bool:
        """Whether the thread ended (or was ended) without being asked to."""
        return self._thread.ident is not None and not self._thread.is_alive() and not self._stopping

    @property
    def thread(self) -> int | None:
        """The thread's identifier, None before it starts."""
        return self._thread.ident

    def _run(self) -> None:
        while (station := self._next()) is not None:
            item = station.mailbox.take()
            if item is None:
                continue
            self.in_hand = InHand(station, time.monotonic())
            try:
                station.process(item)
            except BaseException as error:  # SystemExit too: nothing may end the work on all other items
                self._tell(station, error)
            finally:
                self.in_hand = None
                item = None  # an image is not kept while the next one is waited for

    def _tell(self, station: Station, error: BaseException) -> None:
        with contextlib.suppress(BaseException):  # who is to be told may be what is broken
            self._on_error(station, error)

    def _next(self) -> Station | None:
        """Wait for the next station with something to do; None when stopping."""
        with self._bell:
            while not self._stopping:
                waiting = [station for station in self._stations if station.mailbox.full]
                delays = {id(station): self._delay(station) for station in waiting}
                due = [station for station in waiting if not delays[id(station)] > 0]  # not-a-number is due
                if due:
                    self._stations.remove(due[0])
                    self._stations.append(due[0])  # served last next time
                    return due[0]
                self._bell.wait(min([_LONGEST_WAIT, *delays.values()]) if delays else None)
        return None

    def _delay(self, station: Station) -> float:
        try:
            return station.ready_in(time.monotonic())
        except Exception as error:
            self._tell(station, error)
            return 0.0
