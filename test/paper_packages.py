"""Importing this skips a test module where a package that the paper's training needs is not installed."""

from __future__ import annotations

import importlib.util

import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("accelerate", reason="stages are run by accelerate")
for package in ("timm", "transformers"):  # not imported here: the network prepares torchvision for them
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the network needs {package}", allow_module_level=True)
pytest.importorskip("pycocotools", reason="COCO's masks need pycocotools")
