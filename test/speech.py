"""Synthesised speech for tests and benchmarks, from espeak-ng's library in the wheel espeakng-loader."""

from __future__ import annotations

import ctypes
import functools
import wave
from pathlib import Path

import numpy as np

_RETRIEVAL, _UTF8, _RATE, _PITCH = 1, 1, 1, 3  # of espeak-ng's speak_lib.h
_PCM = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

VOICES = (
    "en-us",
    "en-us+f2",
    "en-us+f4",
    "en-us+m3",
    "en-us+michael",
    "en-us+linda",
    "en-gb-x-rp",
    "en-gb-x-rp+f3",
    "en-gb-scotland",
    "en-029",
)
"""American men and women, British, Scottish and Caribbean speakers."""


@functools.cache
def _library() -> tuple[ctypes.CDLL, int]:
    """The initialised library and its rate, Hz. Raises ImportError without espeakng-loader."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_RETRIEVAL, 0, espeakng_loader.get_data_path().encode(), 0)
    assert rate > 0, "espeak-ng cannot start"
    return library, rate


def say(
    text: str, voice: str = "en-us", *, words_a_minute: int = 140, volume: float = 0.3
) -> tuple[np.ndarray, int]:
    """The text as speech between half seconds of near silence, int16 [n], and its rate in Hz."""
    library, rate = _library()
    parts: list[np.ndarray] = []

    @_PCM
    def keep(samples, count, _events):
        if samples and count:
            parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.espeak_SetSynthCallback(keep)
    assert library.espeak_SetVoiceByName(voice.encode()) == 0, f"espeak-ng has no voice {voice!r}"
    library.espeak_SetParameter(_RATE, words_a_minute, 0)
    library.espeak_SetParameter(_PITCH, 50, 0)
    data = text.encode() + b"\0"
    library.espeak_Synth(data, len(data), 0, 0, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    pause = np.zeros(rate // 2)
    sound = np.concatenate([pause, np.concatenate(parts) * volume, pause])
    sound += np.random.default_rng(0).normal(0, 4, len(sound))  # the hiss of a microphone
    return np.clip(sound, -32768, 32767).astype(np.int16), rate


def write_wav(path: Path, samples: np.ndarray, rate: int) -> Path:
    """A 16-bit WAV file of one channel."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path
