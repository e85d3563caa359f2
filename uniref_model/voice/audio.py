"""Audio as the recognisers want it: int16, one channel, 16 kHz."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from uniref_model.errors import AudioError
from uniref_model.limits import MAX_FILE_BYTES

RATE = 16000
"""Samples a second, of every recogniser here."""
LOWEST_RATE, HIGHEST_RATE = 8000, 192000
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_EXTENSIBLE_BYTES = 40
_SAMPLES = {(_PCM, 1), (_PCM, 2), (_PCM, 3), (_PCM, 4), (_FLOAT, 4), (_FLOAT, 8)}  # format, bytes
_STREAMED = (0, 0x7FFFFFFF, 0xFFFFFFFF)  # sizes of a stream whose end was not known
_HALF_WIDTH = 16
"""Zero crossings of the sinc to each side; with a Hann window enough for speech."""


def read_wav(path: str | Path) -> tuple[np.ndarray, int]:
    """Samples of a WAV file, int16 [n] (channels averaged), and its rate in Hz.

    PCM of 8, 16, 24 or 32 bits and float of 32 or 64, in any number of channels, plain or as
    WAVE_FORMAT_EXTENSIBLE (which ffmpeg writes for more than 16 bits or two channels). Raises AudioError for
    what is no WAV file, has another sample format, or is shorter than its header says.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"there is no audio file {str(path)!r}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise AudioError(f"{str(path)!r} has more than {MAX_FILE_BYTES} bytes")
    shown = repr(str(path))
    form, data, promised = _chunks(path.read_bytes(), shown)
    kind, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", form)
    if kind == _EXTENSIBLE:
        if len(form) < _EXTENSIBLE_BYTES:
            raise AudioError(f"{shown} cannot be read as a WAV file: its format chunk ends early")
        kind = struct.unpack_from("<H", form, 24)[0]
    check_rate(rate)
    width = bits // 8
    if not channels or bits % 8 or block != channels * width or (kind, width) not in _SAMPLES:
        raise AudioError(
            f"{shown} has samples of format {kind} with {bits} bits in {channels} channels, expected PCM of "
            "8, 16, 24 or 32 bits or float of 32 or 64"
        )
    if len(data) < promised:
        raise AudioError(
            f"{shown} is cut short: its header promises {promised // block} samples, "
            f"it has {len(data) // block}"
        )
    if not promised:
        raise AudioError(f"{shown} holds no samples")
    return to_mono(_to_int16(data[: len(data) // block * block], kind, width), channels), rate


def _chunks(data: bytes, shown: str) -> tuple[bytes, bytes, int]:
    """The format chunk, the samples, and how many bytes of them the header promises."""
    if data[:4] not in (b"RIFF", b"RF64") or data[8:12] != b"WAVE":
        raise AudioError(f"{shown} cannot be read as a WAV file: it does not begin as one")
    form, at = b"", 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt ":
            form = body
        elif name == b"data":
            if len(form) < 16:
                break
            # a stream's writer could not go back and fill the size in
            return form, body, len(body) if size in _STREAMED else size
        at += 8 + size + size % 2
    raise AudioError(f"{shown} cannot be read as a WAV file: it ends early")


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


def _to_int16(data: bytes, kind: int, width: int) -> np.ndarray:
    """Samples of PCM (8 bits: unsigned) or float (-1..1) as int16."""
    if kind == _FLOAT:
        samples = np.nan_to_num(np.frombuffer(data, f"<f{width}"))
        return np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.int16) - 128) << 8
    if width == 2:
        return np.frombuffer(data, "<i2").astype(np.int16)
    raw = np.frombuffer(data, np.uint8).reshape(-1, width)[:, -2:]  # the two most significant bytes
    return np.ascontiguousarray(raw).view("<i2")[:, 0].astype(np.int16)


class Resampler:
    """A stream at one rate to a stream at RATE, chunk by chunk: a windowed sinc at each output sample."""

    def __init__(self, rate: int) -> None:
        """rate: of the input, Hz. Raises AudioError outside LOWEST_RATE to HIGHEST_RATE."""
        check_rate(rate)
        self.step = rate / RATE
        """Input samples for each of the output's."""
        self._cutoff = min(1.0, RATE / rate)
        self._half = int(np.ceil(_HALF_WIDTH / self._cutoff))
        self._held = np.zeros(self._half, np.float32)  # silence before the first sample
        self._next = float(self._half)  # where the next output sample lies, in samples of `_held`

    def process(self, samples: np.ndarray) -> np.ndarray:
        """int16 [n] in, int16 [about n * RATE / rate] out; the last few samples wait for the next chunk."""
        if self.step == 1.0:
            return samples
        self._held = np.concatenate([self._held, samples.astype(np.float32)])
        last = len(self._held) - 1 - self._half
        count = max(0, int(np.floor((last - self._next) / self.step)) + 1)
        at = self._next + self.step * np.arange(count)
        first = np.floor(at).astype(int)
        reach = np.arange(1 - self._half, self._half + 1)
        distance = reach[None, :] - (at - first)[:, None]
        window = 0.5 + 0.5 * np.cos(np.pi * np.clip(distance / self._half, -1, 1))
        kernel = self._cutoff * np.sinc(self._cutoff * distance) * window
        out = np.einsum("nk,nk->n", self._held[first[:, None] + reach], kernel)
        self._next += self.step * count
        done = max(0, int(self._next) - self._half)
        self._held, self._next = self._held[done:], self._next - done
        return np.clip(np.rint(out), -32768, 32767).astype(np.int16)
