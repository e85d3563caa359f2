"""From a typed prompt to token ids: normalisation, tokenizer, and a small cache of encoded prompts."""

from __future__ import annotations

import re
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np

from ..errors import ModelFileError, PromptError, RuntimeUnavailable
from ..limits import quoted
from ..reading import read_text
from .base import LanguageReference

_MOST_BYTES = 128 * 1024 * 1024  # of a tokenizer.json; those of large vocabularies have 20 million
_DELETED = str.maketrans("", "", ".,'!?\"()*#:;")
_SPACED = str.maketrans("-/", "  ")
_WORD = re.compile(r"\w")
_PICTURES = {"So", "Sk", "Co", "Cn"}  # Unicode categories of pictographs
_STYLES = range(0xFE00, 0xFE10)  # how the character before is drawn

Tokenizer = Callable[[str], tuple[np.ndarray, np.ndarray, bool]]
"""A prompt to ids and attention, int64 [1,L], and whether words were dropped."""

CACHED_PROMPTS = 64
"""Encoded prompts kept, the oldest dropped first: people repeat themselves, and a prompt costs tens of
milliseconds."""


def normalise_prompt(text: str) -> str:
    """The authors' normalisation: lower case, `.,'!?"()*#:;` deleted, `-` and `/` to spaces; blanks
    collapsed. Pictographs (emoji) go too: they are no words, and no model here knows them.

    Raises PromptError when no letter or digit is left.
    """
    if not isinstance(text, str):
        raise PromptError(f"a prompt must be text, found {type(text).__name__}")
    plain = text.lower().translate(_DELETED).translate(_SPACED)
    words = " ".join("".join(map(_without_pictures, plain)).split())
    if not _WORD.search(words):
        raise PromptError(
            f"the prompt {quoted(text)} holds no word: say what to look for, such as 'the red mug'"
        )
    return words


def _without_pictures(letter: str) -> str:
    if letter.isascii():
        return letter
    kind = unicodedata.category(letter)
    if kind == "Cf" or ord(letter) in _STYLES:  # joins pictographs, or says how to draw them
        return ""
    return " " if kind in _PICTURES else letter


class PromptTokenizer:
    """Word pieces of a fixed length, from a Hugging Face tokenizer.json."""

    def __init__(self, path: Path, max_words: int) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise RuntimeUnavailable(
                "prompts need the package 'tokenizers': pip install tokenizers"
            ) from error
        try:
            self._tokenizer = Tokenizer.from_str(read_text(path, _MOST_BYTES, ordinary=True))
        except Exception as error:  # the library raises bare Exception
            raise ModelFileError(f"{path} is not a tokenizer file: {error}") from error
        self._max_words = max_words
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._end = self._token("[SEP]", "</s>")
        self._pad = self._token("[PAD]", "<pad>") or 0
        self._frame = len(self._tokenizer.encode("").ids)  # what stands before and after every prompt
        self._unknown = self._token("[UNK]")  # RoBERTa's pieces are bytes, and none is unknown

    def _token(self, *names: str) -> int | None:
        """The id of the first of these that there is (BERT's name, RoBERTa's name)."""
        ids = (self._tokenizer.token_to_id(name) for name in names)
        return next((index for index in ids if index is not None), None)

    def __call__(self, text: str) -> tuple[np.ndarray, np.ndarray, bool]:
        """ids and attention (1 = word), both int64 [1,L], and whether words were dropped to fit L."""
        words = normalise_prompt(text)
        # What the model does not know says nothing, and would change what it makes of the other words.
        ids = [index for index in self._tokenizer.encode(words).ids if index != self._unknown]
        if self._unknown is not None and len(ids) <= self._frame:
            raise PromptError(f"the model knows no word of the prompt {quoted(text)}")
        truncated = len(ids) > self._max_words
        if truncated:
            ids = ids[: self._max_words]
            if self._end is not None:
                ids[-1] = self._end
        padded = np.full((1, self._max_words), self._pad, np.int64)
        padded[0, : len(ids)] = ids
        attention = np.zeros_like(padded)
        attention[0, : len(ids)] = 1
        return padded, attention, truncated


class PromptCache:
    """The last `CACHED_PROMPTS` encoded prompts, by normalised text."""

    def __init__(self, encode: Callable[[str], LanguageReference], capacity: int = CACHED_PROMPTS) -> None:
        self._encode = encode
        self._capacity = capacity
        self._known: OrderedDict[str, LanguageReference] = OrderedDict()
        self._lock = Lock()

    def encode_anew(self, text: str) -> LanguageReference:
        """Encode whatever is known already, and keep nothing."""
        return self._encode(normalise_prompt(text))

    def __call__(self, text: str) -> LanguageReference:
        key = normalise_prompt(text)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        language = self._encode(key)
        with self._lock:
            self._known[key] = language
            while len(self._known) > self._capacity:
                self._known.popitem(last=False)
        return language
