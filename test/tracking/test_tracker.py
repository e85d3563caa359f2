"""The tracker's rules for one object's life, on a double that sees colours (see fake_runtime)."""

from __future__ import annotations

import numpy as np
import pytest
from fake_runtime import COLOURS, asked_of, overlap, rectangle, scene

from uniref_model.errors import NetworkError, ObjectIdError
from uniref_model.runtime import Prediction
from uniref_model.tracking import Tracker, TrackerConfig, TrackState
from uniref_model.tracking.objects import GIVEN_ANCHOR
from uniref_model.tracking.rules import Streaming

BOX = (40, 32, 48, 40)
EMPTY = scene()


def test_words_search_find_lose_and_find_again(tracker):
    name = tracker.add_text("the red box")
    assert tracker.step(EMPTY).object(name).state is TrackState.SEARCHING
    seen = tracker.step(scene(("red", BOX)))
    found = seen.object(name)
    assert found.state is TrackState.TRACKED
    assert overlap(seen.label_image == found.slot, rectangle(BOX)) > 0.85
    states = [tracker.step(EMPTY).object(name).state for _ in range(6)]
    assert states == [TrackState.TRACKED] * 4 + [TrackState.LOST] * 2
    again = tracker.step(scene(("red", (120, 60, 40, 40)))).object(name)
    assert again.state is TrackState.TRACKED and again.id == name
    assert abs(again.box[0] - 120) <= 4


def test_an_unseen_object_shows_no_mask_whatever_its_state(tracker):
    name = tracker.add_text("red")
    tracker.step(scene(("red", BOX)))
    for _ in range(8):
        frame = tracker.step(EMPTY)
        item = frame.object(name)
        assert item.box is None and item.area == 0 and item.mask.size == 0
        assert not frame.label_image.any()
    assert item.frames_since_seen == 8 and item.frames_tracked == 1


def test_a_given_mask_is_the_answer_of_its_frame(tracker, runtime):
    odd = rectangle(BOX)
    odd[32:52, 40:60] = False  # a shape no colour would give
    name = tracker.add_mask(odd)
    frame = tracker.step(scene(("red", BOX), ("red", (150, 20, 30, 30))))
    item = frame.object(name)
    assert item.score == 1.0 and item.state is TrackState.TRACKED
    assert np.array_equal(frame.label_image == item.slot, odd)
    assert runtime.asked == []  # what is known is not asked
    moved = (100, 60, 48, 40)
    after = tracker.step(scene(("red", moved)))
    assert overlap(after.label_image == item.slot, rectangle(moved)) > 0.85


def test_words_and_mask_together_are_both_used(tracker, runtime):
    tracker.add_mask(rectangle(BOX), prompt="the red box")
    tracker.step(scene(("red", BOX)))
    tracker.step(scene(("red", BOX)))
    assert asked_of(runtime.asked[-1][0]) == "lf"
    tracker.step(scene(("red", BOX)))
    assert asked_of(runtime.asked[-1][0]) == "lfp"


def test_an_empty_frame_does_not_renew_the_previous_reference(tracker, runtime):
    tracker.add_mask(rectangle(BOX))
    tracker.step(scene(("red", BOX)))
    tracker.step(scene(("orange", BOX), ("red", (150, 10, 20, 20))))
    tracker.step(scene(("red", BOX)))
    previous = runtime.asked[-1][0].previous
    encoded = runtime.references_encoded
    tracker.step(EMPTY)
    tracker.step(EMPTY)
    assert runtime.references_encoded == encoded
    assert runtime.asked[-1][0].previous is not previous  # renewed by the frame before the empty ones
    last_seen = runtime.asked[-1][0].previous
    tracker.step(scene(("red", BOX)))
    assert runtime.asked[-1][0].previous is last_seen


def test_a_weak_or_tiny_answer_does_not_renew_the_previous_reference(runtime):
    tracker = Tracker(runtime, TrackerConfig(min_area=200))
    tracker.add_mask(rectangle(BOX))
    tracker.step(scene(("red", BOX)))
    encoded = runtime.references_encoded
    small = tracker.step(scene(("red", (40, 32, 16, 16)))).objects[0]
    assert small.area > 0 and runtime.references_encoded == encoded  # shown, but not learned from
    runtime.score = lambda references, found: 0.35
    weak = tracker.step(scene(("red", BOX))).objects[0]
    assert weak.area == 0 and runtime.references_encoded == encoded


def test_first_reference_never_changes_by_itself(tracker, runtime):
    tracker.add_text("red")
    for step in range(6):
        tracker.step(scene(("red", (20 + 10 * step, 32, 48, 40))))
    firsts = {id(rows[0].first) for rows in runtime.asked[1:]}
    previous = {id(rows[0].previous) for rows in runtime.asked[2:]}
    assert len(firsts) == 1 and len(previous) == 4


def test_a_lost_mask_object_is_found_by_its_first_reference(runtime):
    """Its colour drifts from red to orange, it leaves, and comes back red: only the first reference knows
    red."""
    tracker = Tracker(runtime, TrackerConfig(references="previous", lost_after=2))
    name = tracker.add_mask(rectangle(BOX))
    tracker.step(scene(("red", BOX)))
    for red, green, blue in ((225, 70, 33), (232, 110, 36), (240, 150, 40)):
        image = EMPTY.copy()
        image[rectangle(BOX)] = (red, green, blue)
        assert tracker.step(image).object(name).area
    for _ in range(3):
        tracker.step(EMPTY)
    tracker.configure(references="first+previous")
    runtime.asked.clear()
    for _ in range(2):
        assert tracker.step(EMPTY).object(name).state is TrackState.LOST
    assert sorted(asked_of(rows[0]) for rows in runtime.asked) == ["f", "fp"]
    states = [tracker.step(scene(("red", BOX))).object(name).state for _ in range(2)]
    assert TrackState.TRACKED in states


def test_a_lost_word_object_is_found_by_words_alone_despite_its_references(runtime):
    """Its references are green things; the words say red: words with references would never see it again."""
    tracker = Tracker(runtime, TrackerConfig(lost_after=2))
    name = tracker.add_mask(rectangle(BOX), prompt="red")
    tracker.step(scene(("green", BOX)))
    for _ in range(3):
        tracker.step(EMPTY)
    states = [tracker.step(scene(("red", BOX))).object(name).state for _ in range(2)]
    assert TrackState.TRACKED in states


def test_lost_objects_use_spare_rows_for_their_other_turn(runtime):
    tracker = Tracker(runtime, TrackerConfig(lost_after=1))
    for colour in ("red", "green", "blue"):
        tracker.add_text(colour)
    tracker.step(scene(("red", BOX), ("green", (120, 10, 40, 40)), ("blue", (120, 70, 40, 40))))
    tracker.step(scene(("green", (120, 10, 40, 40)), ("blue", (120, 70, 40, 40))))
    tracker.step(EMPTY)
    rows = [asked_of(row) for row in runtime.asked[-1]]
    assert len(rows) == 4  # three objects fill a batch of four
    assert sorted(rows[i] for i in (0, 3)) == ["l", "lf"]  # the lost one both ways


def test_reanchor_moves_the_first_reference_to_the_next_good_frame(tracker, runtime):
    name = tracker.add_text("red")
    tracker.step(scene(("red", BOX)))
    tracker.step(scene(("red", BOX)))
    before = runtime.asked[-1][0].first
    tracker.reanchor(name)
    tracker.step(EMPTY)
    tracker.step(scene(("red", BOX)))
    assert runtime.asked[-1][0].first is before  # the empty frame was no anchor
    tracker.step(scene(("red", BOX)))
    assert runtime.asked[-1][0].first is not before
    with pytest.raises(ObjectIdError, match="'nobody'"):
        tracker.reanchor("nobody")


def test_words_wait_for_a_steady_sight_before_they_anchor(runtime):
    tracker = Tracker(runtime, TrackerConfig(anchor_after=3))
    name = tracker.add_text("red")
    flicker = [True, False, True, True, True, True]
    areas = [tracker.step(scene(("red", BOX)) if on else EMPTY).object(name).area > 0 for on in flicker]
    assert areas == flicker
    assert [asked_of(rows[0]) for rows in runtime.asked] == ["l"] * 5 + ["lf"]


def _by_words_alone(references) -> bool:
    return references.first is None and references.previous is None


def test_a_wrong_weak_anchor_moves_to_where_the_words_are_much_surer(runtime):
    """At first only orange is there and words half believe it; then red appears and words alone are sure."""
    tracker = Tracker(runtime, TrackerConfig(recheck_every=1, reanchor_after=3))
    name = tracker.add_text("red")
    image = scene(("red", (150, 60, 40, 40)))
    weak = image.copy()
    weak[:] = EMPTY
    weak[rectangle(BOX)] = (190, 60, 60)
    runtime.score = lambda references, found: 0.35 if found else 0.0
    assert tracker.step(weak).object(name).area
    image[rectangle(BOX)] = (190, 60, 60)
    image[60:100, 150:190] = (255, 0, 0)
    # Near both for words; the anchor's colour is nearer to itself only.
    runtime.score = lambda references, found: 0.9 if _by_words_alone(references) else 0.5
    original = runtime._find

    def find(picture, item):
        if _by_words_alone(item):
            answer = original(picture, item)
            answer.mask_logits[:, : answer.mask_logits.shape[1] // 2] = -8.0
            return answer
        return original(picture, item)

    runtime._find = find
    places = [tracker.step(image).object(name).box[0] for _ in range(4)]
    assert places[0] < 100 and places[1] < 100  # two checks are not enough
    assert places[2] > 100 and places[3] > 100


def test_a_given_anchor_is_never_moved_by_words(runtime):
    tracker = Tracker(runtime, TrackerConfig(recheck_every=1))
    tracker.add_mask(rectangle(BOX), prompt="green")
    for _ in range(5):
        tracker.step(scene(("red", BOX), ("green", (140, 60, 40, 40))))
    assert all(len(rows) == 1 for rows in runtime.asked)


@pytest.mark.parametrize(
    ("references", "expected"), [("first", "f"), ("previous", "p"), ("first+previous", "fp")]
)
def test_references_are_those_configured(runtime, references, expected):
    tracker = Tracker(runtime, TrackerConfig(references=references))
    tracker.add_mask(rectangle(BOX))
    for _ in range(3):
        tracker.step(scene(("red", BOX)))
    assert asked_of(runtime.asked[-1][0]) == expected


def test_batches_do_not_outgrow_their_bucket(runtime):
    """Five lost objects could be asked both ways, ten rows; eight are computed anyway, so eight are asked."""
    tracker = Tracker(runtime, TrackerConfig(lost_after=1))
    patches = [(colour, (10 + 40 * i, 30, 32, 60)) for i, colour in enumerate(COLOURS)]
    names = [tracker.add_text(colour) for colour in COLOURS]
    assert all(item.area for item in tracker.step(scene(*patches)).objects)
    tracker.step(EMPTY)
    tracker.step(EMPTY)
    assert len(runtime.asked[-1]) == 8
    found = tracker.step(scene(*patches)).objects
    assert [item.id for item in found if item.area] == names
    assert Streaming(tracker.config).plan_rows([], 0, runtime.buckets) == []


def test_only_the_references_that_are_used_are_made(runtime):
    tracker = Tracker(runtime, TrackerConfig(references="first"))
    tracker.add_text("red")
    for _ in range(4):
        tracker.step(scene(("red", BOX)))
    assert runtime.references_encoded == 1


def test_an_anchor_is_renewed_where_words_are_much_surer_of_the_same_thing(runtime):
    tracker = Tracker(runtime, TrackerConfig(recheck_every=1))
    tracker.add_text("red")
    runtime.score = lambda references, found: 0.4
    tracker.step(scene(("red", BOX)))
    tracker.step(scene(("red", BOX)))
    anchor = runtime.asked[-1][0].first
    runtime.score = lambda references, found: 0.9
    tracker.step(scene(("red", BOX)))
    tracker.step(scene(("red", BOX)))
    renewed = runtime.asked[-1][0].first
    assert renewed is not anchor
    tracker.step(scene(("red", BOX)))
    assert runtime.asked[-1][0].first is renewed  # nothing is much surer than that any more


# --- a frame that fails ------------------------------------------------------------------------------------


def state_of(target) -> tuple:
    return tuple(getattr(target, name) for name in target.__dataclass_fields__)


def failing(*_):
    raise RuntimeError("out of memory")


@pytest.mark.parametrize("verdict", ["renews the anchor", "moves the object"])
@pytest.mark.parametrize("step", ["before_segment", "before_reference"])
def test_a_frame_that_fails_changes_nothing_of_an_object(runtime, verdict, step):
    """Whatever a check row would do to the anchor is done when nothing can fail any more, or not at all."""
    tracker = Tracker(runtime, TrackerConfig(recheck_every=1, reanchor_after=1))
    runtime.score = lambda item, found: 0.5
    tracker.add_text("red")
    picture = scene(("red", BOX))
    tracker.step(picture)
    (target,) = tracker._targets.values()
    if verdict == "moves the object":
        picture = scene(("red", (150, 80, 40, 30)), ("green", BOX))
        target.first = target.previous = runtime.encode_reference(
            runtime.encode_image(np.full((*runtime.size, 3), (30, 200, 40), np.uint8)),
            np.ones((1, *runtime.size), np.float32),
        )[0]
    runtime.score = lambda item, found: 0.9 if asked_of(item) == "l" else 0.5
    before = state_of(target)
    setattr(runtime, step, failing)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="out of memory"):
            tracker.step(picture)
        assert state_of(target) == before
    setattr(runtime, step, lambda *_: None)
    first = target.first
    tracker.step(picture)
    assert target.first is not first and target.first is target.previous
    assert target.anchor_score == 0.9 and target.renewal is None


def test_a_reference_refused_in_a_frame_that_fails_stays_refused(tracker, runtime):
    """Else the object would have nothing to be looked for with, in every frame to come."""
    good = tracker.add_text("red")
    bad = tracker.add_mask(rectangle(BOX, (50, 50)))
    runtime.before_segment = failing
    with pytest.raises(RuntimeError):
        tracker.step(scene(("red", BOX)))
    runtime.before_segment = lambda: None
    frame = tracker.step(scene(("red", BOX)))
    assert [item.id for item in frame.objects] == [good]
    assert [(note.object_id, note.level) for note in frame.notes] == [(bad, "error")]


def test_a_persons_reanchor_is_not_overwritten_by_a_check_of_the_same_frame(runtime):
    tracker = Tracker(runtime, TrackerConfig(recheck_every=1, reanchor_after=1))
    runtime.score = lambda item, found: 0.5
    name = tracker.add_text("red")
    tracker.step(scene(("red", BOX)))
    (target,) = tracker._targets.values()
    runtime.score = lambda item, found: 0.9 if asked_of(item) == "l" else 0.5
    tracker.reanchor(name)
    tracker.step(scene(("red", BOX)))
    assert target.anchor_score == GIVEN_ANCHOR and not target.reanchor and target.renewal is None


@pytest.mark.parametrize("part", ["score", "box", "mask_logits"])
def test_an_answer_that_is_not_finite_is_an_error_and_never_tracked(tracker, runtime, part):
    name = tracker.add_text("red")
    tracker.step(scene(("red", BOX)))
    (target,) = tracker._targets.values()
    before, real = state_of(target), runtime.segment

    def damaged(frame, objects):
        answers = real(frame, objects)
        values = {field: getattr(answers[0], field) for field in ("score", "box", "mask_logits")}
        return [Prediction(**values | {part: values[part] * np.nan}), *answers[1:]]

    runtime.segment = damaged
    with pytest.raises(NetworkError, match=f"a {part} that is not finite"):
        tracker.step(scene(("red", BOX)))
    assert state_of(target) == before
    runtime.segment = real
    assert tracker.step(scene(("red", BOX))).object(name).box is not None
