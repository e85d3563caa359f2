"""Phrases for the objects of a clip, used only when they are true of one object and of no other.

A phrase is a `Claim` (noun, colour, size, place, held). One function, `refer`, decides whom a claim fits: in
the frame it is made for, in the other frames, and for claims that must fit nobody. So "true", "unambiguous",
"still true" and "absent" cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .things.colours import COLOURS, SPELLINGS, ColourNames, any_colour
from .things.names import Names, display_noun, name_object

LEFT, RIGHT, TOP, BOTTOM, MIDDLE = "left", "right", "top", "bottom", "middle"


@dataclass(frozen=True)
class Seen:
    """What is seen of one thing in one frame: centre and box in 0..1 of the frame, area in pixels (0: not
    seen)."""

    names: Names
    colours: ColourNames
    area: int
    centre: tuple[float, float]
    held: bool = False
    labelled: bool = True  # clutter is seen, and can make a phrase ambiguous, but is never meant

    @classmethod
    def of(
        cls, names: Names, colours: ColourNames, mask: np.ndarray, *, least: int = 1, labelled: bool = True
    ) -> Seen:
        """What a mask [h,w] (non-zero: the thing) shows. least: pixels under which it is not seen."""
        rows, columns = np.nonzero(mask)
        height, width = mask.shape
        centre = (float(columns.mean() / width), float(rows.mean() / height)) if len(rows) else (0.0, 0.0)
        return cls(names, colours, len(rows) if len(rows) >= least else 0, centre, labelled=labelled)


@dataclass(frozen=True)
class Claim:
    """What a phrase says. None: says nothing about it. noun "" is "thing/object"."""

    noun: str
    colour: str | None = None
    size: str | None = None  # "big" or "small"
    place: str | None = None
    held: bool = False


@dataclass(frozen=True)
class Expression:
    """A phrase about one object, and the frames of the clip (0 first, 1 previous, 2 current) in which it
    means just that object."""

    text: str
    frames: tuple[int, ...]


def _kind_fits(thing: Seen, claim: Claim) -> tuple[bool, bool]:
    """(certainly, possibly) as to noun, colour and being held."""
    sure = maybe = True
    if claim.noun:
        sure = claim.noun in thing.names.own
        maybe = sure or claim.noun in thing.names.confusable
    if claim.colour:
        sure &= claim.colour in thing.colours.main
        maybe &= claim.colour in thing.colours.possible
    if claim.held:
        sure &= thing.held
        maybe &= thing.held
    return sure, maybe


def refer(things: Sequence[Seen], claim: Claim) -> tuple[int | None, bool]:
    """Whom does the claim mean among the things seen in a frame?

    Returns (index of the one thing it certainly and only means, or None; whether it could mean anything at
    all).
    """
    seen = [i for i, thing in enumerate(things) if thing.area > 0]
    fits = {i: _kind_fits(things[i], claim) for i in seen}
    possible = [i for i in seen if fits[i][1]]
    if not possible:
        return None, False
    if claim.size is None and claim.place is None:
        certain = [i for i in possible if fits[i][0]]
        return (certain[0] if len(certain) == 1 and len(possible) == 1 else None), True
    # Size and place compare with the others of the same kind; those who only possibly belong to it take part
    # as well.
    best = _extreme(things, possible, claim)
    return (best if best is not None and fits[best][0] else None), True


def _extreme(things: Sequence[Seen], among: list[int], claim: Claim) -> int | None:
    """The thing that is clearly the biggest, leftmost, ... of `among`, or None when it is too close to
    call."""
    if claim.size is not None:
        if len(among) < 2:
            return None
        order = sorted(among, key=lambda i: things[i].area, reverse=claim.size == "big")
        first, second = things[order[0]].area, things[order[1]].area
        clear = first >= 1.6 * second if claim.size == "big" else second >= 1.6 * first
        return order[0] if clear and (claim.place is None or len(among) == 1) else None
    centres = np.array([things[i].centre for i in among])
    if claim.place == MIDDLE:
        away = np.abs(centres - 0.5).max(1)
        inside = np.flatnonzero(away < 0.17)
        others = np.delete(away, inside)
        return among[int(inside[0])] if len(inside) == 1 and (others > 0.27).all() else None
    axis, sign = (0, 1) if claim.place in (LEFT, RIGHT) else (1, 1)
    value = centres[:, axis] * (sign if claim.place in (LEFT, TOP) else -1)
    limit = 0.45 if claim.place in (LEFT, TOP) else -0.55
    order = np.argsort(value)
    clear = value[order[0]] < limit and (len(order) == 1 or value[order[1]] - value[order[0]] > 0.12)
    return among[int(order[0])] if clear else None


def say(rng: np.random.Generator, claim: Claim) -> str:
    """Put a claim into words, in one of several ways; lower case."""
    noun = (
        display_noun(claim.noun)
        if claim.noun
        else str(rng.choice(["object", "thing", "one"], p=[0.5, 0.35, 0.15]))
    )
    words = []
    if claim.size:
        superlative = rng.random() < 0.5
        choices = {
            "big": (["biggest", "largest"], ["big", "large"]),
            "small": (["smallest"], ["small", "little", "smaller"]),
        }[claim.size]
        words.append(str(rng.choice(choices[0 if superlative else 1])))
    if claim.colour:
        spellings = SPELLINGS.get(claim.colour, (claim.colour,))
        words.append(spellings[-1] if rng.random() < 0.25 else spellings[0])
    words.append(noun)
    after = ""
    if claim.place:
        before = {
            LEFT: ["left"],
            RIGHT: ["right"],
            TOP: ["top", "upper"],
            BOTTOM: ["bottom", "lower"],
            MIDDLE: ["middle", "central"],
        }[claim.place]
        behind = {
            LEFT: ["on the left", "to the left", "at the left side"],
            RIGHT: ["on the right", "to the right", "at the right side"],
            TOP: ["at the top", "up there", "on top"][:1],
            BOTTOM: ["at the bottom", "down below"][:1],
            MIDDLE: ["in the middle", "in the center", "in the centre"],
        }[claim.place]
        if rng.random() < 0.35:
            words.insert(0, str(rng.choice(before)))
        else:
            after = " " + str(rng.choice(behind))
    if claim.held:
        after += " " + str(
            rng.choice(["being held", "in the hand", "that is held", "held by someone", "in his hand"])
        )
    phrase = " ".join(words) + after
    roll = rng.random()
    plain = not (claim.size or claim.place or claim.held)
    if roll < 0.6 or not plain or _is_plural(noun):
        return ("the " + phrase) if roll < 0.85 else phrase
    article = "an" if phrase[0] in "aeiou" else "a"
    return f"{article} {phrase}" if roll < 0.75 else phrase


def _is_plural(noun: str) -> bool:
    """Whether no "a" goes before it: "sandals", but not "glass"."""
    return noun.endswith("s") and not noun.endswith(("ss", "us", "is"))


def _choose_noun(rng: np.random.Generator, names: Names) -> str:
    """Mostly the usual noun, sometimes a synonym or kind, sometimes nothing ("thing")."""
    roll = rng.random()
    if roll < 0.62:
        return names.usual
    if roll < 0.8:
        return str(rng.choice(sorted(names.own)))
    return ""


def _random_claim(rng: np.random.Generator, thing: Seen) -> Claim:
    claim = Claim(_choose_noun(rng, thing.names))
    if _is_person(thing.names.own):
        return _placed(rng, claim, thing)
    if thing.colours.main and not _tells_colour(claim.noun) and rng.random() < (0.62 if claim.noun else 0.8):
        claim = replace(claim, colour=str(rng.choice(sorted(thing.colours.main))))
    return _placed(rng, claim, thing)


def _tells_colour(noun: str) -> bool:
    """Whether a name holds a colour already: "yellow eraser"."""
    return any(word in COLOURS for word in noun.split())


def _is_person(own: frozenset[str]) -> bool:
    """People are not told apart by colour: the words would be about skin."""
    return "person" in own


def _placed(rng: np.random.Generator, claim: Claim, thing: Seen) -> Claim:
    roll = rng.random()
    if roll < 0.24:
        claim = replace(claim, place=str(rng.choice([LEFT, RIGHT, LEFT, RIGHT, TOP, BOTTOM, MIDDLE])))
    elif roll < 0.36:
        claim = replace(claim, size=str(rng.choice(["big", "small"])))
    elif thing.held and roll < 0.5:
        claim = replace(claim, held=True)
    return claim


def expressions_for(
    rng: np.random.Generator, frames: Sequence[Sequence[Seen]], index: int, count: int = 4, tries: int = 24
) -> list[Expression]:
    """Up to `count` different phrases that mean thing `index`, and it alone, in the last frame."""
    found: dict[str, Expression] = {}
    current = frames[-1]
    if current[index].area == 0:
        return []
    for _ in range(tries):
        claim = _random_claim(rng, current[index])
        if refer(current, claim)[0] != index:
            continue
        holds = tuple(t for t, things in enumerate(frames) if refer(things, claim)[0] == index)
        text = say(rng, claim)
        found.setdefault(text, Expression(text, holds))
        if len(found) == count:
            break
    return list(found.values())


def absent_for(
    rng: np.random.Generator,
    frames: Sequence[Sequence[Seen]],
    nouns: Sequence[str],
    behind: frozenset[str] = frozenset(),
    count: int = 4,
    tries: int = 30,
) -> list[str]:
    """Phrases that fit nothing in any frame: a thing that is there in a colour it has not, and things that
    are not there.

    behind: colours of the background, of which no unnamed "thing" is claimed to be absent.
    """
    found: list[str] = []
    things = [thing for thing in frames[-1] if thing.area > 0 and thing.labelled]
    for attempt in range(tries):
        if things and attempt % 3 != 2:
            thing = things[int(rng.integers(len(things)))]
            noun = thing.names.usual if rng.random() < 0.75 else ""
            claim = Claim(noun, colour=any_colour(rng))
            if not noun and claim.colour in behind:
                continue
        else:
            same = [c for thing in things for c in sorted(thing.colours.main)]
            colour = str(rng.choice(same)) if same and rng.random() < 0.6 else None
            claim = Claim(str(rng.choice(nouns)), colour=colour)
        if claim.colour and _is_person(name_object(claim.noun).own):
            continue
        if any(refer(seen, claim)[1] for seen in frames):
            continue
        text = say(rng, claim)
        if text not in found:
            found.append(text)
        if len(found) == count:
            break
    return found
