"""Parameters as people write them: of another type, out of range, misspelt. One real node, no executor."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

from uniref_model.limits import MAX_THREADS
from uniref_ros import parameter_rules as rules
from uniref_ros import parameters
from uniref_ros.parameter_rules import ParameterError
from uniref_ros.parameters import OPTIONS


@pytest.fixture(scope="module")
def context() -> Iterator[rclpy.Context]:
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    yield context
    rclpy.try_shutdown(context=context)


@pytest.fixture
def make(context) -> Iterator:
    """Makes a node with the tracker's parameters, given these values at start."""
    nodes: list[Node] = []

    def make(**given: object) -> Node:
        overrides = [
            Parameter(name, Parameter.Type.NOT_SET) if value is None else Parameter(name, value=value)
            for name, value in given.items()
        ]
        node = Node(f"parameters_{len(nodes)}", context=context, parameter_overrides=overrides)
        nodes.append(node)
        rules.declare(node, OPTIONS)
        return node

    yield make
    for node in nodes:
        node.destroy_node()


READ_AS_ANOTHER = [
    ("image_rectified", True, "yes"),
    ("image_rectified", False, "no"),
    ("max_rate", 5, 5.0),
    ("stale_after", 3, 3.0),
    ("max_objects", 3.0, 3),
    ("cameras", "front", ["front"]),
    ("cameras", None, [""]),
    ("prompts", None, [""]),
    ("prompts", "the red mug", ["the red mug"]),
]


@pytest.mark.parametrize(("name", "given", "meant"), READ_AS_ANOTHER)
def test_what_yaml_reads_as_another_type_is_taken_as_meant(make, name, given, meant):
    value = make(**{name: given}).get_parameter(name).value
    assert value == meant and type(value) is type(meant)


@pytest.mark.parametrize(("name", "given", "meant"), [row for row in READ_AS_ANOTHER if row[1] is not None])
@pytest.mark.parametrize("humble", [False, True], ids=["callbacks before and after", "Humble has none"])
def test_and_so_is_what_is_set_later(make, monkeypatch, name, given, meant, humble):
    node, applied = make(), []
    if humble:
        monkeypatch.delattr(Node, "add_pre_set_parameters_callback")
        monkeypatch.delattr(Node, "add_post_set_parameters_callback")
    rules.follow(
        node,
        OPTIONS,
        lambda changes: parameters.result(parameters.refusal(changes, configured=False)),
        lambda: applied.append(node.get_parameter(name).value),
    )
    (result,) = node.set_parameters([Parameter(name, value=given)])
    assert result.successful, result.reason
    assert node.get_parameter(name).value == meant
    assert applied[-1] == meant, "applied once it is set"


WRONG = [
    ("max_rate", 1e-11, "0 or at least 0.001"),
    ("max_rate", 5e-324, "0 or at least"),
    ("max_rate", math.nan, "0.0 to 1000.0"),
    ("max_rate", -1.0, "0.0 to 1000.0"),
    ("max_rate", True, "a number"),
    ("threads", 5000, f"0 to {MAX_THREADS}"),
    ("threads", 2**62, f"0 to {MAX_THREADS}"),
    ("max_objects", 3.5, "a whole number"),
    ("autostart", 1, "true or false"),
    ("device", "tpu", "auto, cpu, cuda"),
    ("on_hang", True, "quotes"),
    ("model", 5, "quotes"),
    ("model", None, "a word"),
    ("prompts", [True, False], "quotes"),
    ("prompts", [7, 8], "quotes"),
    ("cameras", ["my cam"], "letters"),
    ("cameras", ["7up"], "letters"),
    ("cameras", ["/front"], "letters"),
    ("cameras", ["front/"], "letters"),
    ("cameras", ["a\nb"], "letters"),
    ("cameras", ["ä"], "letters"),
    ("cameras", ["x" * 300], "letters"),
    ("cameras", ["a", "a"], "each name once"),
    ("cameras", [f"c{i}" for i in range(1000)], "at most"),
]


@pytest.mark.parametrize(("name", "given", "expected"), WRONG)
def test_a_wrong_value_is_refused_with_its_name_and_what_was_expected(make, name, given, expected):
    with pytest.raises(ParameterError) as caught:
        make(**{name: given})
    text = str(caught.value)
    assert text.startswith(f"{name} is ") and expected in text
    assert text.isprintable() and len(text) < 600


NUMBERS = [option for option in OPTIONS if type(option.default) in (int, float)]


@pytest.mark.parametrize("option", NUMBERS, ids=lambda option: option.name)
def test_every_number_has_a_range_and_nothing_outside_it_is_taken(make, option):
    low, high = option.limits
    kind = type(option.default)
    outside = [low - 1, high + 1, -(2**63), 2**63 - 1]
    if kind is float:
        outside += [math.nan, math.inf, -math.inf, 1e308, -1e308]
    for value in outside:
        with pytest.raises(ParameterError, match=option.name):
            make(**{option.name: kind(value)})
    for value in (low, high, option.default):
        node = make(**{option.name: kind(value)})
        assert node.get_parameter(option.name).value == kind(value)
        (result,) = node.set_parameters([Parameter(option.name, value=kind(high + 1))])
        assert not result.successful


def test_misspelt_names_are_said_with_the_nearest(make):
    node = make(lost_afte=3, cameras=["front"], zebra=1)
    lines = rules.unknown(node, OPTIONS)
    assert len(lines) == 2
    assert "'lost_afte'" in lines[0] and "lost_after" in lines[0].split("mean")[1]
    assert "'zebra'" in lines[1] and "mean" not in lines[1]


def test_a_snapshot_does_not_change(make):
    node = make()
    before = rules.snapshot(node, OPTIONS)
    node.set_parameters([Parameter("max_rate", value=5.0), Parameter("model", value="other")])
    after = rules.snapshot(node, OPTIONS)
    assert before["max_rate"] == 0.0 and after["max_rate"] == 5.0
    assert parameters.differing(before, after, "configure") == ["model"]
    with pytest.raises(TypeError):
        before["max_rate"] = 1.0
