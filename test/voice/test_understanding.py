"""Which words are an instruction, and which are meant for somebody else."""

from __future__ import annotations

import pytest

from uniref_model.voice import Vocabulary, understand

KNOWN = Vocabulary.of(names=["my mug", "Bob's Cup", "Müller's Tasse-2", "日本", "box 7"])


@pytest.mark.parametrize(
    "talk",
    [
        "this meeting is really boring",
        "my brother lives in london",
        "the keys were in my other jacket",
        "that movie was better than the book",
        "the bottle is empty again",
        "my phone needs a new battery",
        "where is the remote you took",
        "find out what they want",
        "follow me",
        "forget it",
        "show me how it works",
        "i cannot find my glasses",
        "can you pass me the salt please",
        "the robot has been working all day",
        "this is really boring",
        "it's a long way to go",
    ],
)
@pytest.mark.parametrize("addressed", [True, False])
def test_a_sentence_is_no_thing(talk, addressed):
    assert understand(talk, addressed=addressed) is None


@pytest.mark.parametrize("talk", ["the dog barked all night", "a man walked into the shop", "the weather"])
def test_what_is_no_known_thing_needs_a_verb_unless_the_robot_is_spoken_to(talk):
    assert understand(talk, addressed=False) is None
    assert understand(talk, addressed=True) == talk


@pytest.mark.parametrize(
    ("words", "prompt"),
    [
        ("the red mug", "the red mug"),
        ("that yellow box on the table", "that yellow box on the table"),
        ("my keys", "my keys"),
        ("the small wooden chairs", "the small wooden chairs"),
        ("Okay, could you please follow the red mug?", "the red mug"),
        ("can you find my phone for me please", "my phone"),
        ("now track the forklift", "the forklift"),
        ("Where's my wallet?", "my wallet"),
        ("um, pause.", "pause"),
        ("can you forget everything", "forget everything"),
        ("this is my mug", "this is my mug"),
        ("remember this as Anna's cup", "remember this as anna's cup"),
        ("forget what my mug looks like", "forget what my mug looks like"),
    ],
)
def test_people_are_polite_and_say_where_a_thing_is(words, prompt):
    assert understand(words, addressed=False) == prompt


@pytest.mark.parametrize(
    ("words", "prompt"),
    [
        ("mug", "my mug"),
        ("follow the mug", "my mug"),
        ("find my mug", "my mug"),
        ("bob's cup", "Bob's Cup"),
        ("look for muller's tasse 2", "Müller's Tasse-2"),
        ("box seven", "box 7"),
        ("forget Bob's cup", "forget Bob's Cup"),
        ("this is bob's cup", "this is Bob's Cup"),
        ("my mug is empty", None),
        ("the mug of tea was cold", None),
    ],
)
def test_a_known_object_is_called_by_its_name_and_written_as_it_was_taught(words, prompt):
    assert understand(words, KNOWN, addressed=False) == prompt


def test_names_are_bounded_and_those_that_cannot_be_said_left_out():
    assert KNOWN.names == ("mug", "bob's cup", "muller's tasse two", "box seven")
    many = Vocabulary.of(names=[f"thing {chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(600)])
    assert len(many.names) == 200


def test_the_hint_has_the_known_objects_and_is_short():
    hint = KNOWN.example()
    assert "my mug" in hint and "Bob's Cup" in hint and "pause" in hint
    assert len(Vocabulary.of(names=[f"name {chr(97 + i)}" for i in range(26)]).example()) < 400
    assert (
        Vocabulary.of(nouns=["forklift"], wake="hey robot").example().startswith("hey robot, follow the red")
    )
