"""Speech to prompt without ROS: files, resampling, the grammar, what words mean, utterances, engines."""

from __future__ import annotations

import struct
import sys
import wave
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
from ears import QUIET, Says, voice_like
from speech import say, write_wav

from uniref_model.errors import AudioError, RuntimeUnavailable
from uniref_model.voice import (
    RATE,
    Heard,
    Listener,
    Resampler,
    Vocabulary,
    load_recogniser,
    read_wav,
    to_mono,
    understand,
)

needs_engine = pytest.mark.skipif(not find_spec("pocketsphinx"), reason="pocketsphinx is not installed")
needs_speech = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("espeakng_loader"),
    reason="espeakng-loader is not installed",
)


@pytest.mark.parametrize(
    ("words", "prompt"),
    [
        ("the yellow box", "the yellow box"),
        ("Follow the yellow box!", "the yellow box"),
        ("please look for my blue backpack", "my blue backpack"),
        ("find scissors", "scissors"),
        ("forget the red mug", "forget the red mug"),
        ("please stop tracking the mug", "stop tracking the mug"),
        ("forget everything", "forget everything"),
        ("delete all objects", "forget everything"),
        ("pause", "pause"),
        ("stop tracking", "stop tracking"),
        ("resume tracking please", "resume tracking"),
        ("hello how are you", None),
        ("follow the", None),
        ("the", None),
        ("forget the", None),
        ("", None),
        ("yellow", None),
        ("the man who came to dinner last night ate too much", None),
    ],
)
def test_only_instructions_become_prompts(words, prompt):
    assert understand(words) == prompt


def test_the_grammar_accepts_whole_sentences_only():
    words = Vocabulary.of(nouns=["coffee machine", "mug"])
    for sentence in (
        "the red mug",
        "please find a coffee machine",
        "forget my mug",
        "pause",
        "remove everything",
        "this is my mug",
        "call this the red coffee machine",
        "remember this as my mug",
        "forget what my mug looks like",
    ):
        assert words.accepts(sentence), sentence
    for half in ("this is", "forget what my mug", "my mug looks like"):
        assert not words.accepts(half), half
    for half in ("find the", "the red", "a mug", "forget", "find the red red red mug", "find the box", ""):
        assert not words.accepts(half), half


@pytest.mark.parametrize("noun", ["mug2", "a|b", "<x>", "naïve;"])
def test_words_that_would_break_the_grammar_are_refused(noun):
    with pytest.raises(ValueError, match="expected words"):
        Vocabulary.of(nouns=[noun])


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_a_tone_keeps_its_pitch_and_level_whatever_the_rate_and_the_chunks(rate):
    tone = (10000 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)).astype(np.int16)
    resampler = Resampler(rate)
    out = np.concatenate([resampler.process(chunk) for chunk in np.array_split(tone, [1, 7, 900, 903, 5000])])
    assert len(out) == pytest.approx(RATE, abs=0.01 * RATE)
    expected = 10000 * np.sin(2 * np.pi * 1000 * np.arange(len(out)) / RATE)
    assert np.abs(out[500:-500] - expected[500:-500]).max() < 150


def test_what_the_lower_rate_cannot_hold_is_filtered_out():
    tone = (10000 * np.sin(2 * np.pi * 12000 * np.arange(48000) / 48000)).astype(np.int16)
    assert np.abs(Resampler(48000).process(tone)[200:]).max() < 100


def write(path, samples, *, width=2, channels=1, rate=RATE):
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(samples)
    return path


def test_files_of_other_widths_and_channels_are_read_alike(tmp_path):
    ramp = np.arange(-100, 100, dtype=np.int16) * 256
    stereo = np.stack([ramp, ramp], -1).astype("<i2").tobytes()
    eight = ((ramp >> 8) + 128).astype(np.uint8).tobytes()
    wide = (ramp.astype(np.int32) << 16).astype("<i4").tobytes()
    for name, data, width, channels in (("a", stereo, 2, 2), ("b", eight, 1, 1), ("c", wide, 4, 1)):
        samples, rate = read_wav(write(tmp_path / f"{name}.wav", data, width=width, channels=channels))
        assert rate == RATE and np.array_equal(samples, ramp), name


def test_a_file_that_cannot_be_used_is_refused_with_the_reason(tmp_path):
    good = write(tmp_path / "good.wav", np.zeros(RATE, "<i2").tobytes())
    cut = tmp_path / "cut.wav"
    cut.write_bytes(good.read_bytes()[: RATE // 2])
    text = tmp_path / "text.wav"
    text.write_text("no audio at all")
    slow = write(tmp_path / "slow.wav", np.zeros(RATE, "<i2").tobytes(), rate=4000)
    empty = write(tmp_path / "empty.wav", b"")
    stub = tmp_path / "stub.wav"
    stub.write_bytes(good.read_bytes()[:20])
    reasons = {cut: "promises 16000", text: "WAV", slow: "4000 Hz", empty: "no samples", stub: "WAV"}
    for path, reason in {**reasons, tmp_path / "none.wav": "no audio file"}.items():
        with pytest.raises(AudioError, match=reason):
            read_wav(path)


def test_samples_that_do_not_divide_into_channels_are_refused():
    with pytest.raises(AudioError, match="7 samples"):
        to_mono(np.zeros(7, np.int16), 2)


@needs_engine
def test_an_utterance_is_cut_out_whole_and_judged_once():
    ears = Says(Heard("the yellow box", 0.95))
    listener = Listener(ears, trigger="always")
    sound = np.concatenate([QUIET, voice_like(1.0), QUIET])
    remarks = [remark for chunk in np.array_split(sound, 31) for remark in listener.hear(chunk)]
    assert [remark.prompt for remark in remarks] == ["the yellow box"]
    assert 1.0 <= ears.asked[0] / RATE < 2.0


@needs_engine
def test_silence_asks_no_engine():
    ears = Says()
    listener = Listener(ears, trigger="always")
    assert not [*listener.hear(np.concatenate([QUIET] * 3)), *listener.finish()]


@needs_engine
@pytest.mark.parametrize(
    ("heard", "reason"),
    [
        (Heard("the yellow box", 0.2), "confidence 0.20, at least 0.90"),
        (Heard("", 0.0), "no words"),
        (Heard("nice weather today", 0.95), "no instruction"),
    ],
)
def test_what_is_not_understood_makes_no_prompt_and_says_why(heard, reason):
    remarks = [*Listener(Says(heard), trigger="always").hear(np.concatenate([QUIET, voice_like(0.8), QUIET]))]
    assert len(remarks) == 1 and remarks[0].prompt == "" and reason in remarks[0].reason


@needs_engine
def test_the_button_decides_what_is_heard():
    ears = Says(Heard("pause", 0.95))
    listener = Listener(ears, trigger="push_to_talk")
    assert not [*listener.hear(np.concatenate([QUIET, voice_like(0.8), QUIET]))], "the button is up"
    assert not [*listener.press(True), *listener.hear(voice_like(0.8))]
    assert [remark.prompt for remark in listener.press(False)] == ["pause"]
    assert not [*listener.press(False)]
    said_nothing = [*listener.press(True), *listener.hear(QUIET), *listener.press(False)]
    assert "nothing was said" in said_nothing[0].reason


@needs_engine
def test_a_button_that_is_held_for_ever_does_not_fill_the_memory():
    listener = Listener(Says(), trigger="push_to_talk", longest=2.0)
    remarks = [*listener.press(True), *listener.hear(voice_like(5.0)), *listener.press(False)]
    assert [remark.reason for remark in remarks] == ["speech went on for more than 2 s"]


@needs_engine
def test_the_wake_word_comes_first_or_alone_before():
    said = ("the box", "hey robot the red mug", "hey robot", "pause", "the cup")
    ears = Says(*(Heard(words, 0.95) for words in said))
    listener = Listener(ears, trigger="wake_word", wake="hey robot")
    sound = np.concatenate([QUIET, voice_like(0.8), QUIET])
    remarks = [remark for _ in said for remark in listener.hear(sound)]
    assert [remark.prompt for remark in remarks] == ["the red mug", "", "pause"]
    assert "listening" in remarks[1].reason


def test_a_wake_word_is_required_where_it_is_the_trigger():
    with pytest.raises(ValueError, match="wake_word is empty"):
        Listener(Says(), trigger="wake_word")


def test_ones_own_engine_is_named_by_its_module_and_factory(monkeypatch):
    module = ModuleType("my_ears")
    module.create = lambda model: Says(Heard(model, 1.0))
    module.broken = lambda model: object()
    monkeypatch.setitem(sys.modules, "my_ears", module)
    assert load_recogniser("my_ears:create", "loud").recognise(QUIET).words == "loud"
    for engine, reason in {
        "my_ears:broken": "without teach and recognise",
        "my_ears:absent": "absent",
        "no_such_module:create": "no_such_module",
        "whispers": "expected pocketsphinx, vosk, whisper or module:factory",
        "whisper": "engine_model is '', expected the folder of a Whisper model"
        if find_spec("ctranslate2")
        else "pip install ctranslate2",
    }.items():
        with pytest.raises(RuntimeUnavailable, match=reason):
            load_recogniser(engine)


def test_vosk_is_asked_for_its_words_and_its_least_certain_one(monkeypatch, tmp_path):
    """With a double of the library: its models are downloads."""
    library = ModuleType("vosk")
    library.SetLogLevel = lambda level: None
    library.Model = lambda folder: folder

    class Decoder:
        def __init__(self, model, rate):
            assert rate == RATE

        def SetWords(self, wanted):
            assert wanted

        def Reset(self):
            self.data = b""

        def AcceptWaveform(self, data):
            self.data += data

        def FinalResult(self):
            assert len(self.data) == 2 * len(QUIET)
            return (
                '{"text": "red mug", "result": [{"word": "red", "conf": 0.9}, {"word": "mug", "conf": 0.6}]}'
            )

    library.KaldiRecognizer = Decoder
    monkeypatch.setitem(sys.modules, "vosk", library)
    assert load_recogniser("vosk", str(tmp_path)).recognise(QUIET) == Heard("red mug", 0.6)
    with pytest.raises(RuntimeUnavailable, match="engine_model is 'nowhere'"):
        load_recogniser("vosk", "nowhere")


@pytest.fixture(scope="module")
def engine():
    return load_recogniser("pocketsphinx")


def understood(engine, samples, rate):
    listener = Listener(engine, trigger="always")
    return [*listener.hear(Resampler(rate).process(samples)), *listener.finish()]


@needs_engine
@needs_speech
@pytest.mark.parametrize(
    ("text", "voice"),
    [
        ("follow the yellow box", "en-us+f2"),
        ("look for the green ball", "en-us+f4"),
        ("resume", "en-us"),
        ("call this the blue tray", "en-us+f2"),
        ("forget what my mug looks like", "en-us+michael"),
    ],
)
def test_synthesised_speech_is_understood(engine, text, voice):
    remarks = understood(engine, *say(text, voice))
    assert [remark.prompt for remark in remarks] == [understand(text)]


@needs_engine
@needs_speech
def test_other_talk_noise_and_a_wrong_rate_are_not_guessed_into_prompts(engine):
    """A rate that is wrong by two or less can pass for a slow or quick speaker: see the README's limits."""
    samples, rate = say("turn on the lights in the kitchen", "en-us")
    slow, _ = say("follow the yellow box", "en-us+f2")
    noise = np.random.default_rng(1).normal(0, 6000, 3 * RATE).clip(-32768, 32767).astype(np.int16)
    for sound, its_rate in ((samples, rate), (slow, 8000), (slow, 6 * rate), (noise, RATE)):
        assert not [remark.prompt for remark in understood(engine, sound, its_rate) if remark.prompt]


@needs_engine
def test_a_word_that_the_dictionary_lacks_is_named(engine):
    with pytest.raises(ValueError, match="zzyzxq"):
        engine.teach(Vocabulary.of(nouns=["zzyzxq"]))


@needs_engine
@needs_speech
def test_a_recording_travels_through_a_file(tmp_path):
    samples, rate = say("pause", "en-us")
    back, its_rate = read_wav(write_wav(tmp_path / "pause.wav", samples, rate))
    assert its_rate == rate and np.array_equal(back, samples)


def extensible(data: bytes, kind: int, width: int, channels: int, rate: int) -> bytes:
    """A WAV file as ffmpeg writes it for more than 16 bits or two channels."""
    guid = struct.pack("<H", kind) + bytes.fromhex("000000001000800000aa00389b71")
    block = channels * width
    head = struct.pack("<HHIIHHHHI", 0xFFFE, channels, rate, block * rate, block, 8 * width, 22, 8 * width, 3)
    chunks = b"fmt " + struct.pack("<I", 40) + head + guid
    chunks += b"LIST" + struct.pack("<I", 5) + b"Lavf\0" + b"\0"  # of odd length, padded
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize(
    ("kind", "width", "channels", "rate"),
    [
        (1, 3, 1, 48000),
        (1, 4, 2, 44100),
        (1, 2, 6, 48000),
        (3, 4, 1, 96000),
        (3, 8, 2, 16000),
        (1, 3, 6, 96000),
    ],
)
def test_wav_files_as_ffmpeg_writes_them(tmp_path, kind, width, channels, rate):
    wanted = np.arange(-300, 300, 3).astype(np.int16) * 100
    if kind == 3:
        one = (wanted / 32767).astype(f"<f{width}")[:, None]
    else:
        one = (wanted.astype("<i4") << 8 * (width - 2))[:, None]
    many = np.ascontiguousarray(np.repeat(one, channels, 1))
    data = many.tobytes() if width != 3 else many.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    if width == 2:
        data = many.astype("<i2").tobytes()
    (tmp_path / "a.wav").write_bytes(extensible(data, kind, width, channels, rate))
    samples, found = read_wav(tmp_path / "a.wav")
    assert found == rate and np.abs(samples.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize(("kind", "width"), [(2, 2), (6, 1), (85, 1), (1, 5), (3, 2)])
def test_other_sample_formats_are_refused_by_name(tmp_path, kind, width):
    (tmp_path / "a.wav").write_bytes(extensible(bytes(120), kind, width, 1, 16000))
    with pytest.raises(AudioError, match=f"samples of format {kind} with {8 * width} bits"):
        read_wav(tmp_path / "a.wav")


def test_a_stream_without_a_size_is_read_to_its_end(tmp_path):
    whole = extensible(bytes(2000), 1, 2, 1, 16000)
    (tmp_path / "a.wav").write_bytes(whole.replace(struct.pack("<I", 2000), b"\xff" * 4))
    assert len(read_wav(tmp_path / "a.wav")[0]) == 1000
