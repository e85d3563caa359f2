"""What is expected to be said, and which prompt it means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from uniref_model.tracking.spoken import Forget, ForgetKnown, Pause, Resume, Teach, parse_spoken

_ADJECTIVES = """
    red green blue yellow black white orange brown grey pink purple silver golden big small large
    little tall round square striped wooden metal plastic paper glass left right
"""
_NOUNS = """
    apple backpack bag ball banana basket bicycle board bolt book bottle bowl box brush bucket button
    cable can car cardboard carpet carrot cart cat chair clock coin cone cup cushion desk dog door
    drawer drill drone fan fork glass glove hammer hand handle hat helmet jar keyboard keys kettle
    knife ladder lamp laptop lemon lid man marker monitor motorcycle mouse mug notebook object orange
    package pallet pan parcel pen pencil person phone pillow pipe plant plate pliers remote robot ruler
    scissors screw screwdriver shelf shirt shoe sofa sponge spoon stapler table tape tin tomato toolbox
    tool towel toy tray truck umbrella vase wallet watch woman wrench
"""
_ARTICLES = ("the", "a", "my")
_BARE = ("the", "my")
"""What an object without a verb begins with: "a" is so short that it would be heard in any word."""
_VERBS = ("follow", "track", "find", "look for", "show me")
_FORGET = ("forget", "remove", "delete", "stop tracking", "stop following")
_CONTROLS = (
    "pause",
    "pause tracking",
    "resume",
    "resume tracking",
    "continue",
    "stop tracking",
    "stop following",
)
_ALL = ("everything", "all objects")
_MOST_ADJECTIVES = 2
_MOST_WORDS = 8
"""More words than this do not name a thing: somebody is talking to somebody else."""

_VERB = re.compile(r"^(?:follow|track|find|look for|search for|show me|where is)\s+(.+)$")
_STARTS_LIKE_A_THING = re.compile(r"^(?:the|a|an|my|this|that)\s+\S")
_ONLY_SMALL_WORDS = re.compile(r"^(?:(?:the|a|an|my|this|that|and|of|with|on|in|please)\s*)*$")


@dataclass(frozen=True)
class Vocabulary:
    """The words an engine with a grammar listens for. wake: words that must come first, empty for none."""

    nouns: tuple[str, ...] = tuple(_NOUNS.split())
    adjectives: tuple[str, ...] = tuple(_ADJECTIVES.split())
    wake: str = ""

    @classmethod
    def of(cls, *, nouns: Iterable[str] = (), adjectives: Iterable[str] = (), wake: str = "") -> Vocabulary:
        """These words, or the usual ones where none are given; a noun may have several words.

        Raises ValueError for what is not made of letters and apostrophes.
        """
        return cls(
            _chosen("noun", nouns) or cls.nouns,
            _chosen("adjective", adjectives) or cls.adjectives,
            _checked("wake word", wake) if wake.strip() else "",
        )

    def words(self) -> list[str]:
        """Every single word, sorted."""
        parts = (*self.nouns, *self.adjectives, self.wake, *_ARTICLES, *_VERBS, *_FORGET, *_CONTROLS, *_ALL)
        return sorted({word for part in parts for word in f"{part} please".split()})

    def jsgf(self) -> str:
        """The grammar in the Java Speech Grammar Format. An article or an adjective alone is no sentence."""
        wake = f"[<wake>] <sentence> | <wake>;\n<wake> = {self.wake};" if self.wake else "<sentence>;"
        adjectives = " ".join(["[<adjective>]"] * _MOST_ADJECTIVES)
        return "\n".join(
            [
                "#JSGF V1.0;",
                "grammar spoken;",
                f"public <command> = {wake}",
                "<sentence> = [please] (<control> | (<verb> | <forget>) <object> | <named>);",
                f"<control> = {_either(_CONTROLS)} | (forget | remove | delete) ({_either(_ALL)});",
                f"<forget> = {_either(_FORGET)};",
                f"<verb> = {_either(_VERBS)};",
                f"<object> = ({_either(_ARTICLES)}) {adjectives} <noun>;",
                f"<named> = ({_either(_BARE)}) {adjectives} <noun>;",
                f"<adjective> = {_either(self.adjectives)};",
                f"<noun> = {_either(self.nouns)};",
            ]
        )

    def accepts(self, words: str) -> bool:
        """Whether `jsgf` describes exactly these words, without the wake word. A decoder that runs out of
        paths answers with half a sentence."""
        adjectives = f"(?: (?:{'|'.join(self.adjectives)})){{0,{_MOST_ADJECTIVES}}}"
        named = f"{adjectives} (?:{'|'.join(self.nouns)})"
        sentence = (
            f"(?:please )?(?:(?:{'|'.join(_CONTROLS)})|(?:forget|remove|delete) (?:{'|'.join(_ALL)})"
            f"|(?:{'|'.join((*_VERBS, *_FORGET))}) (?:{'|'.join(_ARTICLES)}){named}"
            f"|(?:{'|'.join(_BARE)}){named})"
        )
        return re.fullmatch(sentence, words) is not None


def understand(words: str) -> str | None:
    """The line for the tracker's `~/prompt` that these words mean; None when they are no instruction.

    A control ("pause", "forget the red mug") is handed on as it is; "follow the yellow box" becomes "the
    yellow box". Without a verb only what begins like a thing counts, so that talk is not taken for an
    object, whichever engine heard it.
    """
    plain = re.sub(r"^please\s+|\s+please$", "", " ".join(re.sub(r"[^\w\s'-]", " ", words.lower()).split()))
    spoken = parse_spoken(plain)
    if isinstance(spoken, Pause | Resume):
        return plain
    if isinstance(spoken, Forget):
        if spoken.target is None:
            return "forget everything"
        return plain if _is_thing(spoken.target) else None
    if isinstance(spoken, Teach | ForgetKnown):
        points_at_it = _STARTS_LIKE_A_THING.match(spoken.name)  # talk begins with "this is" too
        return plain if points_at_it and _is_thing(spoken.name) else None
    verb = _VERB.match(plain)
    target = verb.group(1) if verb else plain
    if verb is None and not _STARTS_LIKE_A_THING.match(plain):
        return None
    return target if _is_thing(target) else None


def after_wake(words: str, wake: str) -> str | None:
    """What follows the wake word; None when the words do not begin with it."""
    plain = " ".join(re.sub(r"[^\w\s'-]", " ", words.lower()).split())
    if plain == wake:
        return ""
    return plain.removeprefix(wake + " ") if plain.startswith(wake + " ") else None


def _is_thing(target: str) -> bool:
    return len(target.split()) <= _MOST_WORDS and not _ONLY_SMALL_WORDS.match(target)


def _either(words: Iterable[str]) -> str:
    return " | ".join(words)


def _chosen(kind: str, words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_checked(kind, word) for word in words if word.strip()))


def _checked(kind: str, text: str) -> str:
    plain = " ".join(text.lower().split())
    if not re.fullmatch(r"[a-z']+(?: [a-z']+)*", plain):
        raise ValueError(f"{kind} is {text!r}, expected words of letters and apostrophes")
    return plain
