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

_LONGEST_WAIT = 1.0  # s until consumers are asked again: an answer may be longer than can be waited


class Mailbox(Generic[T]):
    """Holds at most one item, the newest. Safe between threads; `condition` is notified of every item."""

    def __init__(self, condition: threading.Condition) -> None:
        self._condition = condition
        self._item: T | None = None
        self.replaced = 0
        """Items that a newer one replaced before they were taken."""

    def put(self, item: T) -> None:
        """Leave an item, replacing one that is still there."""
        with self._condition:
            self.replaced += self._item is not None
            self._item = item
            self._condition.notify()

    def take(self) -> T | None:
        """The item, if there is one; the mailbox is empty then."""
        with self._condition:
            item, self._item = self._item, None
            return item

    @property
    def full(self) -> bool:
        """Whether an item waits."""
        return self._item is not None


class Consumer(Protocol):
    """What the worker serves: a mailbox and the work on its items."""

    mailbox: Mailbox[Any]

    @property
    def topic(self) -> str:
        """What it works for, for people."""

    def ready_in(self, now: float) -> float:
        """Seconds until the next item may be processed, 0 or less when at once. now: time.monotonic()."""

    def process(self, item: Any) -> None:
        """Do the work on one item."""


def due_in(started: float, rate: float, now: float) -> float:
    """Seconds until the next item may be begun at so many a second, 0 being any number; see `ready_in`."""
    return started + 1.0 / rate - now if rate > 0 else 0.0


@dataclass(frozen=True)
class InHand:
    """What a thread is at: whose item, and since when (time.monotonic())."""

    consumer: Consumer
    since: float


class Worker:
    """One thread that serves consumers in turn, so that a busy camera does not starve the others.

    It ends when it is stopped, and by nothing else: whatever a consumer or `on_error` raises, the next item
    is served.
    """

    def __init__(
        self,
        consumers: Sequence[Consumer],
        condition: threading.Condition,
        on_error: Callable[[Consumer, BaseException], None],
        name: str = "uniref worker",
    ) -> None:
        """condition: the one that the consumers' mailboxes notify. on_error: told of what a consumer raised.
        name: of the thread."""
        self._consumers = list(consumers)
        self._condition = condition
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
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
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
        while (consumer := self._next()) is not None:
            item = consumer.mailbox.take()
            if item is None:
                continue
            self.in_hand = InHand(consumer, time.monotonic())
            try:
                consumer.process(item)
            except BaseException as error:  # SystemExit too: nothing may end the work on all other items
                self._tell(consumer, error)
            finally:
                self.in_hand = None
                item = None  # an image is not kept while the next one is waited for

    def _tell(self, consumer: Consumer, error: BaseException) -> None:
        with contextlib.suppress(BaseException):  # who is to be told may be what is broken
            self._on_error(consumer, error)

    def _next(self) -> Consumer | None:
        """Wait for the next consumer with something to do; None when stopping."""
        with self._condition:
            while not self._stopping:
                waiting = [consumer for consumer in self._consumers if consumer.mailbox.full]
                delays = {id(consumer): self._delay(consumer) for consumer in waiting}
                # not-a-number is due
                due = [consumer for consumer in waiting if not delays[id(consumer)] > 0]
                if due:
                    self._consumers.remove(due[0])
                    self._consumers.append(due[0])  # served last next time
                    return due[0]
                self._condition.wait(min([_LONGEST_WAIT, *delays.values()]) if delays else None)
        return None

    def _delay(self, consumer: Consumer) -> float:
        try:
            return consumer.ready_in(time.monotonic())
        except Exception as error:
            self._tell(consumer, error)
            return 0.0
