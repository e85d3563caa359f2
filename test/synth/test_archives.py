"""Downloaded archives that unpack to more than is sensible, or state so, are refused before they cost it."""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from pathlib import Path

import cv2
import hostile_pictures
import pytest

from uniref_model.synth import archives
from uniref_model.synth.packs import fetch as fetching
from uniref_model.synth.packs.fetch import fetch_package

SIZE = 1 << 20


def package(path: Path) -> Path:
    """An archive with one file of SIZE bytes."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("folder/zeros", bytes(SIZE))
        return path
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("folder/zeros")
        member.size = SIZE
        archive.addfile(member, io.BytesIO(bytes(SIZE)))
    return path


@pytest.mark.parametrize("name", ["package.zip", "package.tgz"])
def test_a_package_is_unpacked_up_to_the_limit(name, tmp_path):
    path = package(tmp_path / name)
    archives.extract(path, tmp_path / "good", SIZE)
    assert (tmp_path / "good" / "folder" / "zeros").stat().st_size == SIZE
    with pytest.raises(ValueError, match=rf"{name} states {SIZE} bytes unpacked, more .* of {SIZE - 1}"):
        archives.extract(path, tmp_path / "bad", SIZE - 1)
    assert not [path for path in (tmp_path / "bad").rglob("*") if path.is_file()]


def test_a_package_that_is_refused_is_one_that_cannot_be_had(tmp_path, monkeypatch, caplog):
    downloads = tmp_path / "downloads" / "npm-huge"
    downloads.mkdir(parents=True)
    package(downloads / "huge.tgz")
    monkeypatch.setattr(fetching, "extract", lambda path, target: archives.extract(path, target, 1000))
    assert fetch_package("npm", "huge", tmp_path) is None
    assert "more than the limit of 1000" in caplog.text and not (tmp_path / "unpacked" / "npm-huge").exists()


def test_a_member_and_a_resource_are_unpacked_up_to_the_limit(tmp_path):
    with zipfile.ZipFile(package(tmp_path / "package.zip")) as archive:
        assert archives.read_member(archive, "folder/zeros", SIZE) == bytes(SIZE)
        with pytest.raises(ValueError, match=f"more than the limit of {SIZE - 1}"):
            archives.read_member(archive, "folder/zeros", SIZE - 1)
    data = zlib.compress(bytes(SIZE))
    assert archives.inflate(data, SIZE) == bytes(SIZE)
    with pytest.raises(ValueError, match=f"unpack to more than the limit of {SIZE - 1}"):
        archives.inflate(data, SIZE - 1)
    with pytest.raises(ValueError, match="cut short"):
        archives.inflate(data[:-4], SIZE)


def test_a_picture_of_an_archive_that_states_too_much_is_none():
    small = cv2.imencode(".png", hostile_pictures.PICTURE)[1].tobytes()
    assert archives.decode_picture(small, cv2.IMREAD_COLOR).shape == hostile_pictures.PICTURE.shape
    assert archives.decode_picture(hostile_pictures.huge_png(), cv2.IMREAD_COLOR) is None
    assert archives.decode_picture(b"no picture", cv2.IMREAD_COLOR) is None
