"""What a file may hold in place of what it should: the same odd values everywhere in it, one at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

ODD = (
    *(None, [], {}, "x", "", -1, 2.5, True, [[1]]),
    *(float("nan"), float("inf"), 10**30, "../../a", "/etc/passwd", "a\nb\x1b[31m"),
)
_FIRST = 2  # entries of a list that are changed
_KEYS = 12  # of a mapping


def changed(value: Any) -> Iterator[Any]:
    """`value` with each odd value in each place, and without each key."""
    for path in _places(value):
        for odd in ODD:
            yield _with(value, path, odd)
        if path and isinstance(path[-1], str):
            yield _without(value, path)


def _places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    yield path
    if isinstance(value, dict):
        for key in list(value)[:_KEYS]:
            yield from _places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(min(len(value), _FIRST)):
            yield from _places(value[index], (*path, index))


def _with(value: Any, path: tuple, odd: Any) -> Any:
    if not path:
        return odd
    whole = copy.deepcopy(value)
    _holder(whole, path)[path[-1]] = odd
    return whole


def _without(value: Any, path: tuple) -> Any:
    whole = copy.deepcopy(value)
    del _holder(whole, path)[path[-1]]
    return whole


def _holder(whole: Any, path: tuple) -> Any:
    for key in path[:-1]:
        whole = whole[key]
    return whole
