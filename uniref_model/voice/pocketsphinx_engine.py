"""PocketSphinx (BSD licence, its English model is in the wheel) with a grammar, and a confidence it lacks."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from uniref_model.errors import RuntimeUnavailable
from uniref_model.voice.engines import Heard
from uniref_model.voice.phrases import Vocabulary, after_wake
from uniref_model.voice.sounds import Pronouncer

_SCORE_UNIT = 1024.0
"""Scores are likelihoods to the power of 1/1024 (SENSCR_SHIFT)."""
_WEIGHTS, _BIAS = (1.02, -0.36, 0.59, 0.65, -0.53), 7.95
"""Of a logistic regression of "was said" on what `weigh` returns; `python -m benchmarks.voice --fit` makes
them from synthesised instructions and other talk."""
_LENIENT = 2.2
"""Added to the exponent, so that a confidence of 0.9, the usual least, stands for a probability of a half: at
an honest 0.9 the grammar would seldom be sure enough to answer."""
_CLEAR = 60.0
"""Nats by which a sentence is better than the next with another thing, beyond which more says no more."""
_LEAST_FRAMES_A_PHONE = 5
"""A frame is 10 ms; people speak 10 to 15 phones a second. Noise is matched by words as short as can be."""
_MOST_FRAMES_A_PHONE, _SENTENCE = 15, 3
"""In sentences of so many words; a single word may be drawn out. Audio at a wrong rate is slow."""
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


@dataclass(frozen=True)
class _Part:
    """One word or phone of a path: its frames and acoustic log likelihood in nats."""

    word: str
    frames: int
    acoustic: float


@dataclass(frozen=True)
class _Path:
    """The best path of a search. parts: without silence. acoustic, total: log likelihoods in nats, of all."""

    parts: list[_Part]
    acoustic: float
    total: float


class PocketSphinx:
    """A grammar decides what can be heard, so something is always heard. Whether it was said is told by how
    much worse the grammar explains the audio than a free sequence of phones does, on the whole and in the
    worst word, and by how much better it does than its best sentence about another thing."""

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
        self._pronouncer = Pronouncer(Path(folder, "cmudict-en-us.dict"))
        self._vocabulary = Vocabulary()
        self.teach(self._vocabulary)

    def teach(self, vocabulary: Vocabulary) -> None:
        """See `Recogniser`. A name's word that the dictionary lacks is listened for as it is spelt. Raises
        ValueError for any other that it lacks."""
        unknown = [word for word in vocabulary.words() if self._decoder.lookup_word(word) is None]
        if unknown:
            raise ValueError(f"pocketsphinx's dictionary has no {', '.join(unknown)}")
        for word in {word for name in vocabulary.names for word in name.split()}:
            if self._decoder.lookup_word(word) is None:
                self._decoder.add_word(word, " ".join(self._pronouncer.phones(word)), True)
        self._vocabulary = vocabulary
        self._decoder.add_jsgf_string("sentences", vocabulary.jsgf())

    def recognise(self, samples: np.ndarray) -> Heard:
        """See `Recogniser`. confidence: how sure it is that this was said, and not something else."""
        words, evidence = self.weigh(samples)
        if evidence is None:
            return Heard("", 0.0)
        exponent = float(np.dot(_WEIGHTS, evidence)) + _BIAS + _LENIENT
        return Heard(words, 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, exponent)))))

    def weigh(self, samples: np.ndarray) -> tuple[str, np.ndarray | None]:
        """The words, and what speaks for them, float [5]: in nats a frame, acoustic likelihood over that of
        free phones, the same with the prior probabilities of words and phones, and the worst word's acoustic
        likelihood; in tens of nats, the distance to the best sentence about another thing; the number of
        words. None when there is no whole sentence, or one said faster or slower than anybody speaks."""
        sentence = self._decode("sentences", samples)
        words = " ".join(re.sub(r"\(\d+\)", "", part.word) for part in sentence.parts)
        command = after_wake(words, self._vocabulary.wake) if self._vocabulary.wake else None
        if command != "" and not self._vocabulary.accepts(words if command is None else command):
            return "", None
        frames = sum(part.frames for part in sentence.parts)
        phones = sum(len(self._decoder.lookup_word(part.word).split()) for part in sentence.parts)
        drawled = len(sentence.parts) >= _SENTENCE and frames > _MOST_FRAMES_A_PHONE * phones
        if frames < _LEAST_FRAMES_A_PHONE * phones or drawled:
            return "", None
        free = self._decode("phones", samples)
        worst = min(part.acoustic / part.frames for part in sentence.parts)
        acoustic = (sentence.acoustic - free.acoustic) / frames
        likelihoods = (acoustic, (sentence.total - free.total) / frames, worst)
        return words, np.array([*likelihoods, self._lead(sentence, words, samples) / 10, len(words.split())])

    def _lead(self, sentence: _Path, words: str, samples: np.ndarray) -> float:
        """By how many nats, 0 to `_CLEAR`, it is likelier than the best one that has none of its nouns and
        names, or none of its adjectives."""
        left = {
            kind: tuple(word for word in getattr(self._vocabulary, kind) if f" {word} " not in f" {words} ")
            for kind in ("nouns", "names", "adjectives")
        }
        rivals = [
            replace(self._vocabulary, nouns=left["nouns"], names=left["names"]),
            replace(self._vocabulary, adjectives=left["adjectives"]),
        ]
        lead = _CLEAR
        for rival in rivals:
            if rival != self._vocabulary and rival.nouns and rival.adjectives:
                self._decoder.add_jsgf_string("rivals", rival.jsgf())
                path = self._decode("rivals", samples)
                lead = min(lead, sentence.total - path.total) if path.parts else lead
        return max(0.0, lead)

    def _decode(self, search: str, samples: np.ndarray) -> _Path:
        decoder = self._decoder
        decoder.activate_search(search)
        decoder.start_utt()
        decoder.process_raw(np.ascontiguousarray(samples, "<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        if found is None:
            return _Path([], 0.0, 0.0)
        parts = [
            _Part(s.word, s.end_frame - s.start_frame + 1, _nats(s.ascore))
            for s in decoder.seg()
            if s.start_frame >= 0
        ]
        spoken = [part for part in parts if not _FILLER.match(part.word)]
        return _Path(spoken, sum(part.acoustic for part in parts), _nats(found.best_score))


def _nats(score: float) -> float:
    return math.log(max(score, 1e-300)) * _SCORE_UNIT
