"""PocketSphinx (BSD licence, its English model is in the wheel) with a grammar, and a confidence it lacks."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from uniref_model.errors import RuntimeUnavailable
from uniref_model.voice.engines import Heard
from uniref_model.voice.phrases import Vocabulary, after_wake

_SCORE_UNIT = 1024.0
"""Hypothesis.best_score is the path's likelihood to the power of 1/1024 (SENSCR_SHIFT)."""
_FILLER = re.compile(r"^(?:<.*>|\[.*\]|\(NULL\)|\+\+.*\+\+)$")


def create(model: str = "") -> PocketSphinx:
    """The engine. model: a folder with `en-us`, `cmudict-en-us.dict` and `en-us-phone.lm.bin`, as the wheel
    has one; empty for that."""
    try:
        import pocketsphinx
    except ImportError as error:
        raise RuntimeUnavailable(
            f"engine pocketsphinx cannot be imported ({error}); pip install pocketsphinx"
        ) from error
    return PocketSphinx(pocketsphinx, model)


class PocketSphinx:
    """A grammar decides what can be heard, so something is always heard. Whether it was said is told by how
    much worse the grammar explains the audio than a free sequence of phones does."""

    def __init__(self, library: Any, model: str) -> None:
        folder = model or library.get_model_path("en-us")
        try:
            self._decoder = library.Decoder(
                hmm=f"{folder}/en-us",
                dict=f"{folder}/cmudict-en-us.dict",
                lm=None,
                loglevel="FATAL",
                # Short utterances, one at a time: search widely, keep to paths that end with the grammar.
                cmn="batch",
                bestpath=False,
                beam=1e-80,
                pbeam=1e-80,
                wbeam=1e-60,
            )
            self._decoder.add_allphone_file("phones", f"{folder}/en-us-phone.lm.bin")
        except RuntimeError as error:
            raise RuntimeUnavailable(f"pocketsphinx cannot load the model in {folder}: {error}") from error
        self._vocabulary = Vocabulary()
        self.teach(self._vocabulary)

    def teach(self, vocabulary: Vocabulary) -> None:
        """See `Recogniser`. Raises ValueError for words that the dictionary lacks."""
        unknown = [word for word in vocabulary.words() if self._decoder.lookup_word(word) is None]
        if unknown:
            raise ValueError(f"pocketsphinx's dictionary has no {', '.join(unknown)}")
        self._vocabulary = vocabulary
        self._decoder.add_jsgf_string("sentences", vocabulary.jsgf())

    def recognise(self, samples: np.ndarray) -> Heard:
        """See `Recogniser`. confidence: the likelihood ratio a frame of the sentence over free phones, at
        most 1; what was said well has about 0.5, other talk 0.1."""
        words, score, frames = self._decode("sentences", samples)
        command = after_wake(words, self._vocabulary.wake) if self._vocabulary.wake else None
        if command != "" and not self._vocabulary.accepts(words if command is None else command):
            return Heard("", 0.0)
        _, free, _ = self._decode("phones", samples)
        if not frames or score <= 0 or free <= 0:
            return Heard("", 0.0)
        ratio = (math.log(score) - math.log(free)) * _SCORE_UNIT / frames
        return Heard(words, min(1.0, math.exp(ratio)))

    def _decode(self, search: str, samples: np.ndarray) -> tuple[str, float, int]:
        """Words, path score, and frames that are not silence."""
        decoder = self._decoder
        decoder.activate_search(search)
        decoder.start_utt()
        decoder.process_raw(np.ascontiguousarray(samples, "<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        if found is None:
            return "", 0.0, 0
        frames = sum(s.end_frame - s.start_frame + 1 for s in decoder.seg() if not _FILLER.match(s.word))
        return re.sub(r"\(\d+\)", "", found.hypstr).strip(), found.best_score, frames
