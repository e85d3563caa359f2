"""Masks by dynamic convolution (Tian et al., CondInst, ECCV 2020): each query writes its own small
network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniref_model.network.config import MaskHeadConfig
from uniref_model.network.decoder import MLP

MASK_CHANNELS = 8
STRIDE = 4  # of the mask logits to the input
# the dynamic network: 10 inputs (dx, dy, 8 features) -> 8 -> 8 -> 1; all weights first, then all biases
PARAMETER_SIZES = (80, 64, 8, 8, 8, 1)

ImageSize = tuple[int, int] | Tensor
"""(height, width) of every image of a batch, or int64 [N, 2] where they differ."""


class MaskHead(nn.Module):
    def __init__(self, config: MaskHeadConfig, channels: int, res2_channels: int):
        super().__init__()
        self.coordinate_span = config.coordinate_span
        self.lay3 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.lay4 = nn.Conv2d(channels, channels, 3, 1, 1)
        # a plain convolution, in spite of the authors' name
        self.dcn = nn.Conv2d(channels, channels, 3, 1, 1)
        self.lay1 = nn.Conv2d(channels, config.reduce, 3, 1, 1)
        self.lay2 = nn.Conv2d(config.reduce, MASK_CHANNELS, 3, 1, 1)
        self.lateral_conv = nn.Conv2d(res2_channels, MASK_CHANNELS, 1)
        self.output_conv = nn.Conv2d(MASK_CHANNELS, MASK_CHANNELS, 3, 1, 1)
        self.mask_conv = nn.Conv2d(MASK_CHANNELS, MASK_CHANNELS, 1)
        self.controller = MLP(channels, channels, sum(PARAMETER_SIZES))

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)
        for layer in self.controller.layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def features(self, memory: list[Tensor], lateral: Tensor) -> Tensor:
        """memory at strides 8, 16, 32 [N, C, h, w], lateral = lateral_conv(res2) [N, 8, H/4, W/4] -> [N, 8,
        H/4, W/4]."""
        x = F.relu(self.lay3(memory[2]))
        x = F.relu(self.lay4(memory[1] + F.interpolate(x, size=memory[1].shape[-2:], mode="nearest")))
        x = F.relu(self.dcn(memory[0] + F.interpolate(x, size=memory[0].shape[-2:], mode="nearest")))
        x = F.relu(self.lay2(F.relu(self.lay1(x))))
        x = F.interpolate(x, size=lateral.shape[-2:], mode="bilinear", align_corners=False)
        return self.mask_conv(F.relu(self.output_conv(lateral + x)))

    def forward(self, features: Tensor, hidden: Tensor, reference: Tensor, image_size: ImageSize) -> Tensor:
        """One mask a query.

        features [N, 8, h, w]; hidden [N, K, C] of the chosen queries; reference [N, K, 4] the boxes their
        layer started from, 0..1 of `image_size` (height, width, without padding) -> logits [N, K, h, w].
        """
        return self.apply_dynamic(features, self.controller(hidden), reference, image_size)

    def apply_dynamic(
        self, features: Tensor, params: Tensor, reference: Tensor, image_size: ImageSize
    ) -> Tensor:
        batch, count = params.shape[:2]
        height, width = features.shape[-2:]
        w0, w1, w2, b0, b1, b2 = params.split(PARAMETER_SIZES, -1)
        w0 = w0.unflatten(-1, (MASK_CHANNELS, 2 + MASK_CHANNELS))  # [N, K, 8 out, 10 in]
        # reference point minus pixel centre, in pixels unless the config has another unit
        x = torch.arange(width, dtype=features.dtype, device=features.device) * STRIDE + STRIDE // 2
        y = torch.arange(height, dtype=features.dtype, device=features.device) * STRIDE + STRIDE // 2
        image_height, image_width = image_size if isinstance(image_size, tuple) else _columns(image_size)
        unit = 1.0 if self.coordinate_span is None else self.coordinate_span / image_width
        dx = (reference[..., 0:1] * image_width - x) * unit  # [N, K, w]
        dy = (reference[..., 1:2] * image_height - y) * unit  # [N, K, h]
        # a 1x1 convolution of [dx, dy, features]; dx and dy vary along one axis only, so they are never
        # spread out
        z = (w0[..., 2:].flatten(1, 2) @ features.flatten(2)).reshape(
            batch, count, MASK_CHANNELS, height, width
        )
        z = (
            z
            + (w0[..., 0:1] * dx[:, :, None])[..., None, :]
            + (w0[..., 1:2] * dy[:, :, None] + b0[..., None])[..., None]
        )
        z = F.relu(z).reshape(batch * count, MASK_CHANNELS, height * width)
        w1 = w1.reshape(batch * count, MASK_CHANNELS, MASK_CHANNELS)
        z = F.relu(w1 @ z + b1.reshape(batch * count, MASK_CHANNELS, 1))
        z = w2.reshape(batch * count, 1, MASK_CHANNELS) @ z + b2.reshape(batch * count, 1, 1)
        return z.reshape(batch, count, height, width)


def _columns(sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Heights and widths of [N, 2], each [N, 1, 1]."""
    return sizes[:, 0, None, None], sizes[:, 1, None, None]


def aligned_bilinear(x: Tensor, factor: int) -> Tensor:
    """CondInst's upsampling [N, K, h, w] -> [N, K, factor * h, factor * w], used for mask-referred video
    (VOS)."""
    height, width = x.shape[-2:]
    x = F.pad(x, (0, 1, 0, 1), mode="replicate")
    x = F.interpolate(x, (factor * height + 1, factor * width + 1), mode="bilinear", align_corners=True)
    x = F.pad(x, (factor // 2, 0, factor // 2, 0), mode="replicate")
    return x[:, :, : factor * height, : factor * width]
