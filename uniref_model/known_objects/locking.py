"""One writer at a time in a folder, among all processes; a killed one lets go by dying."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import KnownObjectError
from ..outputs import make_folder, show, told

LOCK = ".lock"
_PATIENCE = 10.0  # s that a writer waits for another, who needs milliseconds
_PAUSE = 0.01


@contextlib.contextmanager
def locked(folder: Path, patience: float = _PATIENCE) -> Iterator[None]:
    """Be the only writer in a folder, which is made if need be. Raises KnownObjectError when another one does
    not let go for `patience` s, SourceError when the folder cannot be written to."""
    handle = hold(folder, patience)
    try:
        yield
    finally:
        os.close(handle)


def hold(folder: Path, patience: float = 0.0) -> int:
    """As `locked`, until the handle that is returned is closed, or the process ends in whatever way."""
    make_folder(folder)
    with told(folder):
        # Links are not followed: who shares the folder is not to have us lock, or make, a file elsewhere.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        handle = os.open(folder / LOCK, flags, 0o666)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(handle)
                raise KnownObjectError(f"{show(folder)} is in use by another process") from None
            time.sleep(_PAUSE)
        except OSError as error:  # some network file systems have no locks
            os.close(handle)
            raise KnownObjectError(f"{show(folder)} cannot be locked: {error.strerror or error}") from error
