"""Files that are read whole: no more of them than allowed, and no waiting for ever.

A path is whatever a person or a data set says: a link to /dev/zero has no end, and a FIFO to which nobody
writes keeps whoever opens it. Pipes are read all the same, `<(...)` of a shell is one; but for what belongs
beside other files (a picture, a record), where a pipe can only be a mistake.
"""

from __future__ import annotations

import json
import os
import select
import stat
import time
from pathlib import Path
from typing import Any

from .errors import SourceError
from .limits import MAX_FILE_BYTES, MAX_PIPED_BYTES, LimitError
from .outputs import show

_PATIENCE = 10.0  # s for which a pipe may say nothing
_CHUNK = 1 << 20


def read_bytes(path: str | Path, limit: int = MAX_FILE_BYTES, *, ordinary: bool = False) -> bytes:
    """What a file holds. limit: in bytes; at most MAX_PIPED_BYTES for a pipe or a device. ordinary: whether
    to refuse a pipe, a device or a folder, without a look into it.

    Raises OSError as `open` does, LimitError for more, SourceError for a pipe that stays silent and for what
    is refused.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # else a FIFO waits for its writer
    try:
        status = os.fstat(handle)
        if stat.S_ISREG(status.st_mode):
            _check(status.st_size, path, limit)  # before anything is read
        elif ordinary:
            raise SourceError(f"{show(path)} is no ordinary file")
        else:
            limit = min(limit, MAX_PIPED_BYTES)
        return _read(handle, path, limit, may_wait=stat.S_ISFIFO(status.st_mode))
    finally:
        os.close(handle)


def read_text(path: str | Path, limit: int = MAX_FILE_BYTES, *, ordinary: bool = False) -> str:
    """The same as text; `\\r\\n` becomes `\\n`. Raises UnicodeDecodeError for what is no UTF-8."""
    text = read_bytes(path, limit, ordinary=ordinary).decode("utf-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_json(text: str | bytes) -> Any:
    """As `json.loads`, of a text that anybody may have written. Raises ValueError for what is no JSON, also
    where it is nested too deep."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _read(handle: int, path: str | Path, limit: int, *, may_wait: bool) -> bytes:
    data = bytearray()
    while True:
        if may_wait:
            _wait(handle, path, begun=bool(data))
        chunk = os.read(handle, min(_CHUNK, limit + 1 - len(data)))
        if not chunk:
            return bytes(data)
        data += chunk
        _check(len(data), path, limit, at_least=True)


def _wait(handle: int, path: str | Path, *, begun: bool) -> None:
    """Until a pipe has something to say or its writer is done. Raises SourceError."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    end = time.monotonic() + _PATIENCE
    while not poll.poll(max(0.0, 1000 * (end - time.monotonic()))):
        if time.monotonic() >= end:
            found = f"nothing {'more ' if begun else ''}came within {_PATIENCE:.0f} s"
            raise SourceError(f"{show(path)} is a pipe from which {found}")


def _check(size: int, path: str | Path, limit: int, *, at_least: bool = False) -> None:
    if size > limit:
        found = "more" if at_least else f"{size} bytes, more"
        raise LimitError(f"{show(path)} has {found} than the limit of {limit} bytes")
