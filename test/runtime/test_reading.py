"""Files that are read whole: bounded, and never waited for without end."""

from __future__ import annotations

import os
import threading

import pytest

from uniref_model import reading
from uniref_model.errors import ModelFileError, SourceError
from uniref_model.limits import MAX_SETTINGS_BYTES, LimitError
from uniref_model.reading import parse_json, read_bytes, read_text
from uniref_model.runtime.text import PromptTokenizer
from uniref_model.settings import read_settings


def test_a_file_is_read_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("ä\r\nb\rc".encode())
    assert read_text(path) == "ä\nb\nc"
    assert read_bytes(path, 8) == path.read_bytes()


def test_a_file_of_more_than_the_limit_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "sparse.yaml"
    with path.open("wb") as file:
        file.truncate(20 * 1024**3)
    with pytest.raises(LimitError, match=r"sparse.yaml has 21474836480 bytes, more than .* of 1048576"):
        read_settings(path)


@pytest.mark.parametrize("limit", [MAX_SETTINGS_BYTES, 1 << 40])
def test_a_device_without_end_is_refused(tmp_path, limit):
    path = tmp_path / "link.yaml"
    path.symlink_to("/dev/zero")
    with pytest.raises(LimitError, match=r"link.yaml has more than the limit of \d+ bytes"):
        read_bytes(path, limit)


@pytest.mark.parametrize("read", [read_bytes, read_text])
def test_where_a_pipe_can_only_be_a_mistake_none_is_read(tmp_path, read):
    (tmp_path / "zero").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("zero", "pipe", "folder"):
        with pytest.raises(SourceError, match=f"{name} is no ordinary file"):
            read(tmp_path / name, ordinary=True)
    (tmp_path / "file").write_text("a")
    assert len(read(tmp_path / "file", ordinary=True)) == 1


def test_settings_may_come_from_a_pipe(tmp_path):
    # as `<(...)` of a shell gives them: the path of a pipe
    path = tmp_path / "pipe"
    os.mkfifo(path)
    text = "sources: {a: 1}\nname: " + 100_000 * "x"

    def write():
        with path.open("w") as file:
            file.write(text)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    assert read_settings(path) == {"sources": {"a": 1}, "name": 100_000 * "x"}
    writer.join(5)


def test_a_writer_that_comes_late_is_waited_for(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Timer(0.3, lambda: path.write_text("late: 1"))
    writer.start()
    assert read_settings(path) == {"late": 1}
    writer.join()


@pytest.mark.parametrize("begun", [False, True])
def test_a_silent_pipe_is_given_up(tmp_path, monkeypatch, begun):
    monkeypatch.setattr(reading, "_PATIENCE", 0.2)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    if begun:
        os.write(writer, b"half: ")
    found = "nothing more came" if begun else "nothing came"
    try:
        with pytest.raises(SourceError, match=found):
            read_settings(path)
    finally:
        os.close(writer)


def test_a_pipe_without_a_writer_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_PATIENCE", 0.2)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(SourceError, match="is a pipe from which nothing came within 0 s"):
        read_text(path)


def test_what_cannot_be_opened_says_so_as_ever(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        read_text(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"a: \0",
        b"a: [1, 2",
        b"\xff\xfe\xfd",
        b"[" * 5000,
        b"a: \x1b[2J",
        b"a: *nobody",
        b"!!python/object:os.x {}",
    ],
)
def test_settings_that_are_no_yaml_are_an_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.yaml is no YAML: ") as refused:
        read_settings(path)
    assert str(refused.value).isprintable()


def test_a_tokenizer_that_is_none_is_refused_without_waiting(tmp_path):
    pytest.importorskip("tokenizers")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    (tmp_path / "other").write_text("{}")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(20 * 1024**3)
    for name in ("pipe", "zero", "noise", "other", "sparse", "nothing"):
        with pytest.raises(ModelFileError, match=f"{name} is not a tokenizer file"):
            PromptTokenizer(tmp_path / name, 20)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a":' * 100_000, b"\xff"])
def test_json_that_is_none_or_nested_too_deep_is_one_kind_of_error(text):
    with pytest.raises(ValueError):
        parse_json(text)
    assert parse_json('{"a": [1]}') == {"a": [1]}
