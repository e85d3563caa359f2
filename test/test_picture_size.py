"""What pictures say of their size, against what OpenCV makes of them, and those that lie."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from uniref_model.errors import ImageError
from uniref_model.limits import LimitError
from uniref_model.picture_size import check_picture, picture_format, stated_size

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


@pytest.mark.parametrize("name", GOOD)
def test_the_stated_size_is_that_of_the_decoded_picture(name):
    data = GOOD[name]
    if name == "JPEG with rubbish between segments":  # libjpeg skips them, Pillow does not
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    else:
        decoded = np.asarray(Image.open(io.BytesIO(data)))
    assert stated_size(data) == (decoded.shape[1], decoded.shape[0])
    assert check_picture(data, "it") == stated_size(data)
    for other in (bytearray(data), memoryview(data), np.frombuffer(data, np.uint8).data):
        assert stated_size(other) == stated_size(data)


def test_rows_from_the_top_and_old_headers_of_bmp():
    data = bytearray(GOOD["BMP"])
    struct.pack_into("<i", data, 22, -37)
    assert stated_size(data) == (61, 37)
    assert stated_size(b"BM" + bytes(12) + struct.pack("<IHH", 12, 5, 7)) == (5, 7)


@pytest.mark.parametrize("order", "<>")
def test_big_tiff(order):
    entries = [(256, 3, 1, 61), (257, 16, 1, 37)]
    data = (b"II" if order == "<" else b"MM") + struct.pack(order + "HHHQQ", 43, 8, 0, 16, len(entries))
    for tag, kind, count, value in entries:
        form = {3: "HHHH", 16: "Q"}[kind]
        data += struct.pack(order + "HHQ" + form, tag, kind, count, value, *[0] * (len(form) - 1))
    assert stated_size(data) == (61, 37)


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


@pytest.mark.parametrize("name", HUGE)
def test_a_small_file_of_a_large_picture_costs_nothing(name):
    tracemalloc.start()
    with pytest.raises(LimitError, match=r"the picture a states \d+x\d+ pixels .* limit of 64.0 megapixels"):
        check_picture(HUGE[name], "the picture a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_the_limit_may_be_another():
    assert check_picture(GOOD["PNG"], "it", 61 * 37) == (61, 37)
    with pytest.raises(LimitError, match="61x37"):
        check_picture(GOOD["PNG"], "it", 61 * 37 - 1)


@pytest.mark.parametrize(
    "data", [huge_png(0, 5), huge_jpeg(5, 0), b"P6 0 5 255 ", tiff([(256, 0), (257, 4)])], ids=picture_format
)
def test_no_pixels_are_refused(data):
    with pytest.raises(LimitError, match="states a size of"):
        check_picture(data, "it")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (by_pillow("JPEG2000"), "is JPEG 2000"),
        (b"\0\0\0 ftypavif" + bytes(20), "is AVIF"),
        (b"v/1\1" + bytes(20), "is OpenEXR"),
        (b"#?RADIANCE\n", "is Radiance HDR"),
        (by_opencv(".ras"), "is Sun raster"),
        (b"P7\nWIDTH 4\n", "is PAM"),
        (b"<svg/>", "is SVG"),
        (b"", "begins with nothing"),
        (b"hello", "begins with 68 65 6c 6c 6f"),
    ],
)
def test_other_formats_are_refused_by_name(data, named):
    known = "expected PNG, JPEG, WebP, BMP, TIFF, GIF or PNM"
    with pytest.raises(ImageError, match=f"^A could not be decoded: it {named}, {known}"):
        check_picture(data, "A")


@pytest.mark.parametrize("name", GOOD)
def test_a_header_cut_anywhere_is_an_error_for_people(name):
    data = GOOD[name]
    for length in range(min(len(data), 700)):
        try:
            check_picture(data[:length], "it")
        except (ImageError, LimitError):
            continue


@pytest.mark.parametrize("name", ["JPEG", "WebP, lossy", "BMP", "TIFF, Pillow", "PPM"])
def test_whatever_opencv_decodes_has_the_size_that_was_checked(name):
    """Headers with random damage: no picture comes out larger than what was seen before. (Of a PNG the
    checksum refuses every damage.)"""
    whole = GOOD[name]
    decoded = 0
    for _ in range(300):
        data = bytearray(whole)
        for at in RNG.integers(0, min(len(data), 64), 2):
            data[at] = RNG.integers(0, 256)
        try:
            size = check_picture(data, "it", 1_000_000)
        except (ImageError, LimitError):
            continue
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | 128)  # 128: no turning
        if picture is not None:
            assert size == (picture.shape[1], picture.shape[0])
            decoded += 1
    assert decoded


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\0", b"\xff\xd0", b"\xff\xe0\0\2", b"\0"])
def test_a_header_without_end_is_given_up(filling):
    """Megabytes before the size: linear work, and not one step a segment."""
    data = b"\xff\xd8" + filling * (4_000_000 // len(filling))
    assert stated_size(data) is None
