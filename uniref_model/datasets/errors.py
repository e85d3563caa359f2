"""Errors of data sets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import UniRefError
from ..limits import quoted


class DatasetError(UniRefError):
    """A data set on disk that is not laid out as published; the text names the file and what was expected."""


@contextmanager
def laid_out(where: object, expected: str) -> Iterator[None]:
    """For a body that takes values out of a file's text: whatever Python makes of a key that is missing, a
    list where a number should be, or a number out of range is the data's fault. where: the file; expected:
    what it should hold, for the error.

    Raises DatasetError.
    """
    try:
        yield
    except UniRefError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DatasetError(f"{where}: expected {expected} ({quoted(repr(error), 120)})") from error
