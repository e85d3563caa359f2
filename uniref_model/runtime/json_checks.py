"""Values of a JSON file, checked one key after another: who gets one may use it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ModelFileError
from ..limits import MAX_NAME, quoted

Check = Callable[[Any], Any]
"""A value as it is to be used; raises `Expected` with words for what it should be."""


class Expected(Exception):
    """Says what was expected."""


class Keys:
    """The keys of one JSON object, taken one after another; `left` are those that were not."""

    def __init__(self, values: Mapping[str, Any], where: str, prefix: str = "") -> None:
        self.left, self._where, self._prefix = dict(values), where, prefix

    def take(self, key: str, check: Check, *default: Any) -> Any:
        """Raises ModelFileError that names the file, the key, its value and what was expected."""
        if key not in self.left:
            if not default:
                raise ModelFileError(f"{self._where} lacks the key {self._prefix + key!r}")
            return default[0]
        value = self.left.pop(key)
        try:
            return check(value)
        except Expected as expected:
            raise ModelFileError(
                f"{self._where} is malformed: {self._prefix}{key} is {quoted(json.dumps(value))}, "
                f"expected {expected}"
            ) from None


def that(
    expected: str, fits: Callable[[Any], bool], make: Callable[[Any], Any] = lambda value: value
) -> Check:
    """A check in words, as a test, and what to make of what passes."""

    def check(value: Any) -> Any:
        if not fits(value):
            raise Expected(expected)
        return make(value)

    return check


def integer(low: int, high: int) -> Check:
    return that(  # JSON's true is an int to Python
        f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high
    )


def number(low: float, high: float) -> Check:
    def fits(value: Any) -> bool:
        return type(value) in (int, float) and math.isfinite(value) and low <= value <= high

    return that(f"a number from {low:g} to {high:g}", fits, float)


def one_of(known: tuple[str, ...]) -> Check:
    return that(f"one of {', '.join(known)}", lambda value: isinstance(value, str) and value in known)


def listed(part: Check, count: int | None = None) -> Check:
    """A list of so many values, or of 1 to 64, as a tuple."""
    expected = f"{count} values in a list" if count else "a list that is not empty, of at most 64 values"

    def fits(value: Any) -> bool:
        return isinstance(value, list) and (len(value) == count if count else 0 < len(value) <= 64)

    return that(expected, fits, lambda value: tuple(part(item) for item in value))


flag = that("true or false", lambda value: isinstance(value, bool))
mapping = that("an object", lambda value: isinstance(value, dict))
short_text = that(
    f"a text of 1 to {MAX_NAME} printable characters",
    lambda value: isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable(),
)
