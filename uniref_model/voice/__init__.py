"""From speech to a prompt, without ROS: audio in, endpointing, a recogniser behind two functions, and what
words mean."""

from __future__ import annotations

from .audio import RATE, Resampler, read_wav, to_mono
from .engines import Heard, Recogniser, load_recogniser
from .listening import Listener, Remark
from .phrases import Vocabulary
from .understanding import understand

__all__ = [
    "RATE",
    "Heard",
    "Listener",
    "Recogniser",
    "Remark",
    "Resampler",
    "Vocabulary",
    "load_recogniser",
    "read_wav",
    "to_mono",
    "understand",
]
