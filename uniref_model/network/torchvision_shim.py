"""Makes torchvision importable, for timm and transformers, which both import it and need nothing that is compiled."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

_library = None  # keeps the registration below alive


def prepare_torchvision() -> None:
    """Call before the first import of timm or transformers.

    torchvision's compiled operators are built against one exact build of torch. With another (typically a CPU-only
    torch beside the default torchvision wheel) they do not load, and torchvision then fails at import, because it
    registers a shape function for an operator that does not exist: "operator torchvision::nms does not exist".
    Nothing here calls that operator, so defining its schema, without an implementation, is enough to let the import
    pass. Where the real operator is there, this changes nothing.
    """
    global _library
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return  # timm says itself that it needs it; transformers does without
    except RuntimeError as error:
        if "torchvision::nms" not in str(error) or _library is not None:
            raise
        _library = torch.library.Library("torchvision", "FRAGMENT")
        _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def import_timm() -> ModuleType:
    prepare_torchvision()
    return importlib.import_module("timm")
