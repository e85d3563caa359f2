"""How large a picture says it is, read from its first bytes, before anybody decodes it.

A picture of a few hundred bytes may state 30000x30000 pixels, and a decoder believes it: gigabytes and half
a minute. So whoever decodes a file or message asks here first. Formats that are not known here are refused by
name rather than decoded unseen. No pixel is read and no library is used.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from uniref_model.errors import ImageError
from uniref_model.limits import MAX_FILE_BYTES, MAX_PIXELS, MAX_SCANS, MAX_UNPACKED, LimitError, check_pixels

Size = tuple[int, int]
Buffer = bytes | bytearray | memoryview

_MOST_SEGMENTS = 4096  # of a JPEG before its frame header; a profile in many parts has a few hundred
_MOST_ENTRIES = 4096  # of a TIFF's first directory
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])")
_MOST_OF_A_TEXT = 8_000_000  # bytes that libpng unpacks of one chunk
_DEFLATED = 1032  # bytes that zlib may make of one
_JPEG_SCAN = b"\xff\xda"  # begins one; within its data a zero follows every 0xff
_JPEG_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the headers that state a size
_PNM = re.compile(rb"P[1-6]\s(?:\s|#[^\r\n]*[\r\n])*(\d{1,9})(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})\s")
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}
_TIFF_SIZE, _TIFF_TILE = (256, 257), (322, 323)  # tags of width and height

_UNREADABLE = (
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"), "JPEG XL"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "AVIF"),
    (re.compile(rb"....ftyp(?:hei|mif|msf)", re.DOTALL), "HEIF"),
    (re.compile(rb"\x76\x2f\x31\x01"), "OpenEXR"),
    (re.compile(rb"#\?(?:RADIANCE|RGBE)"), "Radiance HDR"),
    (re.compile(rb"\x59\xa6\x6a\x95"), "Sun raster"),
    (re.compile(rb"P7\s"), "PAM"),
    (re.compile(rb"P[Ff]\s"), "PFM"),
    (re.compile(rb"\s*<(?:\?xml|svg)"), "SVG"),
    (re.compile(rb"%PDF"), "PDF"),
)
"""How formats begin that OpenCV or a person may take for a picture and that are refused by name."""


def check_picture(data: Buffer, what: str, limit: int = MAX_PIXELS) -> Size:
    """The size (width, height) that a picture file states, after it was found to be allowed.

    data: the whole file. what: for the error, such as "the picture a.png". limit: pixels.

    Raises:
        LimitError: more pixels than `limit`, none, a file of more than MAX_FILE_BYTES, a JPEG of too many
            scans, or a PNG with too many packed texts.
        ImageError: a format that is not known here, or a header that states no size.
    """
    if len(data) > MAX_FILE_BYTES:
        raise LimitError(f"{what} has {len(data)} bytes, more than the limit of {MAX_FILE_BYTES}")
    form = picture_format(data)
    if form not in _READERS:
        found = f"is {form}" if form else f"begins with {bytes(data[:8]).hex(' ') or 'nothing'}"
        raise ImageError(f"{what} could not be decoded: it {found}, expected {READABLE}")
    size = _read_size(form, data)
    if size is None:
        raise ImageError(f"{what} is a {form} whose header is damaged or states no size")
    check_pixels(*size, what, limit)
    if form == "JPEG":
        _check_scans(bytes(data).count(_JPEG_SCAN), size, what, limit)
    if form == "PNG":
        _check_texts(bytes(data), what)
    if form == "TIFF" and (tile := _tiff_values(data, _TIFF_TILE)):  # a decoder makes room for a whole tile
        width, height = (tile.get(tag, side) for tag, side in zip(_TIFF_TILE, size, strict=True))
        check_pixels(width, height, f"a tile of {what}", limit)
    return size


def _check_scans(count: int, size: Size, what: str, limit: int) -> None:
    """A progressive JPEG is decoded scan by scan, each over the whole picture: one of a hundred bytes costs a
    tenth of a second."""
    width, height = size
    most = MAX_SCANS * limit // (width * height)
    if count > most:
        raise LimitError(f"{what} has {count} scans of {width}x{height} pixels, expected at most {most}")


def _check_texts(data: bytes, what: str) -> None:
    """libpng unpacks every compressed text of a PNG, whether somebody wants it or not."""
    at, most = len(_PNG), 0
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        keyword = data.find(b"\0", at + 8) if name == b"iTXt" else -1
        packed = name == b"zTXt" or (keyword > 0 and data[keyword + 1 : keyword + 2] != b"\0")
        if packed:
            most += min(_MOST_OF_A_TEXT, _DEFLATED * length)
        at += 12 + length
    if most > MAX_UNPACKED:
        raise LimitError(f"{what} has texts of up to {most} bytes, more than the limit of {MAX_UNPACKED}")


def stated_size(data: Buffer) -> Size | None:
    """The size (width, height) in pixels that a picture file's header states, before any turning by EXIF.

    None: the format is not known here, or the header ends too early. A stated size may be nonsense, 0 or
    negative.
    """
    return _read_size(picture_format(data), data)


def _read_size(form: str, data: Buffer) -> Size | None:
    read = _READERS.get(form)
    try:
        return read(data) if read else None
    except (struct.error, IndexError):  # it ends in the middle of its header
        return None


def picture_format(data: Buffer) -> str:
    """The name of a picture file's format by its first bytes, "" when unknown. Not all that are named are
    readable."""
    start = bytes(data[:64])
    for form, begins in _BEGINNINGS.items():
        if begins.match(start):
            return form
    return next((name for begins, name in _UNREADABLE if begins.match(start)), "")


def _png(data: Buffer) -> Size | None:
    if bytes(data[12:16]) != b"IHDR":  # libpng too wants it first
        return None
    return struct.unpack_from(">II", data, 16)


def _jpeg(data: Buffer) -> Size | None:
    """Of the first frame header. Walks over the segments before it: a thumbnail inside one has a size too."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        # As libjpeg does: bytes before the next marker are skipped, and so are markers' fill bytes.
        marker = _JPEG_MARKER.search(data, at)
        if marker is None:
            return None
        at, kind = marker.end(), marker[1][0]
        if kind in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 3)
            return width, height
        if kind in (0xD9, 0xDA):  # the end, or pixels without a header
            return None
        if kind not in _JPEG_ALONE:
            at += struct.unpack_from(">H", data, at)[0]
    return None


def _webp(data: Buffer) -> Size | None:
    kind = bytes(data[12:16])
    if kind == b"VP8X":
        wide, high = (int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return (wide + 1, high + 1) if len(data) >= 30 else None
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and bytes(data[23:26]) == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _bmp(data: Buffer) -> Size:
    if struct.unpack_from("<I", data, 14)[0] == 12:
        return struct.unpack_from("<HH", data, 18)
    width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height)  # negative: rows from the top


def _gif(data: Buffer) -> Size:
    return struct.unpack_from("<HH", data, 6)


def _pnm(data: Buffer) -> Size | None:
    found = _PNM.match(data)
    return (int(found[1]), int(found[2])) if found else None


def _tiff(data: Buffer) -> Size | None:
    found = _tiff_values(data, _TIFF_SIZE)
    return (found[256], found[257]) if len(found) == 2 else None


def _tiff_values(data: Buffer, tags: tuple[int, int]) -> dict[int, int]:
    """The values of tags of the first directory, those that are there."""
    order = "<" if data[0] == 0x49 else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    if at > len(data):
        return {}
    count = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0]
    at, entry, value = (at + 8, 20, 12) if big else (at + 2, 12, 8)
    found: dict[int, int] = {}
    for place in range(at, at + entry * min(count, _MOST_ENTRIES), entry):
        tag, kind = struct.unpack_from(order + "HH", data, place)
        if tag in tags and kind in _TIFF_TYPES:  # of a tag given twice, libtiff too takes the first
            found.setdefault(tag, struct.unpack_from(order + _TIFF_TYPES[kind], data, place + value)[0])
    return found


_READERS: dict[str, Callable[[Buffer], Size | None]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "WebP": _webp,
    "BMP": _bmp,
    "TIFF": _tiff,
    "GIF": _gif,
    "PNM": _pnm,
}
_BEGINNINGS = {
    "PNG": re.compile(re.escape(_PNG)),
    "JPEG": re.compile(rb"\xff\xd8"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "BMP": re.compile(rb"BM"),
    "TIFF": re.compile(rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "PNM": re.compile(rb"P[1-6]\s"),
}
READABLE = ", ".join(list(_READERS)[:-1]) + f" or {list(_READERS)[-1]}"
"""The formats that are read, for people."""
