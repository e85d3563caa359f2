"""The cache of engines, and the parity gate that each has to pass."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from uniref_model.errors import RuntimeUnavailable
from uniref_model.runtime import engines, parity
from uniref_model.runtime.engines import EngineCache, EngineKey

KEY = EngineKey("segment_x1", {"graph": "abc", "gpu": "double", "objects": 1})


def test_an_engine_is_built_once_and_found_again(tmp_path):
    cache = EngineCache(tmp_path / "new" / "folder")
    assert cache.get(KEY, lambda: b"engine") == (b"engine", True)
    assert cache.get(KEY, pytest.fail) == (b"engine", False)
    other = EngineKey(KEY.name, {**KEY.facts, "gpu": "another"})
    assert cache.get(other, lambda: b"other") == (b"other", True)
    assert not list(cache.folder.glob("*.part"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda engine, note: engine.write_bytes(engine.read_bytes()[:3]),
        lambda engine, note: engine.unlink(),
        lambda engine, note: note.unlink(),
        lambda engine, note: note.write_text("{"),
        lambda engine, note: note.write_text("[]"),
        lambda engine, note: note.write_text(json.dumps({"facts": {}, "sha256": ""})),
    ],
)
def test_a_damaged_engine_is_built_again(tmp_path, damage):
    cache = EngineCache(tmp_path)
    cache.get(KEY, lambda: b"engine")
    damage(tmp_path / f"{KEY.stem}.engine", tmp_path / f"{KEY.stem}.json")
    assert cache.get(KEY, lambda: b"again") == (b"again", True)
    assert cache.get(KEY, pytest.fail) == (b"again", False)


def test_a_failed_build_leaves_nothing(tmp_path):
    cache = EngineCache(tmp_path)
    with pytest.raises(RuntimeUnavailable):
        cache.get(KEY, lambda: (_ for _ in ()).throw(RuntimeUnavailable("no")))
    assert not list(tmp_path.glob("*.engine")) and not list(tmp_path.glob("*.json"))
    assert cache.get(KEY, lambda: b"engine") == (b"engine", True)


def test_two_at_once_build_once(tmp_path):
    started, go = threading.Event(), threading.Event()
    built, results = [], []

    def build() -> bytes:
        built.append(1)
        started.set()
        assert go.wait(30)
        return b"engine"

    threads = [
        threading.Thread(target=lambda: results.append(EngineCache(tmp_path).get(KEY, build)))
        for _ in range(2)
    ]
    threads[0].start()
    assert started.wait(30)
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(30)
    assert len(built) == 1 and sorted(new for _, new in results) == [False, True]


def test_a_long_build_says_please_wait(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(engines, "PATIENCE", 0.01)
    said = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record):
            if "still building" in record.getMessage():
                said.set()

    listener = Listener()
    logging.getLogger(engines.__name__).addHandler(listener)
    try:
        with caplog.at_level(logging.INFO):
            EngineCache(tmp_path).get(KEY, lambda: b"engine" if said.wait(30) else b"")
    finally:
        logging.getLogger(engines.__name__).removeHandler(listener)
    assert said.is_set() and "please wait" in caplog.text and "built in" in caplog.text


def test_engines_used_longest_ago_make_room(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "MAX_CACHE_BYTES", 25)
    cache = EngineCache(tmp_path)
    keys = [EngineKey(f"segment_x{count}", {"objects": count}) for count in range(3)]
    for age, key in zip((300, 200), keys, strict=False):
        cache.get(key, lambda: b"ten bytes!")
        os.utime(tmp_path / f"{key.stem}.engine", (age, age))
    cache.get(keys[0], pytest.fail)  # used now, so the other one is the oldest
    cache.get(keys[2], lambda: b"ten bytes!")
    assert [cache.has(key) for key in keys] == [True, False, True]
    assert not (tmp_path / f"{keys[1].stem}.json").exists()
    monkeypatch.setattr(engines, "MAX_CACHE_BYTES", 5)
    large = EngineKey("large", {})
    assert cache.get(large, lambda: b"ten bytes!") == (b"ten bytes!", True)
    assert cache.has(large) and not any(cache.has(key) for key in keys), "what was built now stays"


# --- a folder that others can write to ---------------------------------------------------------------------


def planted(folder: Path, content: bytes = b"planted") -> tuple[Path, Path]:
    """An engine and a note that vouches for it, whole in every respect but who wrote them."""
    engine, note = folder / f"{KEY.stem}.engine", folder / f"{KEY.stem}.json"
    engine.write_bytes(content)
    note.write_text(json.dumps({"facts": KEY.facts, "sha256": hashlib.sha256(content).hexdigest()}))
    return engine, note


def test_what_this_user_wrote_is_taken(tmp_path):
    planted(tmp_path, b"own")
    assert EngineCache(tmp_path).get(KEY, pytest.fail) == (b"own", False)


@pytest.mark.parametrize("which", [0, 1], ids=["engine", "note"])
@pytest.mark.parametrize(
    "how",
    [
        pytest.param(
            lambda path: os.chown(path, 12345, 12345),
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's file"),
            id="of another user",
        ),
        pytest.param(lambda path: path.chmod(0o666), id="writable by all"),
        pytest.param(lambda path: path.chmod(0o660), id="writable by a group"),
        pytest.param(lambda path: path.symlink_to(path.rename(path.with_suffix(".elsewhere"))), id="a link"),
        pytest.param(lambda path: (path.unlink(), os.mkfifo(path)), id="a pipe"),
        pytest.param(lambda path: (path.unlink(), path.symlink_to("/dev/zero")), id="a device"),
    ],
)
def test_an_engine_that_another_user_could_have_written_is_not_taken(tmp_path, which, how):
    how(planted(tmp_path)[which])
    cache = EngineCache(tmp_path)
    assert cache.get(KEY, lambda: b"built") == (b"built", True)
    assert cache.get(KEY, pytest.fail) == (b"built", False), "and is replaced by what was built"


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_a_lock_that_is_no_file_neither_destroys_nor_hangs(tmp_path, kind):
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    lock = tmp_path / f"{KEY.stem}.lock"
    if kind == "pipe":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(precious if kind == "link" else tmp_path / "nowhere")
    assert EngineCache(tmp_path).get(KEY, lambda: b"engine") == (b"engine", True)
    assert precious.read_text() == "keep me" and not (tmp_path / "nowhere").exists()


def test_a_lock_as_earlier_versions_left_it_is_taken(tmp_path):
    """Made with whatever the umask allowed; nothing is read from it."""
    lock = tmp_path / f"{KEY.stem}.lock"
    lock.touch()
    lock.chmod(0o664)
    assert EngineCache(tmp_path).get(KEY, lambda: b"engine") == (b"engine", True)
    assert EngineCache(tmp_path).get(KEY, pytest.fail) == (b"engine", False)


def test_what_killed_builders_left_is_swept(tmp_path):
    own, old, young = (tmp_path / name for name in (f"{KEY.stem}.engineab.part", "x.part", "y.part"))
    for path in (own, old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    EngineCache(tmp_path).get(KEY, lambda: b"engine")
    assert not own.exists() and not old.exists()
    assert young.exists(), "another key's builder may be at work on it"


def test_an_engine_of_no_bytes_is_neither_taken_nor_kept(tmp_path):
    planted(tmp_path, b"")
    with pytest.raises(RuntimeUnavailable, match="0 bytes"):
        EngineCache(tmp_path).get(KEY, lambda: b"")
    assert EngineCache(tmp_path).get(KEY, lambda: b"engine") == (b"engine", True)
    assert {path.stat().st_mode & 0o77 for path in tmp_path.iterdir()} == {0}


# --- the gate ----------------------------------------------------------------------------------------------


def answers() -> dict[str, np.ndarray]:
    logits = np.full((2, 32, 56), -5.0, np.float32)
    logits[:, 8:24, 10:40] = 5.0
    return {
        "score": np.array([0.9, 0.1], np.float32),
        "box": np.full((2, 4), 0.5, np.float32),
        "mask_logits": logits,
        "src0": np.linspace(-3, 3, 60, dtype=np.float32),
    }


def test_equal_and_slightly_different_answers_pass():
    assert parity.compare(answers(), answers()) == []
    near = {name: value + np.float32(0.004) for name, value in answers().items()}
    assert parity.compare(answers(), near) == []


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("score", lambda a: a + 0.03, "score: differs"),
        ("box", lambda a: a + 0.02, "box: differs"),
        ("mask_logits", lambda a: np.roll(a, 1, axis=2), "mask IoU"),
        ("mask_logits", lambda a: np.stack([a[0], -a[1]]), "mask IoU 0.0000"),
        ("src0", lambda a: a * 1.05, "relative error"),
        ("src0", lambda a: np.where(a > 2, np.nan, a), "not finite"),
        ("box", lambda a: a[:1], "shape"),
    ],
)
def test_wrong_answers_do_not_pass(name, change, message):
    found = answers()
    found[name] = change(found[name])
    (problem,) = parity.compare(answers(), found)
    assert message in problem


def test_pixels_about_zero_may_lie_on_either_side():
    expected, found = answers(), answers()
    expected["mask_logits"][0, 3], found["mask_logits"][0, 3] = 0.01, -0.01
    assert parity.compare(expected, found) == []
    expected["mask_logits"][0, 3] = np.abs(expected["mask_logits"][0]).max() / 4
    assert any("mask IoU" in problem for problem in parity.compare(expected, found))


def test_empty_masks_agree_when_nearly_empty():
    expected, found = answers(), answers()
    expected["mask_logits"][:] = found["mask_logits"][:] = -5.0
    found["mask_logits"][0, 3, 3] = 5.0
    assert parity.compare(expected, found) == []
