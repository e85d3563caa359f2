"""Engine whisper: what it is given, refused before anything is loaded; and, slow, the real model on
synthesised speech."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import whisper_model

pytest.importorskip("ctranslate2", reason="ctranslate2 is not installed")
pytest.importorskip("pocketsphinx", reason="pocketsphinx, which brings endpointer and dictionary, is missing")

from hub_double import HubDouble

from uniref_model.errors import RuntimeUnavailable
from uniref_model.voice import (
    RATE,
    Heard,
    Listener,
    Recogniser,
    Resampler,
    Vocabulary,
    load_recogniser,
    understand,
)
from uniref_model.voice.whisper_engine import said_once
from uniref_model.voice.whisper_files import model_folder

needs_model = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(whisper_model.missing()), reason=f"no Whisper model: {whisper_model.missing()}"),
]

DAMAGED = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model.bin": b"no model",
    "vocabulary.txt": b"words",
}


@pytest.mark.parametrize("model", ["", "no/such/folder", "bsae.en", "Systran/faster-whisper-base"])
def test_what_is_neither_a_folder_nor_a_known_name_is_refused_without_asking_the_network(model, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    with pytest.raises(RuntimeUnavailable, match=rf"engine_model is '{model}'.*base\.en"):
        load_recogniser("whisper", model)


def test_a_folder_that_lacks_files_is_refused_with_their_names(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RuntimeUnavailable, match=r"lacks model\.bin, tokenizer\.json, vocabulary\.\*"):
        load_recogniser("whisper", str(tmp_path))


def test_a_folder_with_damaged_files_is_refused(tmp_path):
    for name, content in DAMAGED.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RuntimeUnavailable, match=f"whisper cannot load {tmp_path}: "):
        load_recogniser("whisper", str(tmp_path))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Has the Hub's library ask an address instead, with an empty cache."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="huggingface_hub is not installed")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def at(address: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )

    return at


def no_server() -> str:
    """An address at which nobody serves."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_name_is_downloaded_once_and_found_without_the_network_from_then_on(hub):
    with HubDouble("Systran/faster-whisper-tiny.en", DAMAGED | {"README.md": b"words"}) as double:
        hub(double.endpoint)
        folder = model_folder("tiny.en")
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == DAMAGED
        asked = len(double.asked)
        assert model_folder("tiny.en") == folder and len(double.asked) == asked > 0
    assert model_folder("tiny.en") == folder
    with pytest.raises(RuntimeUnavailable, match=r"whisper cannot load tiny\.en: "):
        load_recogniser("whisper", "tiny.en")


def test_a_hub_that_cannot_be_reached_is_named_with_what_to_do(hub):
    hub(no_server())
    with pytest.raises(
        RuntimeUnavailable, match=r"'turbo' is not on this machine.*large-v3-turbo.*give the folder"
    ):
        load_recogniser("whisper", "turbo")


def test_a_download_that_was_cut_short_is_completed_and_until_then_refused(hub):
    with HubDouble("Systran/faster-whisper-base", DAMAGED) as double:
        hub(double.endpoint)
        (model_folder("base") / "model.bin").unlink()
        hub(no_server())
        with pytest.raises(RuntimeUnavailable, match="Systran/faster-whisper-base on the Hugging Face Hub"):
            model_folder("base")
        hub(double.endpoint)
        assert (model_folder("base") / "model.bin").read_bytes() == DAMAGED["model.bin"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" Pause. Pause.", "pause"),
        (" Find the mug. Find the mug. Find", "find the mug"),
        (" The box is a box.", "the box is a box"),
        (" 2 mugs, please!", "two mugs please"),
        (" ...", ""),
    ],
)
def test_what_is_repeated_to_the_end_was_said_once(text, words):
    assert said_once(text) == words


@pytest.fixture(scope="module")
def model() -> Path:
    return whisper_model.whisper_base()


@pytest.fixture(scope="module")
def whisper(model) -> Recogniser:
    return load_recogniser("whisper", str(model), threads=2)


def spoken(text: str, voice: str = "en-us") -> np.ndarray:
    speech = pytest.importorskip("speech")
    pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    samples, rate = speech.say(text, voice)
    return Resampler(rate).process(samples)


def remarks_on(engine: Recogniser, samples: np.ndarray, **options):
    listener = Listener(engine, **({"trigger": "always"} | options))
    return [*listener.hear(samples), *listener.finish()]


class TestRealModel:
    pytestmark = needs_model

    @pytest.mark.parametrize(
        ("text", "prompt"),
        [
            ("follow the small white plate", "the small white plate"),
            ("forget all objects", "forget everything"),
            ("pause tracking", "pause tracking"),
            ("my brother lives in london", ""),
            ("this coffee tastes awful", ""),
            ("the bottle is empty again", ""),
        ],
    )
    def test_instructions_become_prompts_and_other_talk_does_not(self, whisper, text, prompt):
        (remark,) = remarks_on(whisper, spoken(text))
        assert remark.prompt == prompt and remark.words
        assert bool(remark.prompt) != bool(remark.reason)

    def test_the_name_of_a_known_object_is_heard_and_without_it_is_not_invented(self, whisper):
        (stranger,) = remarks_on(whisper, spoken("follow bob's cup"))
        assert stranger.prompt != "Bob's cup"
        whisper.teach(Vocabulary.of(names=["Bob's cup"]))
        try:
            (friend,) = remarks_on(
                whisper, spoken("follow bob's cup"), vocabulary=Vocabulary.of(names=["Bob's cup"])
            )
        finally:
            whisper.teach(Vocabulary())
        assert friend.prompt == "Bob's cup"

    def test_the_wake_word_calls(self, whisper):
        vocabulary = Vocabulary.of(wake="hey robot")
        whisper.teach(vocabulary)
        try:
            options = {"trigger": "wake_word", "wake": "hey robot", "vocabulary": vocabulary}
            (called,) = remarks_on(whisper, spoken("hey robot, follow the small white plate"), **options)
            assert called.prompt == "the small white plate"
            assert not remarks_on(whisper, spoken("follow the small white plate"), **options)
        finally:
            whisper.teach(Vocabulary())

    @pytest.mark.parametrize("level", [0, 200, 6000])
    def test_noise_is_not_heard_as_an_instruction(self, whisper, level):
        """Past the endpointer, which lets little of it through."""
        noise = np.random.default_rng(1).normal(0, 1, 3 * RATE) * level
        heard = whisper.recognise(noise.clip(-32768, 32767).astype(np.int16))
        assert heard.confidence < 0.9 or understand(heard.meant) is None

    def test_nothing_at_all_and_much_too_much_are_survived(self, whisper):
        assert whisper.recognise(np.zeros(0, np.int16)) == Heard("", 0.0)
        long = np.tile(spoken("follow the small white plate"), 40)[: 70 * RATE]
        assert 0 <= whisper.recognise(long).confidence <= 1

    def test_threads_are_bounded(self, model):
        def count() -> int:
            return len(os.listdir("/proc/self/task"))

        before = count()
        engine = load_recogniser("whisper", str(model), threads=1)
        engine.recognise(spoken("pause"))
        assert count() - before <= 2  # the one that computes, and the library's own

    def test_a_cut_model_is_refused(self, model, tmp_path):
        for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
            shutil.copyfile(model / name, tmp_path / name)
        (tmp_path / "model.bin").write_bytes((model / "model.bin").read_bytes()[:10_000_000])
        with pytest.raises(RuntimeUnavailable, match="whisper cannot load"):
            load_recogniser("whisper", str(tmp_path))
