"""The cache of engines, and the parity gate that each has to pass."""

from __future__ import annotations

import json
import logging
import threading

import numpy as np
import pytest

from uniref_model.errors import RuntimeUnavailable
from uniref_model.runtime.trt import engines, parity
from uniref_model.runtime.trt.engines import EngineCache, EngineKey

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


def test_empty_masks_agree_when_nearly_empty():
    expected, found = answers(), answers()
    expected["mask_logits"][:] = found["mask_logits"][:] = -5.0
    found["mask_logits"][0, 3, 3] = 5.0
    assert parity.compare(expected, found) == []
