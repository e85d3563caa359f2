"""What a browser asks for, out of JSON that anybody may have written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time

from uniref_model.errors import UniRefError
from uniref_model.limits import MAX_NAME, MAX_TEXT, check_name, check_text, quoted

_MOST_PIXELS = 100_000  # of a coordinate: the tracker says where its image ends
_HIGHEST = 2**31  # of a number that browsers count with


class OrderError(UniRefError):
    """A message that is no order, or one that cannot be carried out."""


@dataclass(frozen=True)
class Click:
    """A place in the image of a stamp. not_that: the object there reaches too far, this is no part of it."""

    camera: str
    stamp: Time
    x: float
    y: float
    not_that: bool


@dataclass(frozen=True)
class Box:
    """A box (x, y, width, height) in the image of a stamp."""

    camera: str
    stamp: Time
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Say:
    """Words, typed."""

    text: str


@dataclass(frozen=True)
class Remove:
    """Forget an object."""

    object_id: str


@dataclass(frozen=True)
class Reanchor:
    """Anchor an object anew when it is next seen well."""

    object_id: str


@dataclass(frozen=True)
class Enable:
    """Process images, or pause."""

    on: bool


@dataclass(frozen=True)
class Teach:
    """Have an object that is followed known by this name."""

    object_id: str
    name: str


@dataclass(frozen=True)
class Forget:
    """Forget what the known object of this name looks like."""

    name: str


Order = Click | Box | Say | Remove | Reanchor | Enable | Teach | Forget


def read_message(text: str) -> tuple[str, dict[str, Any]]:
    """The type and the fields of a message. Raises OrderError."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OrderError(f"{quoted(text)} is no JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise OrderError(f"{quoted(text)} is no message: expected an object with a type")
    return message["type"], message


def read_order(kind: str, fields: Mapping[str, Any]) -> Order:
    """The order of this type. Raises OrderError or another UniRefError that names what is wrong."""
    reader = _READERS.get(kind)
    if reader is None:
        raise OrderError(f"there is no order {quoted(kind)}, expected one of {', '.join(_READERS)}")
    return reader(fields)


def flag(fields: Mapping[str, Any], name: str) -> bool:
    """A field that is true or false. Raises OrderError."""
    value = fields.get(name)
    if not isinstance(value, bool):
        raise OrderError(f"{name} is {quoted(value)}, expected true or false")
    return value


def whole(fields: Mapping[str, Any], name: str, most: int = _HIGHEST) -> int:
    """A field that counts something. Raises OrderError."""
    return _whole(fields.get(name), name, most)


def _whole(value: Any, name: str, most: int) -> int:
    if type(value) is not int or not 0 <= value < most:
        raise OrderError(f"{name} is {quoted(value)}, expected a whole number below {most}")
    return value


def _number(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value < _MOST_PIXELS:
        raise OrderError(f"{name} is {quoted(value)}, expected pixels of the image")
    return float(value)


def _camera(fields: Mapping[str, Any]) -> str:
    return check_text(fields.get("camera"), "the camera's name", MAX_NAME, OrderError)


def _stamp(fields: Mapping[str, Any]) -> Time:
    value = fields.get("stamp")
    if not isinstance(value, list) or len(value) != 2:
        raise OrderError(f"stamp is {quoted(value)}, expected [seconds, nanoseconds]")
    return Time(sec=_whole(value[0], "stamp", _HIGHEST), nanosec=_whole(value[1], "stamp", 1_000_000_000))


def _click(fields: Mapping[str, Any]) -> Click:
    x, y = (_number(fields.get(name), name) for name in ("x", "y"))
    return Click(_camera(fields), _stamp(fields), x, y, flag(fields, "not_that"))


def _box(fields: Mapping[str, Any]) -> Box:
    value = fields.get("box")
    if not isinstance(value, list) or len(value) != 4:
        raise OrderError(f"box is {quoted(value)}, expected [x, y, width, height]")
    x, y, width, height = (round(_number(part, "box")) for part in value)
    return Box(_camera(fields), _stamp(fields), (x, y, width, height))


def _object_id(fields: Mapping[str, Any]) -> str:
    return check_name(fields.get("id"), "the id", OrderError)


def _name(fields: Mapping[str, Any]) -> str:
    return check_name(fields.get("name"), "the name", OrderError)


def _words(fields: Mapping[str, Any]) -> str:
    text = check_text(fields.get("text"), "the text", MAX_TEXT, OrderError).strip()
    if not text:
        raise OrderError("nothing to look for: the text is empty")
    return text


_READERS: dict[str, Callable[[Mapping[str, Any]], Order]] = {
    "click": _click,
    "box": _box,
    "say": lambda fields: Say(_words(fields)),
    "remove": lambda fields: Remove(_object_id(fields)),
    "reanchor": lambda fields: Reanchor(_object_id(fields)),
    "teach": lambda fields: Teach(_object_id(fields), _name(fields)),
    "forget": lambda fields: Forget(_name(fields)),
    "enable": lambda fields: Enable(flag(fields, "on")),
}
