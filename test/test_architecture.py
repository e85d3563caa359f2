"""docs/architecture.md names places in the code; every one is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PLACES = sorted(set(re.findall(r"`((?:uniref_ros|uniref_model)/[^`]+)`", TEXT)))


def names(body: list[ast.stmt], prefix: str = "") -> set[str]:
    """Functions, classes and, as Class.method, methods."""
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            found |= names(node.body, f"{node.name}.")
    return found


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_is_named_is_there(place):
    file, _, name = place.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert not name or name in names(tree.body), f"{file} has no {name}"


def test_there_are_five_walks_of_about_a_dozen_steps():
    walks = TEXT.split("\n## ")[1:]
    assert len(walks) == 5
    for walk in walks:
        assert 8 <= len(re.findall(r"^\d+\. ", walk, re.M)) <= 12 and "::" in walk, walk.splitlines()[0]
