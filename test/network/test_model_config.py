"""A model's settings: what is wrong is named, what is right comes back."""

from __future__ import annotations

import json

import pytest

from uniref_model.network.config import ModelConfig


@pytest.mark.parametrize(
    "change, message",
    [
        ({"hiden": 64}, "unknown setting 'hiden'"),
        ({"transformer": {"layers": 2}}, "unknown setting 'transformer.layers'"),
        ({"hidden": "64"}, "hidden: expected int, found '64'"),
        ({"hidden": True}, "hidden: expected int, found True"),
        ({"hidden": 50}, "hidden is 50; expected a multiple of 32"),
        ({"fusion": {"mode": "sum"}}, "fusion.mode is 'sum'; expected one of parallel,"),
        ({"fusion": {"references": "last"}}, "fusion.references is 'last'"),
        ({"text": {"encoder": "clip"}}, "text.encoder is 'clip'"),
        ({"backbone": {"channels": [1, 2]}}, "backbone.channels needs 4 entries"),
        ({"input": {"resize": "stretch"}}, "input.sizes is empty"),
        ({"input": {"sizes": [[250, 448]]}}, "multiples of 64"),
        ({"input": 3}, "input.: expected a mapping"),
    ],
)
def test_config_errors_name_the_setting(change, message):
    with pytest.raises(ValueError) as error:
        ModelConfig.from_dict({"name": "x", **change})
    assert message in str(error.value)


def test_config_files(tmp_path):
    with pytest.raises(ValueError, match=r"no model named 'uniref_big'; known: .*uniref_nano"):
        ModelConfig.from_name("uniref_big")
    path = tmp_path / "x.yaml"
    path.write_text("- 1\n")
    with pytest.raises(ValueError, match=r"x\.yaml: expected a mapping of settings"):
        ModelConfig.from_yaml(path)
    nano = ModelConfig.from_name("uniref_nano")
    assert ModelConfig.from_dict(json.loads(json.dumps(nano.to_dict()))) == nano


def test_nested_anchors_do_not_fill_memory_in_an_error(tmp_path):
    """Nine levels of nine: written out, 9 ** 9 times "lol"."""
    lines = ["a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join([*lines, "hidden: *i"]))
    with pytest.raises(ValueError, match="bomb") as error:
        ModelConfig.from_yaml(path)
    assert len(str(error.value)) < 2000


def test_configs_are_found_in_one_order_for_models_and_benchmarks():
    from uniref_model.configs import config_files

    assert {"uniref_nano", "uniref_r50", "uniref_swin_l"} <= set(config_files("models"))
    assert {"davis16", "davis17", "refcoco"} <= set(config_files("eval"))
