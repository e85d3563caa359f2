"""A picture on its way to browsers: encoded once, the same bytes for all of them."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

MAX_PICTURE = 8 * 1024 * 1024
"""Bytes of one JPEG; a larger one is not handed on."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A camera's overlay. number: counts the console's pictures. message: what a browser receives.

    message: the length of a header (uint32, little endian), the header (JSON: number, camera, stamp as
    [sec, nanosec]), then the JPEG. So the stamp travels with its pixels, and cannot be another one's.
    """

    number: int
    camera: str
    message: bytes

    @classmethod
    def of(cls, number: int, camera: str, stamp: Any, jpeg: bytes) -> Picture:
        """stamp: of the image that was drawn on (builtin_interfaces/Time)."""
        fields = {"number": number, "camera": camera, "stamp": [stamp.sec, stamp.nanosec]}
        header = json.dumps(fields).encode()
        return cls(number, camera, struct.pack("<I", len(header)) + header + jpeg)
