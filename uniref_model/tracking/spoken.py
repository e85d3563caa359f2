"""Spoken controls: a line of plain words is a command ("forget the red mug", "pause") or something to look
for."""

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
    """Forget the objects these words name; everything when target is None."""

    target: str | None


@dataclass(frozen=True)
class Pause:
    """Stop stepping frames; objects are kept."""


@dataclass(frozen=True)
class Resume:
    """Go on stepping frames."""


Spoken = Look | Forget | Pause | Resume

_EVERYTHING = {"everything", "all", "all objects", "every object", "them all"}
_FORGET = re.compile(r"^(?:forget|remove|delete|drop|stop tracking|stop following)\s+(?:about\s+)?(.+)$")
_PAUSE = {"pause", "pause tracking", "stop tracking", "stop following"}
_RESUME = {"resume", "resume tracking", "continue", "continue tracking", "unpause"}
_COURTESY = re.compile(r"^please\s+|\s+please$")
_ARTICLE = re.compile(r"^(?:the|a|an|my|this|that)\s+")


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
    target = forget.group(1)
    return Forget(None if target in _EVERYTHING else target)


def match_objects(target: str, objects: Iterable[TrackedObject]) -> list[str]:
    """Ids of the objects named: by id, else by the same words (label or prompt, articles aside), else by
    words that contain them. The first kind that matches decides, so that "the mug" does not forget "the red
    mug" when both are there."""
    known = list(objects)
    wanted = _name(target)
    kinds = (
        lambda item: target.strip() == item.id,
        lambda item: wanted in (_name(item.label), _name(item.prompt)),
        lambda item: _contains(_name(item.label), wanted) or _contains(_name(item.prompt), wanted),
    )
    for matches in kinds:
        found = [item.id for item in known if matches(item)]
        if found:
            return found
    return []


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s'-]", " ", text.lower()).split())


def _name(text: str) -> str:
    return _ARTICLE.sub("", _plain(text))


def _contains(name: str, words: str) -> bool:
    return bool(words) and f" {words} " in f" {name} "
