"""Writes depth as compressed_depth_image_transport does (its codec.cpp, by its own default parameters)."""

from __future__ import annotations

import struct

import cv2
import numpy as np

DEPTH_MAX, DEPTH_QUANTISATION = 10.0, 100.0


def pack(samples: np.ndarray) -> bytes:
    """u16 mm or f32 m [h,w] -> the data of a CompressedImage."""
    a = b = 0.0
    if samples.dtype == np.float32:
        a = DEPTH_QUANTISATION * (DEPTH_QUANTISATION + 1.0)
        b = 1.0 - a / DEPTH_MAX
        known = np.isfinite(samples) & (samples > 0) & (samples < DEPTH_MAX)
        inverse = a / np.where(known, samples, DEPTH_MAX) + b
        samples = np.where(known, np.clip(inverse, 0, 65535), 0).astype(np.uint16)
    _, png = cv2.imencode(".png", samples)
    return struct.pack("<iff", 0, a, b) + png.tobytes()
