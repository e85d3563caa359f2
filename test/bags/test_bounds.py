"""Bags that lie about how much there is in them: refused by value and limit, before it costs memory or disk,
and nothing else is disturbed."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from fake_runtime import FakeColourRuntime, scene

pytest.importorskip("rosbags", reason="rosbags is not installed here (pip install rosbags)")

from bag_maker import images, write_bag, zstd
from hostile_bags import MAGIC, mcap, packed, record, text

from uniref_model.bags import bounds, reader
from uniref_model.bags.reader import Bag, is_bag
from uniref_model.bags.source import BagSource
from uniref_model.cli import main
from uniref_model.errors import SourceError
from uniref_model.limits import LimitError
from uniref_model.offline import model as model_choice

BOMB = 64 << 20  # bytes that a few thousand unpack to


@pytest.fixture(autouse=True)
def fake(monkeypatch) -> None:
    monkeypatch.setattr(model_choice, "load_runtime", lambda *_, **__: FakeColourRuntime())


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return [scene(("red", (40 + 3 * index, 32, 48, 40))) for index in range(4)]


def read_all(path: Path) -> None:
    bag = Bag(path)
    try:
        list(bag.messages({"/image"}))
    finally:
        bag.close()


@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "scanned"])
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_chunk_is_unpacked_no_further_than_it_states(compression, indexed, tmp_path):
    bomb = packed(bytes(BOMB), compression)
    path = mcap(tmp_path / "bag.mcap", [(bomb, compression, 1000)], indexed=indexed)
    tracemalloc.start()
    try:
        with pytest.raises(
            SourceError, match=r"bag.mcap.* unpacks to more than the 1000 bytes that it states"
        ):
            read_all(path)
        assert tracemalloc.get_traced_memory()[1] < BOMB / 8
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "scanned"])
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_chunk_that_states_too_much_is_refused_unread(compression, indexed, tmp_path):
    path = mcap(tmp_path / "bag.mcap", [(b"anything", compression, 1 << 40)], indexed=indexed)
    with pytest.raises(
        SourceError, match=r"a chunk of 1099511627776 bytes, more than the limit of 536870912"
    ):
        read_all(path)


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("damage", [lambda data: data[:-6], lambda data: data[:9] + b"\xff" * 9 + data[18:]])
def test_a_damaged_chunk_is_an_error_that_names_the_bag(damage, compression, tmp_path):
    content = record(0x03, bytes(np.random.default_rng(0).integers(0, 255, 500, np.uint8)))
    path = mcap(
        tmp_path / "bag.mcap",
        [(damage(packed(content, compression)), compression, len(content))],
        indexed=True,
    )
    with pytest.raises(SourceError, match=r"bag\.mcap cannot be read"):
        read_all(path)


def test_a_record_that_states_gigabytes_is_not_read(tmp_path):
    """A file of holes costs nothing on the disk, and all of it once it is read."""
    path = tmp_path / "bag.mcap"
    size = 2 << 30
    path.write_bytes(MAGIC + record(0x01, text("ros2") + text("")) + struct.pack("<BQ", 0x06, size))
    with path.open("r+b") as file:
        file.seek(size, os.SEEK_CUR + 1)
        file.write(record(0x02, bytes(20)) + MAGIC)
    with pytest.raises(SourceError, match=rf"a record of {size} bytes, more than the limit of 536870912"):
        read_all(path)


def test_chunks_that_would_be_unpacked_at_the_same_time_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "MAX_HELD_BYTES", 2500)
    chunks = [(packed(bytes(1000), "zstd"), "zstd", 1000)] * 3
    with pytest.raises(SourceError, match=r"chunks of one time have 3000 bytes .* the limit of 2500"):
        Bag(mcap(tmp_path / "bag.mcap", chunks, indexed=True))


# ---- compressed by message, by file ----


def test_a_message_that_unpacks_to_too_much_is_one_image_less(frames, tmp_path, monkeypatch, capfd):
    recorded = images(frames)
    recorded[1] = (*recorded[1][:3], bytes(BOMB))
    bag = write_bag(tmp_path / "bag", recorded, "sqlite3 message zstd")
    monkeypatch.setattr(reader, "MAX_CHUNK_BYTES", BOMB // 16)
    tracemalloc.start()
    try:
        source = BagSource(bag)
        assert [frame.index for frame in source] == [0, 2, 3]
        assert tracemalloc.get_traced_memory()[1] < BOMB / 4
    finally:
        tracemalloc.stop()
    told = "image 1 of /image: a message on /image unpacks to more than the limit of 4194304 bytes"
    assert source.first_refusal == told
    assert main(["track", "--quiet", str(bag), "--prompt", "red", "--masks", str(tmp_path / "masks")]) == 0
    assert told in " ".join(capfd.readouterr().err.split())


@pytest.fixture
def by_file(frames, tmp_path, monkeypatch) -> Path:
    """A bag that is compressed by file; what is unpacked goes to tmp_path/"unpacked"."""
    (tmp_path / "unpacked").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "unpacked"))
    return write_bag(tmp_path / "bag", images(frames), "sqlite3 file zstd")


def left(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "unpacked").rglob("*") if path.is_file()]


def test_nothing_unpacked_stays_even_while_it_is_read(by_file, frames, tmp_path):
    source = BagSource(by_file)
    assert left(tmp_path) == []
    assert all(np.array_equal(found.image, frame) for found, frame in zip(source, frames, strict=True))
    source.close()
    assert list((tmp_path / "unpacked").iterdir()) == []


@pytest.mark.parametrize("stated", [True, False])
def test_a_file_that_unpacks_to_too_much_is_refused(stated, by_file, tmp_path, monkeypatch):
    file = next(by_file.glob("*.zstd"))
    if stated:
        file.write_bytes(zstd().compress(bytes(BOMB)))
    else:
        with zstd().open(file, "wb") as written:
            written.write(bytes(BOMB))
    monkeypatch.setattr(reader, "MAX_UNPACKED_BYTES", BOMB - 1)
    found = rf"states {BOMB} bytes unpacked, more" if stated else "unpacks to more"
    with pytest.raises(SourceError, match=rf"bag_?0?\.db3\.zstd {found} than the limit of {BOMB - 1} bytes"):
        Bag(by_file)
    assert list((tmp_path / "unpacked").iterdir()) == []


def test_a_file_that_the_disk_has_no_room_for_is_refused(by_file, tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "_OF_FREE", 0)
    with pytest.raises(SourceError, match=r"more than the 0 bytes there is room for in .*TMPDIR"):
        Bag(by_file)
    assert list((tmp_path / "unpacked").iterdir()) == []


def test_a_recorder_that_was_killed_as_it_compressed(by_file, frames, tmp_path):
    file = next(by_file.glob("*.zstd"))
    second = write_bag(tmp_path / "rest", [(t, k, when + 10**9, m) for t, k, when, m in images(frames)])
    whole = next(second.glob("*.mcap")).rename(by_file / "bag_1.mcap")
    whole.with_name("bag_1.mcap.zstd").write_bytes(file.read_bytes()[:50])
    (by_file / "metadata.yaml").unlink()
    assert is_bag(by_file) and is_bag(file)
    assert len(list(BagSource(by_file))) == 2 * len(frames)


# ---- metadata ----


def test_a_bag_that_lacks_a_file_says_which(frames, tmp_path):
    bag = write_bag(tmp_path / "bag", images(frames))
    next(bag.glob("*.mcap")).unlink()
    with pytest.raises(SourceError, match=r"bag lacks 1 of its 1 files: 'bag\.mcap'"):
        Bag(bag)


def test_metadata_without_end_is_not_read(frames, tmp_path):
    bag = write_bag(tmp_path / "bag", images(frames))
    os.truncate(bag / "metadata.yaml", 1 << 34)
    with pytest.raises(SourceError, match=r"17179869184 bytes, more than the limit of 16777216"):
        Bag(bag)


def test_a_row_of_sqlite_that_is_made_large_is_refused(frames, tmp_path, monkeypatch):
    """A column may be generated: a few bytes of a file that come out as many."""
    import sqlite3

    from uniref_model.bags import library

    bag = write_bag(tmp_path / "bag", images(frames), "sqlite3")
    with sqlite3.connect(next(bag.glob("*.db3"))) as base:
        base.executescript(
            "CREATE TABLE kept AS SELECT id, topic_id, timestamp FROM messages; DROP TABLE messages;"
            "CREATE TABLE messages(id INTEGER, topic_id INTEGER, timestamp INTEGER, "
            f"data BLOB GENERATED ALWAYS AS (zeroblob({BOMB})) VIRTUAL);"
            "INSERT INTO messages(id, topic_id, timestamp) SELECT * FROM kept"
        )
    base.close()
    monkeypatch.setattr(library, "MAX_CHUNK_BYTES", BOMB // 16)
    with pytest.raises(SourceError, match="too big"):
        read_all(bag)


def test_unpacking_stops_at_the_limit_and_not_before():
    data = os.urandom(1000)
    frames = zstd().compress(data) + zstd().compress(data)
    assert bounds.unpack_zstd(frames, 2000, "") == 2 * data
    with pytest.raises(LimitError, match="too much"):
        bounds.unpack_zstd(frames, 1999, "too much")
    lz4 = packed(data, "lz4")
    assert bounds.unpack_lz4(lz4, 1000, "") == data
    with pytest.raises(LimitError, match="too much"):
        bounds.unpack_lz4(lz4, 999, "too much")
