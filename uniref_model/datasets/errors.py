"""Errors of the evaluation package."""

from __future__ import annotations

from ..errors import UniRefError


class DatasetError(UniRefError):
    """A data set on disk that is not laid out as published; the text names the file and what was expected."""
