"""The same words, masks and frames for every runtime whose answers are compared."""

from __future__ import annotations

import numpy as np

from uniref_model.runtime.base import FrameFeatures, LanguageReference, MaskReference, Runtime


def three_frames(
    runtime: Runtime,
) -> tuple[LanguageReference, list[MaskReference], list[MaskReference], FrameFeatures]:
    """Encoded words, three masks in a first and in a previous frame of noise, and a frame to look in."""
    images = np.random.default_rng(0).integers(0, 256, (3, *runtime.size, 3), np.uint8)
    masks = np.zeros((3, *runtime.size), np.float32)
    for row in range(3):
        masks[row, 20 + 10 * row : 90, 40 : 160 + 30 * row] = 1
    first, previous = (runtime.encode_reference(runtime.encode_image(image), masks) for image in images[:2])
    return runtime.encode_text("the red mug"), first, previous, runtime.encode_image(images[2])
