"""Spoken controls: a line of plain words is a command ("forget the red mug", "pause") or something to look
for.

A control needs its object: "forget" alone asks for nothing, and "drop" is one only before a thing that is
pointed at ("drop the box"), since "drop box" is the name of a thing. Politeness ("please") plays no part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .types import TrackedObject


@dataclass(frozen=True)
class Look:
    """Look for these words."""

    prompt: str


@dataclass(frozen=True)
class Forget:
    """Forget the object these words name; everything when target is None, nothing when it is ""."""

    target: str | None


@dataclass(frozen=True)
class Pause:
    """Stop stepping frames; objects are kept."""


@dataclass(frozen=True)
class Resume:
    """Go on stepping frames."""


Spoken = Look | Forget | Pause | Resume

_EVERYTHING = {"everything", "all", "all objects", "every object", "them all"}
_VERBS = "forget|remove|delete|drop|stop tracking|stop following"
_ARTICLES = "the|a|an|my|this|that"
_FORGET = re.compile(rf"^(?P<verb>{_VERBS})(?:\s+about)?(?:\s+(?P<target>.+))?$")
_PAUSE = {"pause", "pause tracking", "stop tracking", "stop following"}
_RESUME = {"resume", "resume tracking", "continue", "continue tracking", "unpause"}
_COURTESY = re.compile(r"^please\s+|\s+please$")
_ARTICLE = re.compile(rf"^(?:{_ARTICLES})\s+")


def parse_spoken(text: str) -> Spoken:
    """What a line asks for. Anything that is no control is a prompt, kept as it was said."""
    plain = _COURTESY.sub("", _plain(text))
    if plain in _PAUSE:
        return Pause()
    if plain in _RESUME:
        return Resume()
    forget = _FORGET.match(plain)
    if forget is None:
        return Look(text.strip())
    target = forget["target"] or ""
    if target in _EVERYTHING:
        return Forget(None)
    if forget["verb"] == "drop" and target and not _ARTICLE.match(target):
        return Look(text.strip())  # "drop box", "drop cloth"
    return Forget(_ARTICLE.sub("", target + " ").strip() and target)


def match_exactly(who: str, objects: Iterable[TrackedObject]) -> list[str]:
    """Ids of the objects whose id is exactly `who`, else whose whole label or prompt is."""
    known = list(objects)
    same = [item.id for item in known if item.id == who]
    return same or [item.id for item in known if who and who in (item.label, item.prompt)]


def match_words(target: str, objects: Iterable[TrackedObject]) -> list[str]:
    """Ids of the objects that spoken words name: by id, else by the same words (label or prompt, articles
    aside)."""
    known, wanted = list(objects), _name(target)
    same = [item.id for item in known if item.id == target.strip()]
    return same or [item.id for item in known if wanted and wanted in (_name(item.label), _name(item.prompt))]


def match_part(target: str, objects: Iterable[TrackedObject]) -> list[str]:
    """Ids of the objects whose label or prompt has these words in it: "the mug" in "the red mug"."""
    wanted = _name(target)
    return [
        item.id
        for item in objects
        if any(_contains(_name(text), wanted) for text in (item.label, item.prompt))
    ]


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s'-]", " ", text.lower()).split())


def _name(text: str) -> str:
    return _ARTICLE.sub("", _plain(text))


def _contains(name: str, words: str) -> bool:
    return bool(words) and f" {words} " in f" {name} "
