"""Recognisers: two functions, `teach` and `recognise`; pocketsphinx is the embedded one."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from uniref_model.errors import RuntimeUnavailable
from uniref_model.voice.phrases import Vocabulary


@dataclass(frozen=True)
class Heard:
    """What one utterance was heard as. words: lower case, empty when nothing was made out. confidence: 0 to
    1; 0 for none at all. meant: the sentence of the vocabulary that an engine took these words for, where it
    weighed that itself; empty where it did not."""

    words: str
    confidence: float
    meant: str = ""


class Recogniser(Protocol):
    """What an engine has to offer."""

    def teach(self, vocabulary: Vocabulary) -> None:
        """Expect these words. An engine with an open vocabulary may use them as a hint or not at all.

        Raises ValueError for a word that the engine cannot hear.
        """

    def recognise(self, samples: np.ndarray) -> Heard:
        """One utterance, int16 [n] at `RATE`, in words."""


ENGINES = {
    "pocketsphinx": "uniref_model.voice.pocketsphinx_engine:create",
    "vosk": "uniref_model.voice.vosk_engine:create",
    "whisper": "uniref_model.voice.whisper_engine:create",
}
_WITH_THREADS = {"whisper"}  # the others have one


def load_recogniser(engine: str, model: str = "", *, threads: int = 1) -> Recogniser:
    """Make an engine: one of ENGINES, or "module:factory" of one's own.

    The factory is called with `model` (a folder, a name, or empty for the engine's own model) and returns a
    Recogniser. threads: of the CPU, for an engine that can use several. Raises RuntimeUnavailable, whose text
    says what is missing.
    """
    entry = ENGINES.get(engine, engine)
    module, colon, factory = entry.partition(":")
    if not (module and colon and factory):
        raise RuntimeUnavailable(
            f"engine is {engine!r}, expected {', '.join(ENGINES)} or module:factory of a recogniser"
        )
    try:
        create = getattr(importlib.import_module(module), factory)
    except (ImportError, AttributeError) as error:
        raise RuntimeUnavailable(f"engine {engine!r} cannot be loaded: {error}") from error
    recogniser = create(model, threads) if engine in _WITH_THREADS else create(model)
    missing = [name for name in ("teach", "recognise") if not callable(getattr(recogniser, name, None))]
    if missing:
        raise RuntimeUnavailable(f"engine {engine!r} made an object without {' and '.join(missing)}")
    return recogniser
