"""Heard words fitted to what can be said: the sentences of the vocabulary that sound most like them."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from uniref_model.voice.phrases import Vocabulary, after_wake
from uniref_model.voice.sounds import DIFFERENCE, OMISSION, CommonWords, Pronouncer, numbers

_KEPT = 6
"""Beginnings of sentences that are kept for each place in what was heard."""
_MOST_PHONES = 64
"""Of what is fitted: an instruction is no longer."""
_SAME, _NEAR, _CLEARLY = 0.03, 0.25, 0.08
"""Distances of the words that differ: of homophones, of a word that is none, and between the best two."""
_CALLED = 0.35
"""How far a word that was heard may be from that of the wake word."""


@dataclass(frozen=True)
class Fit:
    """A sentence of the vocabulary. distance: of its sound from what was heard, a phone's worth each, over
    the number of phones; 0 is the same, 1 has nothing in common."""

    words: str
    distance: float


class Fitter:
    """Finds the sentences of a vocabulary that are nearest by sound."""

    def __init__(self, vocabulary: Vocabulary, pronouncer: Pronouncer) -> None:
        self._pronouncer = pronouncer
        self._wake = vocabulary.wake
        self._paths = vocabulary.paths
        phrases = sorted({phrase for path in self._paths for slot in path for phrase in slot if phrase})
        self._index = {phrase: i for i, phrase in enumerate(phrases)}
        self._phrases = phrases
        self._phones = [numbers(pronouncer.phones(phrase)) for phrase in phrases]

    def nearest(self, words: str, count: int, most: float) -> list[Fit]:
        """At most `count` sentences no further away than `most`, the nearest first."""
        heard = numbers(self._pronouncer.phones(words))
        if not 0 < len(heard) <= _MOST_PHONES:
            return []
        costs = self._costs(heard)
        budget = most * max(len(heard), 3) * 1.5
        found: dict[str, float] = {}
        for path in self._paths:
            for cost, sentence in self._along(path, costs, len(heard), budget, count):
                found[sentence] = min(cost, found.get(sentence, np.inf))
        fits = []
        for sentence, cost in found.items():
            length = max(len(heard), len(self._pronouncer.phones(sentence)))
            fits.append(Fit(sentence, cost / length))
        fits = [fit for fit in fits if fit.distance <= most]
        return sorted(fits, key=lambda fit: (fit.distance, fit.words))[:count]

    def fit(self, words: str) -> str:
        """The sentence that these words must have been, else the words as they are.

        Words that are spelt otherwise ("screw driver", "paws") become the vocabulary's; a word that nobody
        says ("mogg") becomes the one that it sounds like, if no other is about as near. A common word stays:
        it may well have been said.
        """
        fits = self.nearest(words, 4, _NEAR)
        if not fits or fits[0].words == words:
            return words
        changes = sorted((self._changed(words, fit.words), fit.words) for fit in fits)
        (distance, best), rival = changes[0], changes[1][0] if len(changes) > 1 else 1.0
        if distance <= _SAME:
            return best
        clear = distance <= _NEAR and distance + _CLEARLY <= rival
        return best if clear and any(word not in self._common for word in words.split()) else words

    @cached_property
    def _common(self) -> CommonWords:
        return CommonWords()

    def _changed(self, words: str, fit: str) -> float:
        """The distance of the words between those that are the same at both ends."""
        ours, theirs = words.split(), fit.split()
        for end in (0, -1):
            while ours and theirs and ours[end] == theirs[end]:
                del ours[end], theirs[end]
        return self.distance(" ".join(ours), " ".join(theirs))

    def distance(self, one: str, other: str) -> float:
        """Of the sounds of two texts, over the number of phones of the longer one."""
        phones = [numbers(self._pronouncer.phones(text)) for text in (one, other)]
        longest = max(map(len, phones))
        return float(_align(phones[0][None], phones[1])[0, -1]) / longest if longest else 0.0

    def after_wake(self, words: str) -> str | None:
        """What follows the wake word, or words that sound like it ("hey robert"); None without."""
        exact = after_wake(words, self._wake)
        if exact is not None or not self._wake:
            return exact
        heard, wake = words.split(), self._wake.split()
        if len(heard) >= len(wake) and all(
            self.distance(ours, theirs) <= _CALLED for ours, theirs in zip(heard, wake, strict=False)
        ):
            return " ".join(heard[len(wake) :])
        for count in (len(wake) + 1, len(wake) - 1):  # "hey row but"
            if 0 < count <= len(heard) and self.distance(" ".join(heard[:count]), self._wake) <= _CALLED / 2:
                return " ".join(heard[count:])
        return None

    def _along(self, path, costs, length: int, budget: float, count: int):
        """(cost, sentence), of the sentences that take one phrase of each slot in turn."""
        beginnings: list[list[tuple[float, str]]] = [[] for _ in range(length + 1)]
        beginnings[0] = [(0.0, "")]
        for number, slot in enumerate(path):
            last = number == len(path) - 1
            keep = count if last else _KEPT
            rows = np.array([self._index[phrase] for phrase in slot if phrase])
            ends: list[list[tuple[float, str]]] = [
                list(kept) if "" in slot and not (last and at < length) else []
                for at, kept in enumerate(beginnings)
            ]
            for start, kept in enumerate(beginnings):
                if not kept:
                    continue
                table = costs[rows, start] + kept[0][0]  # [phrases, ends]
                if last:
                    table[:, :length] = np.inf
                for row, end in zip(*np.nonzero(table <= budget), strict=True):
                    phrase = self._phrases[rows[row]]
                    step = table[row, end] - kept[0][0]
                    ends[end] += [
                        (cost + step, f"{before} {phrase}".strip())
                        for cost, before in kept
                        if cost + step <= budget
                    ]
            beginnings = [heapq.nsmallest(keep, entries) for entries in ends]
        return beginnings[length]

    def _costs(self, heard: np.ndarray) -> np.ndarray:
        """float [phrases, n + 1, n + 1]: the cost of each phrase over each stretch [start, end) of the phones
        that were heard; inf where the end is before the start."""
        count, length = len(self._phrases), len(heard)
        out = np.full((count, length + 1, length + 1), np.inf)
        for width in {len(phones) for phones in self._phones}:
            rows = [i for i, phones in enumerate(self._phones) if len(phones) == width]
            phones = np.stack([self._phones[i] for i in rows])  # [r, width]
            for start in range(length + 1):
                out[rows, start, start:] = _align(phones, heard[start:])
        return out


def _align(phones: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Weighted edit distance of each row of phones [r, w] to each beginning of heard [n]: float [r, n +
    1]."""
    extra = np.concatenate([[0.0], np.cumsum(OMISSION[heard])])
    row = np.broadcast_to(extra, (len(phones), len(extra))).copy()
    for column in range(phones.shape[1]):
        own = phones[:, column]
        omitted = row + OMISSION[own][:, None]
        taken = row[:, :-1] + DIFFERENCE[own][:, heard]
        row = omitted
        row[:, 1:] = np.minimum(row[:, 1:], taken)
        # what was heard besides: a running minimum of (row - extra) along the stretch, plus extra
        row = np.minimum.accumulate(row - extra, axis=1) + extra
    return row
