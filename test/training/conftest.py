"""What several tests of training need."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every training data set of the paper, tiny. Only read."""
    from training_sets import make_all

    return make_all(tmp_path_factory.mktemp("data"))
