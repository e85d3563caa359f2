"""What the libraries that decode pictures write to the terminal by themselves: a line for every image of a
webcam that pads its JPEGs, without saying which camera. Here it is caught, to be counted as any error is."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache

_TERMINAL = 2  # the file descriptor of stderr, which libjpeg, libpng and OpenCV write to
_MOST_BYTES = 64 * 1024  # looked at of what was written
_OF_DECODERS = re.compile(
    rb"(?:Corrupt JPEG|Premature end of JPEG|Invalid |Unsupported |Inconsistent |Warning|libpng |imdecode_\(|"
    rb"\[ ?(?:WARN|ERROR|INFO):\d+@)"
)
"""How their lines begin, by the messages of libjpeg (jerror.h), libpng and OpenCV."""


@contextlib.contextmanager
def overheard(tell: Callable[[str], None]) -> Iterator[None]:
    """Within it the decoders' lines are kept from the terminal; `tell` is told of the first, in the end.

    What others write meanwhile gets there a little later. One thread at a time. Where there is no terminal,
    everything stays as it is.
    """
    ear, said = _ear(), b""
    try:
        with ear.lock:
            there = ear.begin()
            try:
                yield
            finally:
                said = ear.end(there)
    finally:
        if said:
            tell(said.decode(errors="replace").strip())


@lru_cache(maxsize=1)
def _ear() -> _Ear:
    return _Ear()


class _Ear:
    """A file in memory that stands in for the terminal. It cannot fill up and block, as a pipe would."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._file = os.memfd_create("uniref decoders", os.MFD_CLOEXEC)

    def begin(self) -> int | None:
        """Put the file in its place. Returns where the terminal is meanwhile, None for none."""
        try:
            there = os.dup(_TERMINAL)
        except OSError:  # it was closed, as daemons do
            return None
        os.dup2(self._file, _TERMINAL)
        return there

    def end(self, there: int | None) -> bytes:
        """Put the terminal back. Returns the decoders' first line, empty for none."""
        if there is None:
            return b""
        os.dup2(there, _TERMINAL)
        os.close(there)
        size = os.lseek(self._file, 0, os.SEEK_CUR)
        if not size:
            return b""
        lines = os.pread(self._file, min(size, _MOST_BYTES), 0).splitlines(keepends=True)
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        with contextlib.suppress(OSError):
            os.write(_TERMINAL, b"".join(line for line in lines if not _is_decoders(line)))
        return next(filter(_OF_DECODERS.match, lines), b"")


def _is_decoders(line: bytes) -> bool:
    return _OF_DECODERS.match(line) is not None or not line.strip()  # OpenCV's end in an empty line
