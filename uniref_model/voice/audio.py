"""Audio as the recognisers want it: int16, one channel, 16 kHz."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from uniref_model.errors import AudioError

RATE = 16000
"""Samples a second, of every recogniser here."""
LOWEST_RATE, HIGHEST_RATE = 8000, 192000
_HALF_WIDTH = 16
"""Zero crossings of the sinc to each side; with a Hann window enough for speech."""


def read_wav(path: str | Path) -> tuple[np.ndarray, int]:
    """Samples of a PCM WAV file, int16 [n] (channels averaged), and its rate in Hz.

    Raises AudioError for what is no WAV file, has another sample format, or is shorter than its header says.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"there is no audio file {str(path)!r}")
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, promised = file.getparams()[:4]
            data = file.readframes(promised)
    except (wave.Error, EOFError) as error:
        raise AudioError(f"{str(path)!r} cannot be read as a WAV file: {error or 'it ends early'}") from error
    check_rate(rate)
    there = len(data) // (channels * width)
    if there < promised:
        raise AudioError(
            f"{str(path)!r} is cut short: its header promises {promised} samples, it has {there}"
        )
    if not promised:
        raise AudioError(f"{str(path)!r} holds no samples")
    return to_mono(_to_int16(data, width), channels), rate


def check_rate(rate: int) -> None:
    """Raises AudioError for a rate at which speech cannot be, or is not, recorded."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(f"rate is {rate} Hz, expected {LOWEST_RATE} to {HIGHEST_RATE}")


def to_mono(samples: np.ndarray, channels: int) -> np.ndarray:
    """int16 [n] of interleaved int16 [n * channels]. Raises AudioError when they do not divide."""
    if channels == 1:
        return samples
    if len(samples) % channels:
        raise AudioError(f"{len(samples)} samples do not divide into {channels} channels")
    return samples.reshape(-1, channels).astype(np.int32).mean(axis=1).astype(np.int16)


def _to_int16(data: bytes, width: int) -> np.ndarray:
    """Samples of 8 (unsigned), 16, 24 or 32 bits as int16."""
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.int16) - 128) << 8
    if width == 2:
        return np.frombuffer(data, "<i2").astype(np.int16)
    if width in (3, 4):  # the two most significant bytes
        raw = np.frombuffer(data, np.uint8).reshape(-1, width)[:, -2:]
        return np.ascontiguousarray(raw).view("<i2")[:, 0].astype(np.int16)
    raise AudioError(f"samples have {8 * width} bits, expected 8, 16, 24 or 32")


class Resampler:
    """A stream at one rate to a stream at RATE, chunk by chunk: a windowed sinc at each output sample."""

    def __init__(self, rate: int) -> None:
        """rate: of the input, Hz. Raises AudioError outside LOWEST_RATE to HIGHEST_RATE."""
        check_rate(rate)
        self._step = rate / RATE
        self._cutoff = min(1.0, RATE / rate)
        self._half = int(np.ceil(_HALF_WIDTH / self._cutoff))
        self._held = np.zeros(self._half, np.float32)  # silence before the first sample
        self._next = float(self._half)  # where the next output sample lies, in samples of `_held`

    def process(self, samples: np.ndarray) -> np.ndarray:
        """int16 [n] in, int16 [about n * RATE / rate] out; the last few samples wait for the next chunk."""
        if self._step == 1.0:
            return samples
        self._held = np.concatenate([self._held, samples.astype(np.float32)])
        last = len(self._held) - 1 - self._half
        count = max(0, int(np.floor((last - self._next) / self._step)) + 1)
        at = self._next + self._step * np.arange(count)
        first = np.floor(at).astype(int)
        reach = np.arange(1 - self._half, self._half + 1)
        distance = reach[None, :] - (at - first)[:, None]
        window = 0.5 + 0.5 * np.cos(np.pi * np.clip(distance / self._half, -1, 1))
        kernel = self._cutoff * np.sinc(self._cutoff * distance) * window
        out = np.einsum("nk,nk->n", self._held[first[:, None] + reach], kernel)
        self._next += self._step * count
        done = max(0, int(self._next) - self._half)
        self._held, self._next = self._held[done:], self._next - done
        return np.clip(np.rint(out), -32768, 32767).astype(np.int16)
