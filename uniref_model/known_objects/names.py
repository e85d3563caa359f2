"""When two texts are the same name: case, one leading article and punctuation aside."""

from __future__ import annotations

import re
import unicodedata

from ..errors import KnownObjectError
from ..limits import MAX_KNOWN_NAME, check_text, quoted

ARTICLES = "the|a|an|my|this|that"
_ARTICLE = re.compile(rf"^(?:{ARTICLES})\s+")
_MOST_BYTES = 240  # of a folder's name, for which file systems have 255


def plain_words(text: str) -> str:
    """Lower case, words one space apart, without punctuation but for ' and -."""
    return " ".join(re.sub(r"[^\w\s'-]", " ", text.lower()).split())


def without_article(text: str) -> str:
    """Plain words without their leading article, if anything is left."""
    return _ARTICLE.sub("", text)


def name_key(text: str) -> str:
    """What all spellings of a name have in common: "My Mug!" and "the mug" are "mug". "" for no word."""
    words = plain_words(unicodedata.normalize("NFKC", text))
    return without_article(words) if any(letter.isalnum() for letter in words) else ""


def check_known_name(name: object) -> str:
    """`name` without spaces round it, when an object can be known by it: one line of at most MAX_KNOWN_NAME
    characters with a letter or digit. Its key is a safe folder name. Raises KnownObjectError."""
    text = check_text(name, "the name", MAX_KNOWN_NAME, KnownObjectError).strip()
    key = name_key(text)
    if not key:
        raise KnownObjectError(f"the name {quoted(text)} has no letter or digit")
    if len(key.encode()) > _MOST_BYTES:
        raise KnownObjectError(f"the name {quoted(text)} has {len(key.encode())} bytes, expected 1 to 240")
    return text
