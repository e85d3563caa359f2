"""What Whisper listens to: the logarithm of a mel spectrogram, as its paper (Radford et al., 2022) describes
it: windows of 25 ms every 10 ms, on the mel scale of Slaney's Auditory Toolbox (1998)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from uniref_model.voice.audio import RATE

HOP = 160
"""Samples from one frame to the next."""
_WINDOW = 400
"""Samples of a frame."""
_HERTZ_A_MEL, _LINEAR_MELS, _MELS_A_FACTOR, _FACTOR = 200 / 3, 15, 27, 6.4
"""Mels are linear up to 1000 Hz; from there, every 27 of them multiply the frequency by 6.4."""
_FAINTEST, _DECADES = 1e-10, 8.0
"""Powers that count: no less than this, and no less than so many powers of ten below the loudest."""


def log_mel(samples: np.ndarray, bands: int) -> np.ndarray:
    """The spectrogram of int16 [n] at `RATE`, n > 0: float32 [bands, n // HOP + 1], 4 powers of ten to the
    unit. bands: 80, or the 128 of newer models."""
    sound = np.pad(samples.astype(np.float32) / 32768, (0, HOP))
    framed = np.lib.stride_tricks.sliding_window_view(np.pad(sound, _WINDOW // 2, mode="reflect"), _WINDOW)
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    # the last frame would be of nothing but what was put behind the end
    power = np.abs(np.fft.rfft(framed[::HOP][:-1] * window)) ** 2  # [frames, bins]
    decades = np.log10(np.maximum(_mel_filters(bands) @ power.T.astype(np.float32), _FAINTEST))
    return (np.maximum(decades, decades.max() - _DECADES) + 4) / 4


@lru_cache(maxsize=2)
def _mel_filters(bands: int) -> np.ndarray:
    """float32 [bands, bins]: triangles from the centre of the band before to that of the band behind, each of
    the same area."""
    bins = np.fft.rfftfreq(_WINDOW, 1 / RATE)
    edges = _hertz(np.linspace(0, _mels(RATE / 2), bands + 2))[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    return (np.maximum(triangles, 0) * 2 / (high - low)).astype(np.float32)


def _hertz(mels: np.ndarray) -> np.ndarray:
    above = _LINEAR_MELS * _HERTZ_A_MEL * _FACTOR ** ((mels - _LINEAR_MELS) / _MELS_A_FACTOR)
    return np.where(mels < _LINEAR_MELS, mels * _HERTZ_A_MEL, above)


def _mels(hertz: float) -> float:
    """Of a frequency above 1000 Hz."""
    factors = np.log(hertz / (_LINEAR_MELS * _HERTZ_A_MEL)) / np.log(_FACTOR)
    return float(_LINEAR_MELS + _MELS_A_FACTOR * factors)
