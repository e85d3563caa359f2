"""The rules that parameters of our nodes follow: what a value may be, how it is read, checked and applied."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from uniref_model.limits import MAX_NAME, quoted

_QUALITY_PREFIX = "qos_overrides."
_QUALITY = {
    "history": ("keep_last", "keep_all", "system_default"),
    "reliability": ("reliable", "best_effort", "system_default", "best_available"),
    "durability": ("volatile", "transient_local", "system_default", "best_available"),
}
_MOST_HELD = 10_000  # messages of a topic


class ParameterError(ParameterException):
    """A value that a parameter cannot have; the text names it and what was expected."""

    def __init__(self, reason: str) -> None:
        Exception.__init__(self, reason)


@dataclass(frozen=True)
class Option:
    """One parameter. limits: (lowest, highest). choices: accepted strings. when: "running" (a change takes
    effect at once), "configure" (read when the node is configured, refused while it is) or "start"
    (read-only). numbered: a word that may be a whole number, such as a device's. fault: what else a value
    must be, in words, when it is not; "" when it is."""

    name: str
    default: Any
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    when: str = "running"
    numbered: bool = False
    fault: Callable[[Any], str] = lambda value: ""


_WHEN = {
    "running": "Can be changed at any time.",
    "configure": "Read when the node is configured.",
    "start": "Read at start.",
}


def declare(node: Node, options: Iterable[Option]) -> None:
    """Declare a node's parameters. Values given at start become of their parameter's type where YAML read
    them as another (`typed`), and are checked.

    Raises ParameterError.
    """
    _check_quality(node)
    given = _given(node)
    for option in options:
        value = option.default
        if option.name in given:
            value = typed(option, given[option.name].value)
            if reason := fault_of(option, value):
                raise ParameterError(reason)
        node.declare_parameter(option.name, value, _descriptor(option), ignore_override=True)


def _check_quality(node: Node) -> None:
    # rclpy reads these when a topic is made, and what it cannot read ends in its own exceptions
    for name, parameter in _given(node).items():
        policy, value = name.rpartition(".")[2], parameter.value
        if not name.startswith(_QUALITY_PREFIX):
            continue
        if policy == "depth" and not (type(value) is int and 1 <= value <= _MOST_HELD):
            raise ParameterError(f"{name} is {value}, expected 1 to {_MOST_HELD}")
        if policy in _QUALITY and value not in _QUALITY[policy]:
            raise ParameterError(f"{name} is {value!r}, expected one of {', '.join(_QUALITY[policy])}")


def unused_quality(node: Node) -> list[str]:
    """Quality of service that was given at start for a topic that the node, when active, does not have."""
    return [
        f"{quoted(name, MAX_NAME)} plays no part: expected qos_overrides.<resolved topic>."
        "<publisher|subscription>.<history|depth|reliability|durability> of a topic of this node"
        for name in _given(node)
        if name.startswith(_QUALITY_PREFIX) and not node.has_parameter(name)
    ]


def _given(node: Node) -> Mapping[str, Parameter]:
    # What was given at start, declared or not: rclpy has it, and no public way to ask for it.
    return node._parameter_overrides


def unknown(node: Node, options: Iterable[Option]) -> list[str]:
    """What was given at start under names that the node does not have, in words, with the nearest name it
    has."""
    known = [option.name for option in options]
    lines = []
    for name in _given(node):
        if node.has_parameter(name) or name.startswith(_QUALITY_PREFIX):
            continue
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        lines.append(f"there is no parameter {quoted(name)}, so what was given for it plays no part{hint}")
    return lines


def typed(option: Option, value: Any) -> Any:
    """The value as the option's type, where YAML read what was written as another: 5 for a float, yes for the
    word, one word or nothing for a list. Any other value as it is."""
    default = option.default
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(default) is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if option.numbered and type(value) is int:
        return str(value)
    if "yes" in option.choices and isinstance(value, bool):
        return "yes" if value else "no"
    if "off" in option.choices and value is False:
        return "off"
    if isinstance(default, list):
        if isinstance(value, str):
            return [value]
        if value is None or len(value) == 0:
            return [""]
    return value


def fault_of(option: Option, value: Any) -> str:
    """Why the option cannot have this value, or ""."""
    shown = quoted(value) if isinstance(value, str) else str(value)[:MAX_NAME]
    expected = _kind_expected(option, value)
    if not expected and option.choices and value not in option.choices:
        expected = f"one of {', '.join(option.choices)}"
    if not expected and option.limits and not option.limits[0] <= value <= option.limits[1]:  # NaN: neither
        expected = "{} to {}".format(*option.limits)
    expected = expected or option.fault(value)
    return f"{option.name} is {shown}, expected {expected}" if expected else ""


def _kind_expected(option: Option, value: Any) -> str:
    default = option.default
    if isinstance(default, list):
        if isinstance(value, str) or not all(isinstance(item, str) for item in value or ()):
            return f"words: in YAML yes, no and numbers need quotes, as in {option.name}:=\"['yes', '7']\""
    elif isinstance(default, str) and not isinstance(value, str):
        return f"a word: in YAML yes, no and numbers need quotes, as in {option.name}:=\"'7'\""
    elif type(value) is not type(default):
        return {bool: "true or false", int: "a whole number", float: "a number"}[type(default)]
    return ""


def follow(
    node: Node,
    options: Iterable[Option],
    check: Callable[[list[Parameter]], SetParametersResult],
    apply: Callable[[], None],
) -> None:
    """Have a node's changes of parameters typed, then checked, then, once they are made, applied.

    The one place that knows that rclpy of Humble has no callbacks before and after, but only the one that
    checks.
    """
    by_name = {option.name: option for option in options}

    def all_typed(changes: list[Parameter]) -> list[Parameter]:
        return [_typed_change(by_name.get(change.name), change) for change in changes]

    node.add_on_set_parameters_callback(check)
    if hasattr(node, "add_post_set_parameters_callback"):
        node.add_pre_set_parameters_callback(all_typed)
        node.add_post_set_parameters_callback(lambda _: apply())
        return
    for name in ("set_parameters", "set_parameters_atomically"):  # what services and programs call
        setattr(node, name, _enclosed(getattr(node, name), all_typed, apply))


def _enclosed(
    set_them: Callable[..., Any],
    all_typed: Callable[[list[Parameter]], list[Parameter]],
    apply: Callable[[], None],
) -> Callable[..., Any]:
    @functools.wraps(set_them)
    def enclosed(changes: list[Parameter]) -> Any:
        result = set_them(all_typed(changes))
        apply()
        return result

    return enclosed


def _typed_change(option: Option | None, change: Parameter) -> Parameter:
    value = change.value if option is None else typed(option, change.value)
    return change if value is change.value else Parameter(change.name, value=value)


def snapshot(node: Node, options: Iterable[Option]) -> Mapping[str, Any]:
    """Every parameter's value now, by name; it does not change any more."""
    return MappingProxyType({option.name: node.get_parameter(option.name).value for option in options})


def _descriptor(option: Option) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=f"{option.description} {_WHEN[option.when]}",
        read_only=option.when == "start",
        additional_constraints=f"One of: {', '.join(option.choices)}." if option.choices else "",
    )
    if option.limits:
        low, high = option.limits
        if isinstance(option.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    return descriptor
