"""Requests to end that are no ^C: they end a command as ^C does, so that files are finished, what is
temporary goes, and no child is left behind."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_REQUESTS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def stopped_as_by_a_person() -> Iterator[None]:
    """Within it SIGTERM (systemd, docker stop, timeout) and SIGHUP (a terminal that was closed) raise
    KeyboardInterrupt in the main thread. A second one ends the process at once, as without this.

    Signals that are ignored (nohup) or answered already stay as they are. Outside the main thread it does
    nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [one for one in _REQUESTS if signal.getsignal(one) is signal.SIG_DFL]

    def restore() -> None:
        for one in ours:
            signal.signal(one, signal.SIG_DFL)

    def interrupt(number: int, frame: FrameType | None) -> None:
        restore()
        raise KeyboardInterrupt(signal.Signals(number).name)

    for one in ours:
        signal.signal(one, interrupt)
    try:
        yield
    finally:
        restore()
