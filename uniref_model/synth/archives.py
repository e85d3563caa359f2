"""What is packed in downloaded packages, unpacked no further than is sensible, whatever it states."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np

from ..errors import UniRefError
from ..picture_size import check_picture

MAX_MEMBER_BYTES = 64 * 1024**2
"""Of one model, texture or photograph of an archive."""
MAX_PACKAGE_BYTES = 16 * 1024**3
"""Of all files of a package."""


def read_member(archive: zipfile.ZipFile, name: str, most: int = MAX_MEMBER_BYTES) -> bytes:
    """A file in a zip archive, of which zipfile reads no more than it states. Raises KeyError, ValueError for
    more than `most` bytes, zipfile.BadZipFile."""
    _check(archive.getinfo(name).file_size, name, most)
    return archive.read(name)


def inflate(data: bytes, most: int = MAX_MEMBER_BYTES) -> bytes:
    """What zlib packed. Raises ValueError for more than `most` bytes and for data cut short, zlib.error."""
    stream = zlib.decompressobj()
    unpacked = stream.decompress(data, most + 1)
    if len(unpacked) > most:
        raise ValueError(f"{len(data)} bytes unpack to more than the limit of {most}")
    if not stream.eof:
        raise ValueError(f"{len(data)} packed bytes are cut short")
    return unpacked


def decode_picture(data: bytes, mode: int) -> np.ndarray | None:
    """As `cv2.imdecode`; None also for a picture whose header states more pixels than anybody may ask for."""
    try:
        check_picture(data, "a picture of an archive")
    except UniRefError:
        return None
    return cv2.imdecode(np.frombuffer(data, np.uint8), mode)


def extract(archive: Path, target: Path, most: int = MAX_PACKAGE_BYTES) -> None:
    """Unpack a zip (.zip, .whl) or tar file into a folder, never outside it. Raises ValueError for more than
    `most` bytes, before they are written; OSError, tarfile.TarError, zipfile.BadZipFile."""
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as packed:
            _check(sum(item.file_size for item in packed.infolist()), archive.name, most)
            packed.extractall(target)
        return
    total = 0

    def take(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        nonlocal total
        total += member.size
        _check(total, archive.name, most)
        return tarfile.data_filter(member, path)

    with tarfile.open(archive) as packed:
        packed.extractall(target, filter=take)


def _check(size: int, name: str, most: int) -> None:
    if size > most:
        raise ValueError(f"{name} states {size} bytes unpacked, more than the limit of {most}")
