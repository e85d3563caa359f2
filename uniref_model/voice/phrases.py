"""What is expected to be said."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
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
"""Both understood, and not in the grammar, which confuses the more the more it holds."""
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
_EVERY = tuple(f"{verb} {what}" for verb in ("forget", "remove", "delete") for what in _ALL)
_EXAMPLES = (("follow", "the"), ("find", "my"), ("look for", "a"), ("forget", "the"))
_MOST_EXAMPLES = 6
_ARTICLE_AT_END = re.compile(r"(?:^|(?<= ))(?:the|a|an|my|this|that) $")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_MOST_ADJECTIVES = 2
_MOST_NAMES = 200
"""Known objects whose names are listened for; more than anybody calls by name."""


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
        parts = (*self.nouns, *self.adjectives, self.wake, *_ARTICLES, *_VERBS, *_FORGET, *_CONTROLS, *_ALL)
        return sorted({word for part in parts for word in f"{part} please".split()})

    def written(self, prompt: str) -> str:
        """A prompt with the name of a known object at its end written as people wrote it."""
        for said, title in zip(self.names, self.titles, strict=True):
            if f" {prompt}".endswith(f" {said}"):
                before = prompt[: len(prompt) - len(said)]
                has_article = without_article(title.lower()) != title.lower()
                return (_ARTICLE_AT_END.sub("", before) if has_article else before) + title
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
    def paths(self) -> tuple[tuple[tuple[str, ...], ...], ...]:
        """The sentences, the wake word and courtesies aside: each path is a row of slots, of which each takes
        one of its phrases; "" where a slot may stay empty."""
        verbs, adjectives = ("", *_VERBS, *_MORE_VERBS, *_TEACH, *_FORGET), ("", *self.adjectives)
        things = (verbs, _ARTICLES, *[adjectives] * _MOST_ADJECTIVES, self.nouns)
        called = ((verbs, ("", *_BARE), self.names),) if self.names else ()
        return ((*_CONTROLS, *_EVERY),), things, *called

    def jsgf(self) -> str:
        """The grammar in the Java Speech Grammar Format. An article or an adjective alone is no sentence."""
        wake = f"[<wake>] <sentence> | <wake>;\n<wake> = {self.wake};" if self.wake else "<sentence>;"
        adjectives = " ".join(["[<adjective>]"] * _MOST_ADJECTIVES)
        called = f" | [{_either(_BARE)}] ({_either(self.names)})" if self.names else ""
        return "\n".join(
            [
                "#JSGF V1.0;",
                "grammar spoken;",
                f"public <command> = {wake}",
                "<sentence> = [please] (<control> | (<verb> | <forget>) <object> | <named>);",
                f"<control> = {_either(_CONTROLS)} | (forget | remove | delete) ({_either(_ALL)});",
                f"<forget> = {_either(_FORGET)};",
                f"<verb> = {_either(_VERBS)};",
                f"<object> = ({_either(_ARTICLES)}) {adjectives} <noun>{called};",
                f"<named> = ({_either(_BARE)}) {adjectives} <noun>{called};",
                f"<adjective> = {_either(self.adjectives)};",
                f"<noun> = {_either(self.nouns)};",
            ]
        )

    def accepts(self, words: str) -> bool:
        """Whether these words, without the wake word, are one of the sentences. A decoder that runs out of
        paths answers with half of one."""
        return self._sentence.fullmatch(words) is not None

    @cached_property
    def _sentence(self) -> re.Pattern[str]:
        adjectives = f"(?: (?:{'|'.join(self.adjectives)})){{0,{_MOST_ADJECTIVES}}}"
        thing = f"{adjectives} (?:{'|'.join(self.nouns)})"
        called = f"|(?:(?:{'|'.join(_BARE)}) )?(?:{'|'.join(self.names)})" if self.names else ""
        verbs = "|".join((*_VERBS, *_MORE_VERBS, *_TEACH, *_FORGET))
        return re.compile(
            f"(?:please )?(?:{'|'.join((*_CONTROLS, *_EVERY))}"
            f"|(?:{verbs}) (?:(?:{'|'.join(_ARTICLES)}){thing}{called})"
            f"|(?:{'|'.join(_BARE)}){thing}{called})"
        )


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


def _chosen(kind: str, words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_checked(kind, word) for word in words if word.strip()))


def _checked(kind: str, text: str) -> str:
    plain = " ".join(text.lower().split())
    if not re.fullmatch(r"[a-z']+(?: [a-z']+)*", plain):
        raise ValueError(f"{kind} is {text!r}, expected words of letters and apostrophes")
    return plain
