"""Options shared by all tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_runtime import FakeColourRuntime

from uniref_model.tracking import Tracker
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
    os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="uniref_test_")  # nobody's own known objects
    config.add_cleanup(lambda: shutil.rmtree(os.environ["XDG_DATA_HOME"], ignore_errors=True))
    silence_ffmpeg()  # before any test opens a video: OpenCV reads the setting once
    config.addinivalue_line("markers", "slow: takes a minute or more; runs with --slow")


@pytest.fixture
def runtime() -> FakeColourRuntime:
    """A double that sees colours; labelled so in its spec."""
    return FakeColourRuntime()


@pytest.fixture
def tracker(runtime) -> Tracker:
    return Tracker(runtime)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """PyTorch on one thread, for the tests of a module."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


GOLDEN_ROWS = pytest.StashKey[list]()


@pytest.fixture
def golden_table(request):
    """Called with a golden case, its precision and what was measured: a row of the table at the end."""
    rows = request.config.stash.setdefault(GOLDEN_ROWS, [])
    return lambda case, precision, row: rows.append((case, precision, *row))


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash.get(GOLDEN_ROWS, [])
    if not rows:
        return
    terminalreporter.section("golden values: our network against the authors'")
    titles = ("case", "precision", "tensors", "largest error / abs-max", "in", "label pixels off")
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(len(titles))]
    for row in [titles, *sorted(rows)]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        terminalreporter.write_line("  ".join(cells).rstrip())


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
