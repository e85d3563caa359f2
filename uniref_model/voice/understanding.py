"""What words mean to the tracker, and which are meant for somebody else."""

from __future__ import annotations

import re

from uniref_model.known_objects.names import without_article
from uniref_model.tracking.spoken import Forget, ForgetKnown, Pause, Resume, Teach, parse_spoken
from uniref_model.voice.phrases import Vocabulary, plain_words

_MOST_WORDS = 8
"""More words than this do not name a thing: somebody is talking to somebody else."""
_MOST_MODIFIERS = 4
"""Words before the noun, when nothing but the words tell that the robot is meant."""
_LEAD = re.compile(r"^(?:(?:ok|okay|now|so|and|well|um|uh|hey|please|robot)\s+)+")
_REQUEST = re.compile(r"^(?:can|could|would|will) you (?:please )?(?=\S+ )")
_TAIL = re.compile(r"(?:\s+(?:please|now|thanks|thank you|for me))+$")
_VERB = re.compile(r"^(?:follow|track|find|look for|search for|show me|where is|where's)\s+(?!out\b)(.+)$")
_ARTICLE = re.compile(r"^(?:the|a|an|my|our|your|his|her|this|that|these|those|\S+'s)\s+(?=\S)")
_SMALL_WORDS = "the a an my our your his her this that these those and of with on in please"
_PLACE = re.compile(
    r"\s+(?:on|in|at|under|behind|beside|near|with|of|from|by|without|inside|next to|between|over)\b.*$"
)
_SENTENCE_WORDS = """
    i you he she it we they me him us them myself yourself himself who whom whose what when why how if because
    although but or than then too very really quite just not never always often again already soon maybe
    yesterday today tomorrow tonight everybody everyone somebody nobody anybody something nothing anything
    is are was were be been being am has have had having do does did done will would could shall should may
    might must cannot let get gets got go goes went gone going come comes came say says said think thinks
    thought know knows knew want wants wanted need needs needed look looks seem seems feel feels felt taste
    tastes smell smells sound sounds make makes made take takes took give gives gave keep keeps kept put puts
    live lives work works leave leaves fell fall falls broke break breaks start starts run runs ran
    ain't isn't aren't wasn't weren't don't doesn't didn't won't wouldn't can't couldn't shouldn't haven't
    hasn't hadn't it's that's there's here's what's who's let's he's she's
"""
"""Words that stand in sentences and in no name of a thing. `_ENDINGS` has their contractions."""
_SMALL, _SENTENCE = frozenset(_SMALL_WORDS.split()), frozenset(_SENTENCE_WORDS.split())
_ENDINGS = ("'re", "'ll", "'ve", "'m", "'d", "n't")


def understand(words: str, vocabulary: Vocabulary | None = None, *, addressed: bool = True) -> str | None:
    """The line for the tracker's `~/prompt` that these words mean; None when they are no instruction.

    A control ("pause", "forget the red mug") is handed on as it is; "follow the yellow box" becomes "the
    yellow box". The name of a known object is one, and so is an article with a thing, unless it goes on as a
    sentence ("this meeting is really boring").

    vocabulary: the things and known objects there are; None for the usual things. addressed: whether it is
    known that the robot is spoken to; if not, a thing without a verb has to be one of the vocabulary's, so
    that talk is not taken for one.
    """
    known = vocabulary or Vocabulary()
    prompt = _prompt(without_courtesy(words), known, addressed)
    return None if prompt is None else known.written(prompt)


def _prompt(plain: str, known: Vocabulary, addressed: bool) -> str | None:
    spoken = parse_spoken(plain)
    if isinstance(spoken, Pause | Resume):
        return plain
    if isinstance(spoken, Forget):
        if spoken.target is None:
            return "forget everything"
        return plain if _is_thing(spoken.target, known) else None
    if isinstance(spoken, Teach):
        return plain if _is_pointed_at(spoken.name, known, addressed) else None  # talk begins so too
    if isinstance(spoken, ForgetKnown):
        return plain if _is_thing(spoken.name, known) else None
    verb = _VERB.match(plain)
    if verb is not None:
        return verb[1] if _is_thing(verb[1], known) else None
    return plain if _is_pointed_at(plain, known, addressed) else None


def _is_pointed_at(words: str, vocabulary: Vocabulary, addressed: bool) -> bool:
    """Whether these words are a known object's name, or an article with a thing."""
    if without_article(words) in vocabulary.names:
        return True
    if not _ARTICLE.match(words) or not _is_thing(words, vocabulary):
        return False
    return addressed or _names_a_thing(words, vocabulary)


def without_courtesy(words: str) -> str:
    """The plain words that matter: not "okay, could you … please"."""
    return _TAIL.sub("", _REQUEST.sub("", _LEAD.sub("", plain_words(words))))


def _is_thing(target: str, vocabulary: Vocabulary) -> bool:
    words = target.split()
    if without_article(target) in vocabulary.names:
        return True
    return (
        len(words) <= _MOST_WORDS
        and not _SMALL.issuperset(words)
        and not any(word in _SENTENCE or word.endswith(_ENDINGS) for word in words)
    )


def _names_a_thing(words: str, vocabulary: Vocabulary) -> bool:
    """Whether an article, a few words and a noun of the vocabulary are all, but for where the thing is."""
    name = _PLACE.sub("", _ARTICLE.sub("", words))
    heads = {
        noun for noun in vocabulary.nouns if f" {name}".endswith((f" {noun}", f" {noun}s", f" {noun}es"))
    }
    return bool(heads) and len(name.split()) <= _MOST_MODIFIERS
