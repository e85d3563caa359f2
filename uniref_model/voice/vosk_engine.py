"""Vosk (Apache-2.0): open vocabulary, better than the embedded engine; its models are downloaded apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from uniref_model.errors import RuntimeUnavailable
from uniref_model.voice.audio import RATE
from uniref_model.voice.engines import Heard
from uniref_model.voice.phrases import Vocabulary


def create(model: str) -> Vosk:
    """The engine. model: an unpacked model folder, such as vosk-model-small-en-us-0.15."""
    try:
        import vosk
    except ImportError as error:
        raise RuntimeUnavailable(f"engine vosk cannot be imported ({error}); pip install vosk") from error
    if not Path(model).is_dir() or not model:
        raise RuntimeUnavailable(f"engine_model is {model!r}, expected the folder of an unpacked Vosk model")
    vosk.SetLogLevel(-1)
    return Vosk(vosk, model)


class Vosk:
    """Free dictation; the vocabulary is not needed."""

    def __init__(self, library: Any, model: str) -> None:
        try:
            model = library.Model(model)
        except Exception as error:  # Vosk raises the bare class
            raise RuntimeUnavailable(f"vosk cannot load the model: {error}") from error
        self._decoder = library.KaldiRecognizer(model, RATE)
        self._decoder.SetWords(True)

    def teach(self, vocabulary: Vocabulary) -> None:
        """See `Recogniser`."""

    def recognise(self, samples: np.ndarray) -> Heard:
        """See `Recogniser`. confidence: that of the least certain word."""
        self._decoder.Reset()
        self._decoder.AcceptWaveform(np.ascontiguousarray(samples, "<i2").tobytes())
        result = json.loads(self._decoder.FinalResult())
        scores = [word["conf"] for word in result.get("result", ())]
        return Heard(result.get("text", ""), float(min(scores, default=0.0)))
