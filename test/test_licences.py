"""What pip installs for a robot is permissive: no GPL, no AGPL, in no extra."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="tomllib comes with Python 3.11")
Requirement = pytest.importorskip("packaging.requirements", reason="packaging is not installed").Requirement

PROJECT = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())["project"]
GROUPS = {"uniref_ros itself": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
COPYLEFT = re.compile(r"(?<!L)GPL|GNU (?:Affero )?General Public License", re.IGNORECASE)
HIDDEN = {
    "av": "its wheels hold x264 and x265",
    "faster-whisper": "it needs av",
    "espeakng-loader": "eSpeak NG",
}
"""Distributions that hold GPL code, whatever their own licence says."""


def needed_by(wanted: list[str]) -> set[str]:
    """The distributions that these requirements bring, of those that are installed here."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        requirement = waiting.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in found:
            continue
        try:
            further = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        for text in further:
            inner = Requirement(text)
            if inner.marker is None or any(
                inner.marker.evaluate({"extra": extra}) for extra in requirement.extras or {""}
            ):
                waiting.append(inner)
    return found


def licence(name: str) -> str:
    """As the distribution states it; "" where it does not."""
    said = metadata.metadata(name)
    classifiers = [line for line in said.get_all("Classifier", []) if line.startswith("License")]
    return said.get("License-Expression") or "; ".join(classifiers) or (said.get("License") or "")[:80]


@pytest.mark.parametrize("group", GROUPS)
def test_nothing_that_is_installed_at_run_time_is_gpl(group):
    absent = [text for text in GROUPS[group] if not needed_by([text])]
    if len(absent) == len(GROUPS[group]):
        pytest.skip(f"nothing of {group} is installed: {', '.join(absent)}")
    brought = needed_by(GROUPS[group])
    assert not brought & HIDDEN.keys()
    assert not {name: licence(name) for name in brought if COPYLEFT.search(licence(name))}


def test_the_check_tells_gpl_from_lgpl_and_finds_what_is_brought_along():
    for text in (
        "GPL-3.0-or-later",
        "AGPLv3",
        "License :: OSI Approved :: GNU General Public License v2 (GPLv2)",
    ):
        assert COPYLEFT.search(text)
    for text in (
        "LGPL-2.1",
        "License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)",
        "MIT",
    ):
        assert not COPYLEFT.search(text)
    assert needed_by(["pytest>=8"]) >= {"pytest", "pluggy", "iniconfig"}
