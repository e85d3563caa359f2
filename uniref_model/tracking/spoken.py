"""Spoken controls: a line of plain words is a command ("forget the red mug", "pause") or something to look
for.

A control needs its object: "forget" alone asks for nothing, and "drop" is one only before a thing that is
pointed at ("drop the box"), since "drop box" is the name of a thing. So is "follow" before its thing: "follow
my mug" looks for "my mug". Politeness ("please") plays no part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..known_objects.names import ARTICLES, name_key, plain_words, without_article
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


@dataclass(frozen=True)
class Teach:
    """What is followed is to be known by this name from now on."""

    name: str


@dataclass(frozen=True)
class ForgetKnown:
    """Forget what the object of this name looks like."""

    name: str


Spoken = Look | Forget | Pause | Resume | Teach | ForgetKnown

_EVERYTHING = {"everything", "all", "all objects", "every object", "them all"}
_VERBS = "forget|remove|delete|drop|stop tracking|stop following"
_FORGET = re.compile(rf"^(?P<verb>{_VERBS})(?:\s+about)?(?:\s+(?P<target>.+))?$")
_PAUSE = {"pause", "pause tracking", "stop tracking", "stop following"}
_RESUME = {"resume", "resume tracking", "continue", "continue tracking", "unpause"}
_COURTESY = re.compile(r"^please\s+|\s+please$")
_ARTICLE = re.compile(rf"^(?:{ARTICLES})\s+")
_TEACH = re.compile(
    r"^(?:(?:this|that|it) is|that's|it's|(?:call|name) (?:this|that|it)|remember (?:this|that|it) as)"
    r"\s+(?P<name>.+)$"
)
_FORGET_KNOWN = re.compile(r"^forget (?:what|how) (?P<name>.+?) looks?(?: like)?$")
_FOLLOW = re.compile(rf"^(?:follow|track|find|look for)\s+(?=(?:{ARTICLES})\s)", re.IGNORECASE)


def parse_spoken(text: str) -> Spoken:
    """What a line asks for. Anything that is no control is a prompt, kept as it was said."""
    plain = _COURTESY.sub("", plain_words(text))
    if plain in _PAUSE:
        return Pause()
    if plain in _RESUME:
        return Resume()
    if teach := _TEACH.match(plain):
        return Teach(teach["name"])
    if known := _FORGET_KNOWN.match(plain):
        return ForgetKnown(known["name"])
    forget = _FORGET.match(plain)
    if forget is None:
        return Look(_FOLLOW.sub("", text.strip()))
    target = forget["target"] or ""
    if target in _EVERYTHING:
        return Forget(None)
    if forget["verb"] == "drop" and target and not _ARTICLE.match(target):
        return Look(text.strip())  # "drop box", "drop cloth"
    return Forget(without_article(target + " ").strip() and target)


def match_exactly(who: str, objects: Iterable[TrackedObject]) -> list[str]:
    """Ids of the objects whose id is exactly `who`, else whose whole label or prompt is."""
    known = list(objects)
    same = [item.id for item in known if item.id == who]
    return same or [item.id for item in known if who and who in (item.label, item.prompt)]


def match_words(target: str, objects: Iterable[TrackedObject]) -> list[str]:
    """Ids of the objects that spoken words name: by id, else by the same words (label or prompt, articles
    aside)."""
    known, wanted = list(objects), name_key(target)
    same = [item.id for item in known if item.id == target.strip()]
    return same or [
        item.id for item in known if wanted and wanted in (name_key(item.label), name_key(item.prompt))
    ]


def match_part(target: str, objects: Iterable[TrackedObject]) -> list[str]:
    """Ids of the objects whose label or prompt has these words in it: "the mug" in "the red mug"."""
    wanted = name_key(target)
    return [
        item.id
        for item in objects
        if any(_contains(name_key(text), wanted) for text in (item.label, item.prompt))
    ]


def _contains(name: str, words: str) -> bool:
    return bool(words) and f" {words} " in f" {name} "
