"""Whisper's spectrogram: what can be said of it by hand, and against transformers'."""

from __future__ import annotations

import numpy as np
import pytest

from uniref_model.voice.audio import RATE
from uniref_model.voice.spectrogram import HOP, log_mel


def tone(hertz: float, loudness: float = 8000, seconds: float = 0.5) -> np.ndarray:
    return (loudness * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.int16)


@pytest.mark.parametrize(("hertz", "band"), [(200, 4), (1000, 26), (4000, 62)])
def test_a_tone_is_loudest_in_the_band_of_its_mel(hertz, band):
    """80 bands over 45.25 mels, up to 8 kHz; 200 Hz is mel 3, 1000 Hz 15, 4000 Hz 15 + 27 log 4 / log 6.4."""
    assert (np.argmax(log_mel(tone(hertz), 80)[:, 5:-5], axis=0) == band).all()


def test_ten_times_the_amplitude_is_two_decades_more():
    quiet, loud = log_mel(tone(1000, 100), 80), log_mel(tone(1000, 1000), 80)
    assert loud[26, 20] - quiet[26, 20] == pytest.approx(2 / 4, abs=0.01)


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("length", [1, HOP, RATE + 7])
def test_a_frame_every_hop_within_eight_decades_of_the_loudest(bands, length):
    sound = np.random.default_rng(1).normal(0, 3000, length).astype(np.int16)
    spectrogram = log_mel(sound, bands)
    assert spectrogram.shape == (bands, length // HOP + 1) and spectrogram.dtype == np.float32
    assert np.ptp(spectrogram) <= 8 / 4


def test_silence_is_the_faintest_there_is():
    assert log_mel(np.zeros(RATE, np.int16), 80) == pytest.approx((-10 + 4) / 4)


@pytest.mark.parametrize("bands", [80, 128])
def test_it_is_what_the_network_was_trained_on(bands):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    extract = transformers.WhisperFeatureExtractor(feature_size=bands)
    sound = np.random.default_rng(1).normal(0, 3000, 3 * RATE).astype(np.int16) + tone(440, seconds=3)
    wanted = extract(
        sound.astype(np.float32) / 32768, sampling_rate=RATE, return_tensors="np"
    ).input_features[0]
    whole = len(sound) // HOP  # frames; theirs go on in silence
    np.testing.assert_allclose(log_mel(sound, bands)[:, :whole], wanted[:, :whole], atol=1e-4)
