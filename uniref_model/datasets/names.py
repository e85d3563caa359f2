"""Names that come out of data and become paths: one plain component each, within the data's own folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ..errors import SourceError
from ..limits import LimitError, quoted
from .errors import DatasetError


def plain_name(name: object, what: str) -> str:
    """`name`, when it can be one file's or folder's name. what: for the error, such as "the video id".

    Raises DatasetError for what is no text, empty, hidden, absolute, or holds a separator.
    """
    if (
        not isinstance(name, str)
        or not name.strip()
        or name.startswith(".")
        or any(letter in name for letter in "/\\\0")
        or not name.isprintable()
        or len(name.encode("utf-8", "replace")) > 200
    ):
        raise DatasetError(f"{what} is {quoted(name)}, expected one plain name: it becomes a file's name")
    return name


def inside(root: Path, name: object, what: str) -> Path:
    """The path `name` below `root`. Raises DatasetError for one that leads elsewhere, or is none."""
    path = PurePosixPath(name if isinstance(name, str) and name.isprintable() else "")
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise DatasetError(f"{what} is {quoted(name)}, expected a path within {root}")
    return root / path


@contextmanager
def as_dataset_error() -> Iterator[None]:
    """A picture that cannot be read is the data's fault here."""
    try:
        yield
    except (SourceError, LimitError) as error:
        raise DatasetError(str(error)) from error
