"""Importing timm and transformers beside a torchvision whose compiled part does not load."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

_libraries: list[torch.library.Library] = []  # keeps the declarations below alive


def declare_torchvision_operators() -> None:
    """Let `import torchvision` pass, as timm and transformers do it; call before importing those.

    torchvision's compiled operators are built against one exact build of torch. With another (typically a CPU-only
    torch beside the default torchvision wheel) they do not load, and torchvision then fails at import, because it
    registers shape functions for operators that do not exist: "operator torchvision::nms does not exist". Nothing
    here calls those operators, so defining their schemas, without an implementation, is enough. Where torchvision
    works, or is absent, this changes nothing.
    """
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _libraries:
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _libraries.append(library)


def import_timm() -> ModuleType:
    """Import timm, torchvision permitting."""
    declare_torchvision_operators()
    return importlib.import_module("timm")
