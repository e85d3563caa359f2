"""Whisper through CTranslate2 (both MIT): open vocabulary, hinted at by ours, and weighed against it."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from uniref_model.errors import RuntimeUnavailable
from uniref_model.outputs import show
from uniref_model.voice.engines import Heard
from uniref_model.voice.fitting import Fitter
from uniref_model.voice.phrases import Vocabulary, plain_words
from uniref_model.voice.sounds import Pronouncer
from uniref_model.voice.spectrogram import HOP, log_mel
from uniref_model.voice.understanding import understand, without_courtesy
from uniref_model.voice.whisper_files import model_folder

_LANGUAGE, _TASK = "<|en|>", "<|transcribe|>"
_LEAST_FRAMES, _SILENT_FRAMES, _MOST_FRAMES = 1000, 200, 3000
"""Whisper was trained on 30 s, and works as well on ten for a third of the time; on less it repeats
itself."""
_BEAMS = 8
_MOST_TOKENS = 40
"""Of one utterance: twice the longest instruction. Without an end Whisper may go on for ever."""
_FITTED, _MOST_FITS, _FARTHEST = 4, 8, 0.3
"""Readings that are fitted to the vocabulary, sentences that come of it, and how far they may be."""
_EXPECTED = 6.0
"""How much likelier, as a natural logarithm, a sentence of the vocabulary is said than any other."""
_WEIGHTS, _BIAS = (0.86, 2.78, 1.75), 1.05
"""Of a logistic regression of "was meant" on `Choice.evidence`; `python -m benchmarks.voice --fit` makes
them."""
_ARTICLES = ("the", "a", "an", "my")
_WEIGHED = 6
"""Readings that are weighed again without the hint."""
_MOST_HINTS = 100
"""Tokens; the model takes 223, and each costs time in every utterance."""


def create(model: str = "", threads: int = 1) -> Whisper:
    """The engine. model: a folder with a Whisper model for CTranslate2, or the name of one ("base.en",
    "small"), see `model_folder`. threads: of the CPU, at most."""
    try:
        import ctranslate2
        from tokenizers import Tokenizer
    except ImportError as error:
        raise RuntimeUnavailable(
            f"engine whisper cannot be imported ({error}); pip install ctranslate2 huggingface_hub"
        ) from error
    folder = model_folder(model)
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        network = ctranslate2.models.Whisper(
            str(folder), device="cpu", compute_type="int8", intra_threads=threads
        )
    except Exception as error:  # of CTranslate2, of the tokenizer: no base in common
        raise RuntimeUnavailable(f"whisper cannot load {show(model)}: {error}") from error
    return Whisper(network, tokenizer)


@dataclass(frozen=True)
class Reading:
    """One way to read an utterance. words: lower case. log: natural logarithm of its probability."""

    words: str
    log: float


@dataclass(frozen=True)
class Choice:
    """The reading that was chosen, and what speaks for it: the logarithm of the odds of its meaning against
    all others, the logarithm of its probability over the number of its words, and whether it is of the
    vocabulary."""

    words: str
    evidence: tuple[float, float, float]

    @property
    def confidence(self) -> float:
        """Probability that it was meant."""
        exponent = sum(w * e for w, e in zip(_WEIGHTS, self.evidence, strict=True)) + _BIAS
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, exponent))))


class Whisper:
    """Hears freely, with our words as a hint; then sentences of the vocabulary that sound like what was heard
    are weighed by the network itself, against what it heard and against each other."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        """network: a ctranslate2.models.Whisper. tokenizer: its tokenizers.Tokenizer. Raises
        RuntimeUnavailable for one that lacks Whisper's special tokens."""
        self._network, self._tokenizer = network, tokenizer
        languages = [self._special(_LANGUAGE), self._special(_TASK)] if network.is_multilingual else []
        self._start = [self._special("<|startoftranscript|>"), *languages]
        self._before = self._special("<|startofprev|>")
        self._no_times = self._special("<|notimestamps|>")
        self._hint: list[int] = []
        self._pronouncer = Pronouncer()
        self.teach(Vocabulary())

    def teach(self, vocabulary: Vocabulary) -> None:
        """See `Recogniser`. Any word can be heard."""
        self._vocabulary = vocabulary
        self._fitter = Fitter(vocabulary, self._pronouncer)
        self._hint = self._tokens(" " + vocabulary.example())[:_MOST_HINTS]

    def recognise(self, samples: np.ndarray) -> Heard:
        """See `Recogniser`. confidence: probability that this was meant, and not something else."""
        heard, readings = self.read(samples)
        if not readings:
            return Heard("", 0.0)
        choice = self.choose(readings)
        return Heard(heard, choice.confidence, choice.words)

    def weigh(self, samples: np.ndarray) -> tuple[str, np.ndarray | None]:
        """The words that are chosen, and `Choice.evidence`; None when nothing was heard."""
        _, readings = self.read(samples)
        choice = self.choose(readings) if readings else None
        return (choice.words, np.array(choice.evidence)) if choice else ("", None)

    def choose(self, readings: list[Reading]) -> Choice:
        """The likeliest meaning: readings that come to the same prompt speak for one another, and what is in
        the vocabulary is likelier to be said to a robot than what is not."""
        weights = [self._weight(reading) for reading in readings]
        shares: dict[str, float] = defaultdict(float)
        for reading, weight in zip(readings, weights, strict=True):
            shares[self._meaning(reading.words)] += math.exp(weight)
        meaning = max(shares, key=lambda key: shares[key])
        best = max(
            (i for i, reading in enumerate(readings) if self._meaning(reading.words) == meaning),
            key=lambda i: weights[i],
        )
        words = readings[best].words
        share = min(shares[meaning] / sum(shares.values()), 1 - 1e-6)
        evidence = (
            math.log(share / (1 - share)),
            readings[best].log / (len(words.split()) + 1),
            float(self._is_expected(words)),
        )
        return Choice(words, evidence)

    def _weight(self, reading: Reading) -> float:
        return reading.log + _EXPECTED * self._is_expected(reading.words)

    def _rest(self, words: str) -> str:
        """Without wake word and courtesies."""
        called = self._fitter.after_wake(words)
        return without_courtesy(words if called is None else called)

    def _is_expected(self, words: str) -> bool:
        return self._vocabulary.accepts(self._rest(words))

    def _meaning(self, words: str) -> str:
        """The prompt but for its articles; "" for none."""
        prompt = understand(self._rest(words), self._vocabulary, addressed=self._vocabulary.wake != "") or ""
        return " ".join(word for word in prompt.split() if word not in _ARTICLES)

    def read(self, samples: np.ndarray) -> tuple[str, list[Reading]]:
        """The words that were heard, and what may have been said: these, others, and the vocabulary's
        sentences that sound like them. Each is weighed with the hint and without: a hint helps to hear, and
        is heard where nothing like it was said."""
        if not len(samples):
            return "", []
        encoded, frames = self._encode(samples)
        heard = self._hear(encoded)
        if not heard:
            return "", []
        readings = heard
        if nearest := self._nearest(heard):
            # what `align` cannot tell is how likely the end is
            end = min(0.0, heard[0].log - self._score(encoded, frames, heard[0].words, hinted=True))
            scores = [self._score(encoded, frames, words, hinted=True) + end for words in nearest]
            readings = heard + [Reading(words, score) for words, score in zip(nearest, scores, strict=True)]
        return heard[0].words, [
            Reading(item.words, (item.log + self._score(encoded, frames, item.words, hinted=False)) / 2)
            for item in sorted(readings, key=self._weight, reverse=True)[:_WEIGHED]
        ]

    def _nearest(self, heard: list[Reading]) -> list[str]:
        """Sentences of the vocabulary that sound like the likeliest readings, and are none of them."""
        distances: dict[str, float] = {}
        for reading in heard[:_FITTED]:
            called = self._fitter.after_wake(reading.words)
            before = "" if called is None else f"{self._vocabulary.wake} "
            said = without_courtesy(reading.words if called is None else called)
            for fit in self._fitter.nearest(said, _MOST_FITS, _FARTHEST):
                words = before + fit.words
                distances[words] = min(fit.distance, distances.get(words, np.inf))
        known = {reading.words for reading in heard}
        return sorted(distances.keys() - known, key=lambda words: (distances[words], words))[:_MOST_FITS]

    # ---- what the network says

    def _encode(self, samples: np.ndarray) -> tuple[Any, int]:
        """The encoder's output, and the frames it is of."""
        from ctranslate2 import StorageView

        wanted = len(samples) // HOP + _SILENT_FRAMES
        frames = min(max(wanted, _LEAST_FRAMES), _MOST_FRAMES) // 2 * 2
        heard = log_mel(samples[: frames * HOP], self._network.n_mels)[:, :frames]
        features = np.zeros((1, len(heard), frames), np.float32)
        features[0, :, : heard.shape[1]] = heard
        return self._network.encode(StorageView.from_array(features)), frames

    def _hear(self, encoded: Any) -> list[Reading]:
        """The likeliest readings, the best first; those that differ in case and punctuation alone are one."""
        prompt = self._prompt()
        (found,) = self._network.generate(
            encoded,
            [[*prompt, self._no_times]],
            beam_size=_BEAMS,
            num_hypotheses=_BEAMS,
            length_penalty=0,  # whole probabilities, to be compared with those of `_score`
            return_scores=True,
            max_length=len(prompt) + _MOST_TOKENS,
        )
        chances: dict[str, float] = defaultdict(float)
        for tokens, score in zip(found.sequences_ids, found.scores, strict=True):
            chances[said_once(self._tokenizer.decode(tokens))] += math.exp(score)
        chances.pop("", None)
        readings = [Reading(words, math.log(max(chance, 1e-30))) for words, chance in chances.items()]
        return sorted(readings, key=lambda reading: -reading.log)

    def _score(self, encoded: Any, frames: int, words: str, *, hinted: bool) -> float:
        """Logarithm of the probability of these words, their end left open. Without a hint they are written
        as Whisper does by itself, with a capital."""
        text, prompt = (f" {words}.", self._prompt()) if hinted else (f" {words.capitalize()}.", self._start)
        (found,) = self._network.align(encoded, prompt, [self._tokens(text)], frames, median_filter_width=1)
        return float(np.log(np.maximum(found.text_token_probs, 1e-10)).sum())

    def _prompt(self) -> list[int]:
        return [self._before, *self._hint, *self._start]

    def _special(self, token: str) -> int:
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise RuntimeUnavailable(f"the Whisper model's tokenizer.json has no {token}")
        return number

    def _tokens(self, text: str) -> list[int]:
        """As the network was trained to read it: the tokenizer.json of converted models has lost its first
        merge, " t", and takes every word that begins so for two."""
        pieces: list[str] = []
        for piece in self._tokenizer.encode(text, add_special_tokens=False).tokens:
            whole = "Ġ" + piece
            if pieces and pieces[-1] == "Ġ" and self._tokenizer.token_to_id(whole) is not None:
                pieces[-1] = whole
            else:
                pieces.append(piece)
        return [self._tokenizer.token_to_id(piece) for piece in pieces]


def said_once(text: str) -> str:
    """Plain words of a text, once where they are repeated to the end, as Whisper does after short speech."""
    words = plain_words(text).split()
    for length in range(1, len(words) // 2 + 1):
        if all(word == words[i % length] for i, word in enumerate(words)):
            return " ".join(words[:length])
    return " ".join(words)
