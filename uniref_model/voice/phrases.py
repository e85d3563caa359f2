"""What is expected to be said."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from uniref_model.known_objects import names as known_names
from uniref_model.known_objects.names import without_article

_ADJECTIVES = """
    red green blue yellow black white orange brown grey gray pink purple silver golden big small large
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
_MORE_VERBS = ("search for", "where is")
_TEACH = ("this is", "call this", "remember this as")
_FORGET = ("forget", "remove", "delete", "stop tracking", "stop following")
_FORGET_LOOKS, _LOOKS = ("forget what",), ("looks like",)
_LISTENED = (*_VERBS, *_FORGET)
"""Before a thing, in a grammar to listen with: the more it holds, the more it confuses."""
_UNDERSTOOD = (*_LISTENED, *_MORE_VERBS, *_TEACH)
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
_EVERY = tuple(f"{verb} {what}" for verb in ("forget", "remove", "delete") for what in _ALL)
_EXAMPLES = (("follow", "the"), ("find", "my"), ("look for", "a"), ("forget", "the"))
_MOST_EXAMPLES = 6
_ARTICLE_AT_END = re.compile(r"(?:^|(?<= ))(?:the|a|an|my|this|that) $")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_MOST_ADJECTIVES = 2
_MOST_NAMES = 200
"""Known objects whose names are listened for; more than anybody calls by name."""

Slot = tuple[str, ...]
Path = tuple[Slot, ...]
"""A row of slots, of which each takes one of its phrases; "" where it may stay empty."""


@dataclass(frozen=True)
class Vocabulary:
    """The words to listen for. names: of known objects as they are said, alone or after an article; titles:
    the same as they are written. wake: words that must come first, empty for none."""

    nouns: tuple[str, ...] = tuple(_NOUNS.split())
    adjectives: tuple[str, ...] = tuple(_ADJECTIVES.split())
    names: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    wake: str = ""

    @classmethod
    def of(
        cls,
        *,
        nouns: Iterable[str] = (),
        adjectives: Iterable[str] = (),
        names: Iterable[str] = (),
        wake: str = "",
    ) -> Vocabulary:
        """These words, or the usual ones where no nouns or adjectives are given; a noun may have several
        words.

        Names are those of known objects, whatever people called them: an article before one plays no part,
        and one that cannot be said (no letters) is left out. Raises ValueError for a noun, an adjective or a
        wake word that is not made of letters and apostrophes.
        """
        called = {_sayable(name): name for name in names}
        called.pop("", None)
        known = list(called.items())[:_MOST_NAMES]
        return cls(
            _chosen("noun", nouns) or cls.nouns,
            _chosen("adjective", adjectives) or cls.adjectives,
            tuple(said for said, _ in known),
            tuple(written for _, written in known),
            _checked("wake word", wake) if wake.strip() else "",
        )

    def words(self) -> list[str]:
        """Every single word but those of names, sorted."""
        slots = (slot for path in replace(self, names=(), titles=())._heard for slot in path)
        phrases = ("please", self.wake, *(phrase for slot in slots for phrase in slot))
        return sorted({word for phrase in phrases for word in phrase.split()})

    def written(self, prompt: str) -> str:
        """A prompt with the name of a known object in it written as people wrote it."""
        end = next((f" {looks}" for looks in _LOOKS if prompt.endswith(f" {looks}")), "")
        asked = prompt.removesuffix(end)
        for said, title in zip(self.names, self.titles, strict=True):
            if f" {asked}".endswith(f" {said}"):
                before = asked[: len(asked) - len(said)]
                has_article = without_article(title.lower()) != title.lower()
                return (_ARTICLE_AT_END.sub("", before) if has_article else before) + title + end
        return prompt

    def example(self) -> str:
        """A few sentences of these words, as they would be written down."""
        known = [f"{_VERBS[i % len(_VERBS)]} {title}" for i, title in enumerate(self.titles[:_MOST_EXAMPLES])]
        things = [
            f"{verb} {article} {self.adjectives[i % len(self.adjectives)]} {self.nouns[i % len(self.nouns)]}"
            for i, (verb, article) in enumerate(_EXAMPLES)
        ]
        called = f"{self.wake}, " if self.wake else ""
        sentences = (*things, *known, "pause", "resume", "forget everything")
        return " ".join(f"{called}{sentence}." for sentence in sentences)

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """Every sentence that is understood, the wake word and courtesies aside; here a thing without a verb
        may have any article."""
        return (*self._sentences(_UNDERSTOOD, _ARTICLES), *self._forgotten_looks())

    @cached_property
    def _heard(self) -> tuple[Path, ...]:
        taught = tuple((_TEACH, *thing) for thing in self._owned)
        return (*self._sentences(_LISTENED, _BARE), *taught, *self._forgotten_looks())

    def jsgf(self) -> str:
        """The grammar to listen with, in the Java Speech Grammar Format. An article or an adjective alone is
        no sentence."""
        wake = f"[<wake>] <sentence> | <wake>;\n<wake> = {self.wake};" if self.wake else "<sentence>;"
        paths = [" ".join(map(_slot, path)) for path in self._heard]
        return "\n".join(
            [
                "#JSGF V1.0;",
                "grammar spoken;",
                f"public <command> = {wake}",
                f"<sentence> = [please] ({_either(paths)});",
            ]
        )

    def accepts(self, words: str) -> bool:
        """Whether these words, without the wake word, are one of the sentences. A decoder that runs out of
        paths answers with half of one."""
        return self._sentence.fullmatch(f"{words} ") is not None

    @cached_property
    def _sentence(self) -> re.Pattern[str]:
        paths = (*self._sentences(_UNDERSTOOD, _BARE), *self._forgotten_looks())
        return re.compile(f"(?:please )?(?:{'|'.join(''.join(map(_pattern, path)) for path in paths)})")

    def _sentences(self, verbs: tuple[str, ...], bare: tuple[str, ...]) -> tuple[Path, ...]:
        """The grammar. bare: what a thing without a verb begins with."""
        paths: list[Path] = [((*_CONTROLS, *_EVERY),), (verbs, _ARTICLES, *self._thing), (bare, *self._thing)]
        if self.names:
            paths.append((("", *verbs), *self._known))
        return tuple(paths)

    def _forgotten_looks(self) -> tuple[Path, ...]:
        """The sentences that end what a teaching sentence began."""
        return tuple((_FORGET_LOOKS, *thing, _LOOKS) for thing in self._owned)

    @property
    def _owned(self) -> tuple[Path, ...]:
        """What a known object may be called."""
        return ((_BARE, *self._thing), *([self._known] if self.names else []))

    @property
    def _thing(self) -> Path:
        return (*[("", *self.adjectives)] * _MOST_ADJECTIVES, self.nouns)

    @property
    def _known(self) -> Path:
        return ("", *_BARE), self.names


def plain_words(text: str) -> str:
    """Lower case, without punctuation, a lone digit as a word: recognisers write "mug 2"."""
    words = known_names.plain_words(text).split()
    return " ".join(_DIGITS[int(word)] if len(word) == 1 and word in "0123456789" else word for word in words)


def _sayable(name: str) -> str:
    """How a known object's name is said: its words in plain letters; "" when there are none."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z' ]", " ", plain_words(re.sub(r"[-_]|(?<=[^0-9])(?=[0-9])", " ", letters))).split()
    return without_article(" ".join(word for word in words if word.strip("'")))


def after_wake(words: str, wake: str) -> str | None:
    """What follows the wake word; None when the words do not begin with it."""
    plain = plain_words(words)
    if plain == wake:
        return ""
    return plain.removeprefix(wake + " ") if plain.startswith(wake + " ") else None


def _either(words: Iterable[str]) -> str:
    return " | ".join(words)


def _slot(phrases: Slot) -> str:
    """A slot in JSGF."""
    words = _either(filter(None, phrases))
    return f"[{words}]" if "" in phrases else f"({words})"


def _pattern(phrases: Slot) -> str:
    """A slot as a regular expression, with the space behind it."""
    return f"(?:(?:{'|'.join(filter(None, phrases))}) ){'?' if '' in phrases else ''}"


def _chosen(kind: str, words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_checked(kind, word) for word in words if word.strip()))


def _checked(kind: str, text: str) -> str:
    plain = " ".join(text.lower().split())
    if not re.fullmatch(r"[a-z']+(?: [a-z']+)*", plain):
        raise ValueError(f"{kind} is {text!r}, expected words of letters and apostrophes")
    return plain
