"""Heard words fitted to the vocabulary by their sound."""

from __future__ import annotations

import numpy as np
import pytest
from ears import QUIET, Says, voice_like

pytest.importorskip("pocketsphinx", reason="pocketsphinx, which brings the dictionary, is not installed")

from uniref_model.voice import Heard, Listener, Vocabulary
from uniref_model.voice.fitting import Fitter
from uniref_model.voice.sounds import Pronouncer, spell


@pytest.fixture(scope="module")
def pronouncer():
    return Pronouncer()


@pytest.fixture(scope="module")
def fitter(pronouncer):
    return Fitter(Vocabulary(wake="hey robot"), pronouncer)


def test_words_sound_as_the_dictionary_says_and_others_as_they_are_spelt(pronouncer):
    assert pronouncer.phones("red mug") == ("R", "EH", "D", "M", "AH", "G")
    assert pronouncer.phones("mugg") == ("M", "AH", "G")
    assert spell("quackle") == ("K", "W", "AE", "K", "L")
    assert pronouncer.phones("東 7") == ()


@pytest.mark.parametrize(
    ("word", "near", "far"), [("mug", "mogg", "mat"), ("pin", "bin", "sun"), ("cap", "cab", "sofa")]
)
def test_what_sounds_alike_is_near(fitter, word, near, far):
    assert fitter.distance(word, word) == 0 < fitter.distance(word, near) < 0.25 < fitter.distance(word, far)
    assert fitter.distance(word, near) == pytest.approx(fitter.distance(near, word))


@pytest.mark.parametrize(
    ("heard", "meant"),
    [
        ("follow the mogg", "follow the mug"),
        ("find the blue bottel", "find the blue bottle"),
        ("find a screw driver", "find a screwdriver"),
        ("paws", "pause"),
        ("the read box", "the red box"),
    ],
)
def test_what_is_near_is_taken_for_what_can_be_said(fitter, heard, meant):
    assert fitter.fit(heard) == meant


@pytest.mark.parametrize(
    "heard",
    [
        "follow the log",  # a word of its own, however near the dog
        "follow the princess",
        "show me the plastic roll",
        "find the defibrillator",
        "this meeting is really boring",
        "follow the red mug",
        "please be quiet",
        "xyzzy",
        "",
        "a " * 200,
    ],
)
def test_nothing_is_invented(fitter, heard):
    assert fitter.fit(heard) == heard


def test_the_nearest_sentences_come_in_order_and_within_the_limit(fitter):
    fits = fitter.nearest("look for around clock", 5, 0.2)
    assert fits[0].words == "look for a round clock" and fits[0].distance < 0.1
    assert [fit.distance for fit in fits] == sorted(fit.distance for fit in fits)
    assert all(fit.distance <= 0.2 for fit in fits) and len(fits) <= 5


@pytest.mark.parametrize(
    ("heard", "rest"),
    [
        ("hey robot follow the mug", "follow the mug"),
        ("hey robert follow the mug", "follow the mug"),
        ("hey robot", ""),
        ("follow the mug", None),
        ("the robot is working", None),
        ("", None),
    ],
)
def test_the_wake_word_is_known_by_its_sound(fitter, heard, rest):
    assert fitter.after_wake(heard) == rest


def test_names_of_known_objects_are_fitted_too(pronouncer):
    fitter = Fitter(Vocabulary.of(names=["Zorbo"]), pronouncer)
    assert fitter.fit("follow zorbow") == "follow zorbo"
    assert Fitter(Vocabulary(), pronouncer).fit("follow zorbow") == "follow zorbow"


def remark_on(listener: Listener):
    return next(listener.hear(np.concatenate([QUIET, voice_like(0.8), QUIET])))


def test_what_was_heard_and_what_was_made_of_it_are_both_told():
    remark = remark_on(Listener(Says(Heard("Follow the mogg", 0.95)), trigger="always"))
    assert (remark.words, remark.prompt, remark.reason) == ("Follow the mogg", "the mug", "")
    remark = remark_on(Listener(Says(Heard("this meeting is really boring", 0.95)), trigger="always"))
    assert (remark.words, remark.prompt) == ("this meeting is really boring", "")
    assert "no instruction" in remark.reason


def test_names_are_learnt_while_it_listens():
    ears = Says(*[Heard("zorbow", 0.95)] * 3)
    listener = Listener(ears, trigger="always")
    assert not remark_on(listener).prompt
    listener.learn(["Zorbo"])
    assert ears.taught[-1].names == ("zorbo",)
    assert remark_on(listener).prompt == "Zorbo"
    listener.learn([])
    assert not remark_on(listener).prompt
