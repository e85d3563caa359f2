"""Makes torchvision importable, for timm and transformers, which both import it and need nothing that is
compiled."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

import torch

_libraries: dict[str, torch.library.Library] = {}  # keeps the registrations below alive


def prepare_torchvision() -> None:
    """Call before the first import of timm or transformers.

    torchvision's compiled operators are built against one exact build of torch. With another (typically a
    CPU-only torch beside the default torchvision wheel) they do not load, and torchvision then fails at
    import, because it registers a shape function for each of a few operators that do not exist: "operator
    torchvision::nms does not exist". Nothing here calls those operators, so defining their schemas, without
    an implementation, is enough to let the import pass. Where the real operators are there, this changes
    nothing.
    """
    while True:
        try:
            importlib.import_module("torchvision")
            return
        except ImportError:
            return  # timm says itself that it needs it; transformers does without
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None or missing[1] in _libraries:
                raise
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{missing[1]}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _libraries[missing[1]] = library


def import_timm() -> ModuleType:
    prepare_torchvision()
    return importlib.import_module("timm")
