"""How words sound: their phones, and how far one row of phones is from another.

Phones are ARPAbet's without stress, from the CMU dictionary that comes with pocketsphinx; a word that it
lacks is spelt out by letters, roughly.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import numpy as np

from uniref_model.errors import RuntimeUnavailable

# height (0 close, 1 open) and backness (0 front, 1 back) of where a vowel is, or begins
_VOWELS = {
    "IY": (0.0, 0.0),
    "IH": (0.2, 0.15),
    "EY": (0.4, 0.05),
    "EH": (0.6, 0.15),
    "AE": (0.85, 0.2),
    "AY": (0.9, 0.4),
    "AH": (0.6, 0.5),
    "ER": (0.5, 0.5),
    "AW": (0.9, 0.65),
    "AA": (1.0, 0.75),
    "AO": (0.75, 0.95),
    "OY": (0.65, 0.9),
    "OW": (0.45, 0.95),
    "UH": (0.2, 0.85),
    "UW": (0.0, 0.9),
}
# place from the lips (0) to the throat (1), manner, whether it is voiced
_CONSONANTS = {
    "P": (0.0, "stop", False),
    "B": (0.0, "stop", True),
    "M": (0.0, "nasal", True),
    "W": (0.1, "glide", True),
    "F": (0.1, "fricative", False),
    "V": (0.1, "fricative", True),
    "TH": (0.25, "fricative", False),
    "DH": (0.25, "fricative", True),
    "T": (0.4, "stop", False),
    "D": (0.4, "stop", True),
    "S": (0.4, "fricative", False),
    "Z": (0.4, "fricative", True),
    "N": (0.4, "nasal", True),
    "L": (0.4, "glide", True),
    "R": (0.5, "glide", True),
    "SH": (0.55, "fricative", False),
    "ZH": (0.55, "fricative", True),
    "CH": (0.5, "affricate", False),
    "JH": (0.5, "affricate", True),
    "Y": (0.65, "glide", True),
    "K": (0.8, "stop", False),
    "G": (0.8, "stop", True),
    "NG": (0.8, "nasal", True),
    "HH": (1.0, "fricative", False),
}
PHONES = (*_VOWELS, *_CONSONANTS)
_NUMBER = {phone: number for number, phone in enumerate(PHONES)}
_KIN = {("ER", "R"): 0.3, ("IY", "Y"): 0.3, ("UW", "W"): 0.3, ("OW", "L"): 0.5, ("AH", "ER"): 0.2}
_VOICE, _PLACE, _MANNER = 0.2, 0.8, 0.35
_FAINT = {"HH": 0.4, "AH": 0.5, "T": 0.6, "D": 0.6, "ER": 0.6, "R": 0.6, "L": 0.6}
_MISSING = 0.8
"""What it costs to leave out or put in a phone, unless it is faint."""

_REMEMBERED = 2000
"""Words whose phones are kept at hand: those of the vocabulary, and some."""
_RAREST = 1e-7
"""Of words that people say: "spanner" is twice as frequent, the name "Mogg" a third of it."""

_SPELLING = tuple(
    (spelt, tuple(phones.split()))
    for spelt, phones in (
        ("tch", "CH"), ("dge", "JH"), ("igh", "AY"), ("ch", "CH"), ("ck", "K"), ("sh", "SH"), ("th", "TH"),
        ("ph", "F"), ("wh", "W"), ("ng", "NG"), ("qu", "K W"), ("kn", "N"), ("wr", "R"), ("ee", "IY"),
        ("ea", "IY"), ("oo", "UW"), ("ou", "AW"), ("ow", "OW"), ("oi", "OY"), ("oy", "OY"), ("ai", "EY"),
        ("ay", "EY"), ("au", "AW"), ("aw", "AO"), ("oa", "OW"), ("ew", "UW"), ("ir", "ER"), ("ur", "ER"),
        ("er", "ER"), ("ce", "S EH"), ("ci", "S IH"), ("x", "K S"), ("a", "AE"), ("b", "B"), ("c", "K"),
        ("d", "D"), ("e", "EH"), ("f", "F"), ("g", "G"), ("h", "HH"), ("i", "IH"), ("j", "JH"), ("k", "K"),
        ("l", "L"), ("m", "M"), ("n", "N"), ("o", "AA"), ("p", "P"), ("q", "K"), ("r", "R"), ("s", "S"),
        ("t", "T"), ("u", "AH"), ("v", "V"), ("w", "W"), ("y", "IY"), ("z", "Z"),
    )
)  # fmt: skip
"""Letters and their phones; the first that fits at a place is taken."""


class Pronouncer:
    """Phones of words, from a pronouncing dictionary."""

    def __init__(self, dictionary: Path | None = None) -> None:
        """dictionary: a file in the CMU dictionary's format; None for the one that pocketsphinx brings.

        Raises RuntimeUnavailable without it.
        """
        try:
            # searched as it is: as a mapping its 135,000 words would take ten times the memory
            self._text = b"\n" + (dictionary or _shipped("cmudict-en-us.dict")).read_bytes()
        except OSError as error:
            raise RuntimeUnavailable(f"the pronouncing dictionary cannot be read: {error}") from error
        self._of_word = functools.lru_cache(_REMEMBERED)(self._look_up)

    def phones(self, text: str) -> tuple[str, ...]:
        """Phones of lower-case words, one after another; those of a word that is not in the dictionary by its
        letters."""
        return tuple(phone for word in text.split() for phone in self._of_word(word))

    def _look_up(self, word: str) -> tuple[str, ...]:
        key = f"\n{word} ".encode()
        at = self._text.find(key)
        if at < 0:
            return spell(word)
        line = self._text[at + len(key) : self._text.index(b"\n", at + 1)]
        return tuple(phone for phone in line.decode("ascii").split() if phone in _NUMBER)


class CommonWords:
    """Tells words that people say from the names and oddities that a recogniser writes down, by how often
    each occurs in pocketsphinx's language model (33 MB while it is held)."""

    def __init__(self) -> None:
        """Raises RuntimeUnavailable without pocketsphinx."""
        from pocketsphinx import Config, LogMath, NGramModel

        self._log = LogMath()
        path = str(_shipped("en-us.lm.bin"))
        try:
            self._model = NGramModel(Config(loglevel="FATAL"), self._log, path)
        except (RuntimeError, ValueError) as error:
            raise RuntimeUnavailable(f"pocketsphinx cannot load {path}: {error}") from error

    def __contains__(self, word: str) -> bool:
        return self._log.exp(self._model.prob([word])) >= _RAREST


def _shipped(name: str) -> Path:
    try:
        import pocketsphinx
    except ImportError as error:
        raise RuntimeUnavailable(
            f"{name} of pocketsphinx is missing ({error}); pip install pocketsphinx"
        ) from error
    return Path(pocketsphinx.get_model_path("en-us"), name)


def spell(word: str) -> tuple[str, ...]:
    """How an unknown word may sound, letter by letter. Digits and the like are silent."""
    phones: list[str] = []
    rest = re.sub(r"([b-df-hj-np-tv-z])\1", r"\1", word)
    rest = re.sub(r"(?<=[a-z]{2})e$", "", rest)
    while rest:
        spelt, sound = next((rule for rule in _SPELLING if rest.startswith(rule[0])), (rest[0], ()))
        phones += sound
        rest = rest[len(spelt) :]
    return tuple(phones)


def numbers(phones: tuple[str, ...]) -> np.ndarray:
    """int [n]: each phone's place in PHONES."""
    return np.array([_NUMBER[phone] for phone in phones], int)


def _difference(one: str, other: str) -> float:
    if one == other:
        return 0.0
    if one in _VOWELS and other in _VOWELS:
        (height, back), (other_height, other_back) = _VOWELS[one], _VOWELS[other]
        return min(1.0, 0.1 + 0.8 * (abs(height - other_height) + abs(back - other_back)))
    if one in _CONSONANTS and other in _CONSONANTS:
        (place, manner, voice), (other_place, other_manner, other_voice) = (
            _CONSONANTS[one],
            _CONSONANTS[other],
        )
        apart = _PLACE * abs(place - other_place) + _MANNER * (manner != other_manner)
        return min(1.0, 0.1 + apart + _VOICE * (voice != other_voice) - 0.1 * (apart == 0))
    return _KIN.get((one, other), _KIN.get((other, one), 1.2))


DIFFERENCE = np.array([[_difference(one, other) for other in PHONES] for one in PHONES])
"""float [phones, phones]: 0 for the same, about 1 for phones that nobody confuses."""
OMISSION = np.array([_FAINT.get(phone, _MISSING) for phone in PHONES])
"""float [phones]: what it costs when the phone is there on one side alone."""
