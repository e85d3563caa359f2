"""Texts and ids that callers give: what is refused, and what an id means."""

from __future__ import annotations

import threading

import pytest
from fake_runtime import FakeColourRuntime, scene

from uniref_model import limits
from uniref_model.errors import MaskError, ObjectIdError, PromptError, UniRefError
from uniref_model.limits import LimitError, check_count, check_name, check_text, quoted
from uniref_model.runtime.text import normalise_prompt
from uniref_model.tracking import Tracker, ids
from uniref_model.tracking.ids import ObjectIds
from uniref_model.tracking.spoken import (
    Forget,
    Look,
    Pause,
    Resume,
    match_exactly,
    match_part,
    match_words,
    parse_spoken,
)
from uniref_model.tracking.types import TrackedObject, TrackState

UNSHOWABLE = {
    "line end": "a\nb",
    "escape": "\x1b[31mred",
    "nul": "a\0",
    "tab": "a\tb",
    "delete": "a\x7f",
    "C1 control": "a\x9bb",
    "line separator": "a\u2028b",
    "turned writing": "a\u202eb",
    "surrogate": "caf\udce9",
}


@pytest.mark.parametrize("name", UNSHOWABLE)
def test_what_cannot_be_shown_in_a_line_is_refused_everywhere(name):
    text, tracker = UNSHOWABLE[name], Tracker(FakeColourRuntime())
    for call, error in (
        (lambda: tracker.add_text(text), PromptError),
        (lambda: tracker.add_text("red", object_id=text), ObjectIdError),
        (lambda: tracker.add_text("red", label=text), LimitError),
        (lambda: tracker.add_points([(1, 1)], prompt=text), PromptError),
        (lambda: check_name(text, "the name"), LimitError),
    ):
        with pytest.raises(error, match=r"U\+[0-9A-F]{4}") as refused:
            call()
        assert str(refused.value).isprintable()
    assert tracker.objects == () and tracker.add_text("red") == "1"


@pytest.mark.parametrize("text", ["tasse à café", "红色的杯子", "👩‍👩‍👧 family", "a'b-c.d/e", "کتاب‌ها"])
def test_the_words_of_every_language_are_taken(text):
    assert check_text(text, "the prompt") == text


def test_long_texts_are_refused_and_clipped():
    tracker = Tracker(FakeColourRuntime())
    for call, most in (
        (lambda: tracker.add_text("red " * 3_000_000), limits.MAX_TEXT),
        (lambda: tracker.add_text("red", object_id="x" * 10_000_000), limits.MAX_NAME),
        (lambda: tracker.add_text("red", label="x" * 10_000_000), limits.MAX_NAME),
    ):
        with pytest.raises(UniRefError, match=f"limit of {most}") as refused:
            call()
        assert len(str(refused.value)) < 300
    with pytest.raises(ObjectIdError) as refused:
        tracker.remove("y\n" * 1_000_000)
    assert len(str(refused.value)) < 300 and str(refused.value).isprintable()
    assert limits.clipped("red") == "red" and len(limits.clipped("z" * 1000)) == limits.MAX_QUOTED + 1
    assert quoted("a\nb") == r"'a\nb'" and len(quoted("z" * 10**6)) < 120


@pytest.mark.parametrize("wrong", [7, None, b"red", ["red"]])
def test_what_is_no_text_is_refused(wrong):
    with pytest.raises(LimitError, match="must be text, found"):
        check_text(wrong, "the prompt")


def test_points_are_counted_before_they_are_read():
    class Endless(list):
        def __len__(self) -> int:
            return 1_000_000

        def __iter__(self):
            raise AssertionError("was read")

    tracker = Tracker(FakeColourRuntime())
    with pytest.raises(MaskError, match="1000000 points, more than the limit of 1000"):
        tracker.add_points(Endless())
    check_count(limits.MAX_POINTS, "points", limits.MAX_POINTS)


# ---- ids


def test_an_id_means_one_object_for_ever():
    registry = ObjectIds()
    assert [registry.claim(), registry.claim("3"), registry.claim(), registry.claim()] == ["1", "3", "2", "4"]
    for used in "1234":
        with pytest.raises(ObjectIdError, match="used before"):
            registry.claim(used)
    assert registry.claim("04") == "04", "another text is another id"
    assert registry.was_given("04") and not registry.was_given("5") and not registry.was_given("٣")


def test_an_id_without_an_object_comes_back():
    registry = ObjectIds()
    registry.give_back(registry.claim("cup"))
    registry.give_back(registry.claim())
    assert registry.claim("cup") == "cup" and registry.claim() == "1"


def test_automatic_ids_cost_no_memory_and_chosen_ones_have_an_end(monkeypatch):
    monkeypatch.setattr(ids, "MAX_CHOSEN_IDS", 3)
    registry = ObjectIds()
    for number in range(1, 10_000):
        assert registry.claim() == str(number)
    assert not registry._chosen
    for name in "abc":
        registry.claim(name)
    with pytest.raises(ObjectIdError, match="'d' would be one more than the limit of 3 chosen"):
        registry.claim("d")
    assert registry.claim() == "10000"


def test_threads_never_get_the_same_id():
    registry, given = ObjectIds(), []

    def claim() -> None:
        for _ in range(500):
            given.append(registry.claim())

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(given)) == 2000


def test_trackers_that_share_a_registry_share_ids():
    registry = ObjectIds()
    one, other = (Tracker(FakeColourRuntime(), ids=registry) for _ in range(2))
    name = registry.claim("cup")
    assert one.add_text("red", object_id=name) == other.add_text("red", object_id=name) == "cup"
    assert one.add_text("red") == "1" and other.add_text("red") == "2"
    with pytest.raises(ObjectIdError, match="'cup' is in use"):
        one.add_text("red", object_id="cup")


# ---- words


def things(*named: tuple[str, str, str]) -> list[TrackedObject]:
    return [
        TrackedObject(id=id_, slot=slot, label=label, prompt=prompt, state=TrackState.TRACKED)
        for slot, (id_, label, prompt) in enumerate(named, 1)
    ]


def test_services_take_the_exact_id_else_a_whole_label_or_prompt():
    known = things(("keep", "keep", ""), ("2", "mask 1", ""), ("7", "cup", "red box number 5"))
    assert match_exactly("keep", known) == ["keep"]
    assert match_exactly("mask 1", known) == ["2"]
    assert match_exactly("red box number 5", known) == ["7"]
    for other in (" keep", "keep ", "1", "5", "box", "the cup", "", "Keep"):
        assert match_exactly(other, known) == []


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("forget the red mug", Forget("the red mug")),
        ("Please remove red mug!", Forget("red mug")),
        ("drop the box", Forget("the box")),
        ("drop everything", Forget(None)),
        ("drop box", Look("drop box")),
        ("Drop cloth", Look("Drop cloth")),
        ("forgetful cat", Look("forgetful cat")),
        ("forget", Forget("")),
        ("forget about", Forget("")),
        ("delete the", Forget("")),
        ("drop", Forget("")),
        ("stop tracking", Pause()),
        ("stop tracking the cup", Forget("the cup")),
        ("continue", Resume()),
        ("pause \N{OK HAND SIGN}", Pause()),
    ],
)
def test_a_control_needs_its_object(line, meant):
    assert parse_spoken(line) == meant


def test_spoken_words_mean_a_whole_name_or_a_part_of_it():
    known = things(("1", "the red mug", "the red mug"), ("2", "mug", "a mug"))
    assert match_words("the mug", known) == ["2"] and match_words("red", known) == []
    assert match_words("1", known) == ["1"]
    assert match_part("the mug", known) == ["1", "2"] and match_part("red", known) == ["1"]
    for nothing in ("", "?!", "the"):
        assert match_words(nothing, known) == match_part(nothing, known) == []


# ---- pictures among words


PICTURES = ["\N{HOT BEVERAGE}\ufe0f", "👩‍👩‍👧", "👍🏽", "\N{TRADE MARK SIGN}", "\U0010fffd"]


@pytest.mark.parametrize("picture", PICTURES)
def test_pictures_behind_a_prompt_change_nothing(picture):
    assert normalise_prompt(f"the red mug {picture}") == normalise_prompt("the red mug")
    with pytest.raises(PromptError, match="holds no word"):
        normalise_prompt(picture)


def test_the_shipped_model_finds_the_same_behind_a_picture():
    from uniref_model.runtime.files import WEIGHTS
    from uniref_model.runtime.text import PromptTokenizer

    tokenize = PromptTokenizer(WEIGHTS / "uniref_nano" / "tokenizer.json", 20)
    plain = tokenize("the red mug")[0].tolist()
    for text in ("the red mug \N{HOT BEVERAGE}", "the red mug ꙮ", "ꙮ the red mug"):
        assert tokenize(text)[0].tolist() == plain
    with pytest.raises(PromptError, match="knows no word"):
        tokenize("ꙮꙮ ꙮ")


def test_a_frame_goes_on_after_all_of_it():
    tracker = Tracker(FakeColourRuntime())
    tracker.add_text("red \N{HOT BEVERAGE}")
    assert tracker.step(scene(("red", (40, 32, 48, 40)))).objects[0].area
