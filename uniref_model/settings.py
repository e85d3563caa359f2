"""Settings from YAML into frozen dataclasses: every key known, every value of its type, errors by name."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .limits import MAX_SETTINGS_BYTES, shown
from .reading import read_text

T = typing.TypeVar("T")


def read_yaml(path: str | Path) -> Any:
    """What a YAML file or pipe holds. Raises ValueError naming the file for what is no YAML, and what
    `reading.read_text` raises."""
    import yaml

    try:
        return yaml.safe_load(read_text(path, MAX_SETTINGS_BYTES))
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error


def read_settings(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file or pipe, {} where it is empty. Raises as `read_yaml`, also for any other
    value."""
    values = read_yaml(path)
    if values is not None and not isinstance(values, dict):
        raise ValueError(f"{path}: expected a mapping of settings, found {type(values).__name__}")
    return values or {}


def load_settings(kind: type[T], path: str | Path) -> T:
    """`build` of a YAML file. Raises ValueError naming the file, also for one without any setting: whoever
    wants the defaults gives none."""
    values = read_settings(path)
    if not values:
        raise ValueError(f"{path} holds no settings")
    try:
        return build(kind, values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def build(kind: type[T], values: Any, where: str = "") -> T:
    """A dataclass of plain data; nested dataclasses, tuples and dicts by their annotations.

    where: the prefix under which the settings are named in errors. Raises ValueError for an unknown key, one
    without default that is missing, or a value of another type (an int will do for a float).
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where or 'settings'}: expected a mapping, found {shown(values)}")
    assert dataclasses.is_dataclass(kind)
    types = _types_of(kind)
    known = {item.name: item for item in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(known), key=str)  # YAML has keys of other types
    if unknown:
        names = ", ".join(repr(where + str(key)) for key in unknown)
        raise ValueError(f"unknown setting {names}; known here: {', '.join(known)}")
    missing = sorted(name for name, item in known.items() if name not in values and _is_required(item))
    if missing:
        raise ValueError(f"{where + missing[0]!r} is missing")
    return kind(**{key: _convert(types[key], value, where + key) for key, value in values.items()})


def check_ranges(settings: Any, ranges: Mapping[str, tuple[float, float]], pairs: bool = False) -> None:
    """Refuse numbers of a dataclass that are outside of what is allowed, by field: (lowest, highest). Of a
    tuple or mapping each entry is meant. pairs: the fields are (low, high), two in this order.

    Raises ValueError; not-a-number is in no range.
    """
    for name, (lowest, highest) in ranges.items():
        value = getattr(settings, name)
        found = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
        expected = f"{lowest:g} to {highest:g}"
        if pairs and (len(value) != 2 or not value[0] <= value[1]):
            raise ValueError(f"{name} is {shown(value)}, expected two numbers, the lower first: {expected}")
        if not all(lowest <= number <= highest for number in found):
            raise ValueError(f"{name} is {shown(value)}, expected {expected}")


_types_of = functools.cache(typing.get_type_hints)  # a data set has a mapping a line


def _is_required(item: dataclasses.Field) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _convert(kind: Any, value: Any, name: str) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return build(kind, value, name + ".")
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:  # `float | None`: the one type that it has besides None
        return None if value is None else _convert(inner[0], value, name)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{name}: expected a list, found {shown(value)}")
        return tuple(_convert(inner[0], entry, f"{name}[{index}]") for index, entry in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{name}: expected a mapping, found {shown(value)}")
        return {key: _convert(inner[1], entry, f"{name}.{key}") for key, entry in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # bool is an int in Python; a YAML `true` for a size is a mistake
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{name}: expected {getattr(kind, '__name__', kind)}, found {shown(value)}")
    return value
