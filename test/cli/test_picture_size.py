"""What pictures say of their size, against what OpenCV makes of them, and those that lie."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hostile_pictures import GOOD, HUGE, RNG, by_opencv, by_pillow, huge_jpeg, huge_png, tiff
from PIL import Image

from uniref_model.errors import ImageError
from uniref_model.limits import LimitError
from uniref_model.picture_size import check_picture, picture_format, stated_size


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


def many_scans(count: int, side: int = 800) -> bytes:
    """A progressive JPEG whose last scan is there `count` times more."""
    whole = by_opencv(".jpg", np.zeros((side, side), np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    return whole[:-2] + whole[whole.rindex(b"\xff\xda") : -2] * count + whole[-2:]


def test_a_jpeg_of_endless_scans_is_refused_before_each_is_decoded():
    assert check_picture(many_scans(0), "it") == (800, 800)
    assert check_picture(many_scans(1000), "it") == (800, 800)  # little work each
    with pytest.raises(LimitError, match="it has 2006 scans of 800x800 pixels, expected at most 1600"):
        check_picture(many_scans(2000), "it")
    with pytest.raises(LimitError, match=r"expected at most 16$"):
        check_picture(many_scans(20), "it", limit=800 * 800)


def with_texts(count: int, text: bytes, kind: bytes = b"zTXt") -> bytes:
    """A small PNG with packed texts, which libpng unpacks."""
    body = (b"k\0\0" if kind == b"zTXt" else b"k\0\1\0\0\0") + zlib.compress(text, 9)
    part = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    whole = by_opencv(".png")
    return whole[:33] + count * part + whole[33:]


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_png_whose_texts_unpack_to_much_is_refused(kind):
    bomb = with_texts(40, bytes(7_900_000), kind)
    assert len(bomb) < 400_000
    with pytest.raises(LimitError, match="it has texts of up to 3"):
        check_picture(bomb, "it")
    assert check_picture(with_texts(5, bytes(1000), kind), "it") == (61, 37)  # as programs write them
