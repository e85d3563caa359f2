"""Picture files of every format, good ones, and small ones that claim to be huge."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (37, 61, 3)).astype(np.uint8)


def by_opencv(ending: str, picture: np.ndarray = PICTURE, *options: int) -> bytes:
    return cv2.imencode(ending, picture, list(options))[1].tobytes()


def by_pillow(form: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PICTURE).convert(mode).save(file, form, **options)
    return file.getvalue()


def with_thumbnail() -> bytes:
    """A JPEG whose EXIF segment holds a whole JPEG of another size."""
    thumbnail = by_opencv(".jpg", PICTURE[:8, :16])
    whole = by_opencv(".jpg")
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + whole[2:]


def with_rubbish() -> bytes:
    """A JPEG with bytes between its segments, which libjpeg skips."""
    whole = by_opencv(".jpg")
    return whole[:20] + b"\0\xff\0ab\xff\xff" + whole[20:]


GOOD = {
    "PNG": by_opencv(".png"),
    "PNG, grey, 16 bits": by_opencv(".png", PICTURE[..., 0].astype(np.uint16) * 257),
    "PNG, palette": by_pillow("PNG", "P"),
    "JPEG": by_opencv(".jpg"),
    "JPEG, progressive": by_opencv(".jpg", PICTURE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "JPEG with a thumbnail": with_thumbnail(),
    "JPEG with rubbish between segments": with_rubbish(),
    "WebP, lossy": by_pillow("WEBP"),
    "WebP, lossless": by_pillow("WEBP", lossless=True),
    "WebP, extended": by_pillow("WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"),
    "BMP": by_opencv(".bmp"),
    "TIFF": by_opencv(".tiff"),
    "TIFF, Pillow": by_pillow("TIFF"),
    "PPM": by_opencv(".ppm"),
    "PGM, text, with a remark": b"P2 # of 9 9 pixels\n3 2\n255\n1 2 3 4 5 6\n",
    "GIF": by_pillow("GIF", "P"),
}


def huge_png(width: int = 30000, height: int = 30000) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def huge_jpeg(width: int = 30000, height: int = 30000) -> bytes:
    data = bytearray(by_opencv(".jpg", PICTURE[:8, :8]))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def huge_webp() -> bytes:
    data = bytearray(GOOD["WebP, lossy"])
    struct.pack_into("<HH", data, 26, 0x3FFF, 0x3FFF)
    return bytes(data)


def huge_bmp() -> bytes:
    data = bytearray(GOOD["BMP"])
    struct.pack_into("<ii", data, 18, 30000, -30000)
    return bytes(data)


def tiff(entries: list[tuple[int, int]]) -> bytes:
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)


HUGE = {
    "PNG": huge_png(),
    "JPEG": huge_jpeg(),
    "WebP": huge_webp(),
    "BMP": huge_bmp(),
    "TIFF": tiff([(256, 30000), (257, 30000)]),
    "TIFF of small size and large tiles": tiff([(256, 16), (257, 16), (322, 1 << 15), (323, 1 << 15)]),
    "PPM": b"P6\n30000 30000\n255\nabc",
    "PBM": b"P4 30000 30000 a",
    "GIF": b"GIF89a" + struct.pack("<HH", 30000, 30000) + bytes(3),
}
