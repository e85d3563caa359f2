"""Options shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from uniref_model.video import silence_ffmpeg


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run tests of a minute and more too")
    parser.addoption(
        "--golden",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="run the golden cases of DIR too",
    )


def pytest_configure(config):
    silence_ffmpeg()  # before any test opens a video: OpenCV reads the setting once
    config.addinivalue_line("markers", "slow: takes a minute or more; runs with --slow")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
