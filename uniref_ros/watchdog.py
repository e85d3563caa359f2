"""Sees what no longer moves: an image that is never done, a worker that died, callbacks that are not served.

It looks from a thread of its own, so it sees another that hangs deep in a library, and says in which step.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from uniref_ros.worker import Worker

PERIOD = 0.25  # s between looks
PATIENCE = 5
"""With `on_hang: exit`, what does not move for so many times `stale_after` ends the process."""
HUNG = 75
"""Exit status of a process that ended itself because it hung: EX_TEMPFAIL, worth another try."""

_STEPS = {
    "_decode": "decode",
    "_decompressed": "decode",
    "encode_text": "encode_text",
    "encode_image": "encode_image",
    "encode_fitted": "encode_image",
    "encode_reference": "encode_reference",
    "segment": "segment",
    "step": "track",
    "locate": "depth",
    "publish": "publish",
    "publish_objects": "publish",
    "publish_overlays": "publish",
}
"""By the name of the function that a thread is in: the runtime's verbs, and the steps of a camera's work."""


@dataclass(frozen=True)
class Stuck:
    """Something that has been going on for too long. what: for people. step: "" when it is in none of the
    known ones. thread: its identifier."""

    what: str
    step: str
    seconds: float
    thread: int | None

    def __str__(self) -> str:
        where = f" in {self.step}" if self.step else ""
        return f"{self.what} hangs{where} for {self.seconds:.1f} s"


def step_of(thread: int | None) -> str:
    """The innermost known step that a thread is in, "" for none."""
    frame = None if thread is None else sys._current_frames().get(thread)
    while frame is not None:
        step = _STEPS.get(frame.f_code.co_name)
        if step is not None:
            return step
        frame = frame.f_back
    return ""


def stack_of(thread: int | None) -> str:
    """Where a thread is, as a traceback has it; "" when it is gone."""
    frame = None if thread is None else sys._current_frames().get(thread)
    return "".join(traceback.format_stack(frame)) if frame is not None else ""


def stuck_item(worker: Worker, limit: float) -> Stuck | None:
    """What a worker has had in hand for more than `limit` seconds."""
    in_hand = worker.in_hand
    if in_hand is None:
        return None
    seconds = time.monotonic() - in_hand.since
    if seconds <= limit:
        return None
    return Stuck(in_hand.consumer.topic, step_of(worker.thread), seconds, worker.thread)


class Heartbeat:
    """Whether callbacks are served: whoever serves them beats, and the silence since can be read."""

    def __init__(self) -> None:
        self._last: tuple[float, int | None] | None = None

    def expect(self) -> None:
        """From now on there is someone to serve callbacks, as far as is known the main thread."""
        if self._last is None:
            self._last = time.monotonic(), threading.main_thread().ident

    def beat(self) -> None:
        """Called from the thread that serves callbacks."""
        self._last = time.monotonic(), threading.get_ident()

    def excuse(self) -> None:
        """What keeps callbacks waiting just now may do so; the silence begins anew."""
        if self._last is not None:
            self._last = time.monotonic(), self._last[1]

    def stuck(self, limit: float) -> Stuck | None:
        """The callback that has kept all others waiting for more than `limit` seconds. None before someone
        serves callbacks: that is the program's own affair."""
        if self._last is None:
            return None
        last, thread = self._last
        seconds = time.monotonic() - last
        return Stuck("a callback", step_of(thread), seconds, thread) if seconds > limit else None


class Watchdog:
    """A thread that looks every `PERIOD` seconds, whatever a look raises."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uniref watchdog", daemon=True)

    def start(self) -> None:
        """Begin; once only."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for a look that is being taken."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD):
            with contextlib.suppress(Exception):  # the context may be going down
                self._look()
