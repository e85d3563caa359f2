"""Readers of the benchmarks' published folder layouts."""

from __future__ import annotations

from ..outlines import decode_segmentation
from .base import Expression, ReferringImage, Video, VideoDataset, VideoObject
from .davis import Davis
from .davis16 import Davis16
from .lvos import Lvos
from .refcoco import RefCoco
from .referring import RefDavis, RefYoutubeVos
from .youtube_vos import YoutubeVos

__all__ = [
    "Davis",
    "Davis16",
    "Expression",
    "Lvos",
    "RefCoco",
    "RefDavis",
    "RefYoutubeVos",
    "ReferringImage",
    "Video",
    "VideoDataset",
    "VideoObject",
    "YoutubeVos",
    "decode_segmentation",
]
