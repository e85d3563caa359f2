"""The tracker's rules, on a double that sees colours (see fake_runtime)."""

from __future__ import annotations

import contextlib
import gc
import threading
import tracemalloc

import numpy as np
import pytest
from fake_runtime import COLOURS, FakeColourRuntime, overlap, rectangle, scene

from uniref_model.errors import CapacityError, ImageError, MaskError, ObjectIdError, PromptError
from uniref_model.runtime.base import MaskReference
from uniref_model.tracking import Tracker, TrackerConfig, TrackState
from uniref_model.tracking.aggregate import Aggregator, Claim, Share
from uniref_model.tracking.geometry import FrameGeometry
from uniref_model.tracking.objects import Target, plan_rows
from uniref_model.tracking.overlay import draw_overlay, slot_colour

BOX = (40, 32, 48, 40)
EMPTY = scene()


@pytest.fixture
def runtime() -> FakeColourRuntime:
    return FakeColourRuntime()


@pytest.fixture
def tracker(runtime) -> Tracker:
    return Tracker(runtime)


def asked_of(row) -> str:
    """What a row was asked with, in letters: l(anguage) f(irst) p(revious)."""
    return "".join(
        letter
        for letter, part in (("l", row.language), ("f", row.first), ("p", row.previous))
        if part is not None
    )


# --- life of an object -------------------------------------------------------------------------------------


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
    assert plan_rows([], 0, runtime.buckets, tracker.config) == []


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


# --- several objects ---------------------------------------------------------------------------------------


def test_each_pixel_has_one_label_and_masks_agree_with_the_label_image(tracker):
    tracker.add_text("red")
    tracker.add_text("green")
    tracker.add_mask(rectangle((70, 20, 40, 60)))  # overlaps the red box
    frame = tracker.step(scene(("red", BOX), ("green", (120, 60, 50, 40))))
    total = np.zeros(frame.size, int)
    for item in frame.objects:
        x, y, width, height = item.box
        full = np.zeros(frame.size, bool)
        full[y : y + height, x : x + width] = item.mask > 0
        assert np.array_equal(full, frame.label_image == item.slot)
        assert item.area == full.sum()
        assert (
            item.mask.any(axis=0)[[0, -1]].all() and item.mask.any(axis=1)[[0, -1]].all()
        )  # the box is tight
        total += full
    assert total.max() == 1


def test_merge_is_the_authors_soft_aggregation():
    generator = np.random.default_rng(0)
    maps = [generator.random((16, 28)).astype(np.float32) ** power for power in (1, 2, 6)]
    maps[2][:, :20] = 0.0
    geometry = FrameGeometry.fit((50, 90), (16, 28))
    labels, shares = Aggregator().merge(
        [Claim(slot, p) for slot, p in zip((3, 1, 2), maps, strict=True)], geometry
    )
    by_slot = {slot: geometry.probability_to_frame(p) for slot, p in zip((3, 1, 2), maps, strict=True)}
    stack = np.stack([np.prod([1 - by_slot[s] for s in (1, 2, 3)], axis=0), *(by_slot[s] for s in (1, 2, 3))])
    assert (labels == stack.argmax(axis=0)).mean() > 0.9999
    assert {int(v) for v in np.unique(labels)} == {0, 1, 2, 3}
    assert [share.area for share in shares] == [int((labels == slot).sum()) for slot in (3, 1, 2)]


def test_ties_go_to_the_lower_slot_and_a_given_mask_wins():
    geometry = FrameGeometry.fit((16, 28), (16, 28))
    sure = np.ones((16, 28), np.float32)
    labels, _ = Aggregator().merge([Claim(2, sure), Claim(1, sure)], geometry)
    assert (labels == 1).all()
    given = np.zeros((16, 28), bool)
    given[4:8, 4:8] = True
    labels, shares = Aggregator().merge([Claim(1, sure), Claim(2, given=given)], geometry)
    assert np.array_equal(labels == 2, given) and shares[1].box == (4, 4, 4, 4)


def test_an_object_mostly_covered_by_another_does_not_learn_from_it(tracker, runtime):
    tracker.add_text("red")
    frame = tracker.step(scene(("red", BOX)))
    assert frame.objects[0].area
    tracker.add_text("red thing")
    encoded = runtime.references_encoded
    frame = tracker.step(scene(("red", BOX)))
    assert frame.objects[0].area and not frame.objects[1].area  # the tie goes to the first
    assert runtime.references_encoded == encoded + 1


@pytest.mark.parametrize(("area", "expected"), [(59, True), (50, True), (49, False), (0, False)])
def test_a_mask_that_lost_most_pixels_to_others_is_no_reference(area, expected):
    share = Share(box=(0, 0, 10, 10), mask=np.zeros((10, 10), np.uint8), area=area, claimed=100)
    assert Target("1", 1, "x", "x").is_well_seen(
        share, model_area=area, config=TrackerConfig(min_area=1)
    ) == (expected)


def test_adding_and_removing_leaves_the_other_objects_alone(tracker):
    first = tracker.add_text("red")
    second = tracker.add_text("green")
    picture = scene(("red", BOX), ("green", (120, 60, 50, 40)))
    before = tracker.step(picture).object(first)
    tracker.remove(second)
    third = tracker.add_text("blue")
    after = tracker.step(picture)
    assert after.object(second) is None
    assert after.object(first).frames_tracked == before.frames_tracked + 1
    assert after.object(third).state is TrackState.SEARCHING


# --- ids and capacity --------------------------------------------------------------------------------------


def test_ids_are_never_reused_and_slots_are(tracker):
    names = [tracker.add_text("red"), tracker.add_text("green", object_id="cup"), tracker.add_text("blue")]
    assert names == ["1", "cup", "2"]
    tracker.remove("cup")
    with pytest.raises(ObjectIdError, match="'cup' was used before"):
        tracker.add_text("green", object_id="cup")
    assert tracker.clear() == ["1", "2"]
    assert tracker.add_text("red") == "3"
    assert tracker.objects[0].slot == 1
    with pytest.raises(ObjectIdError):
        tracker.add_text("red", object_id=" ")


def test_an_automatic_id_avoids_chosen_ones(tracker):
    tracker.add_text("red", object_id="1")
    assert tracker.add_text("green") == "2"


def test_one_object_too_many_is_refused_with_the_limit(runtime):
    tracker = Tracker(runtime, TrackerConfig(max_objects=2))
    tracker.add_text("red")
    tracker.add_mask(rectangle(BOX))
    with pytest.raises(CapacityError, match="2 objects"):
        tracker.add_text("green")
    tracker.remove("1")
    assert tracker.add_text("green") == "3"  # the refused one used up no id
    with pytest.raises(ValueError, match="slot 2 is in use"):
        tracker.configure(max_objects=1)


def test_removing_what_is_not_there_names_what_is(tracker):
    tracker.add_text("red")
    with pytest.raises(ObjectIdError, match="no object '7'; there is 1"):
        tracker.remove("7")


# --- bad input disturbs nothing ----------------------------------------------------------------------------


def test_a_mask_of_the_wrong_size_is_refused_at_once_when_the_frame_is_known(tracker):
    name = tracker.add_text("red")
    tracker.step(scene(("red", BOX)))
    with pytest.raises(MaskError, match=r"\(10, 20\).*\(128, 224\)"):
        tracker.add_mask(np.ones((10, 20), bool))
    assert [item.id for item in tracker.objects] == [name]
    assert tracker.step(scene(("red", BOX))).object(name).area


def test_a_mask_of_the_wrong_size_before_the_first_frame_is_dropped_with_a_note(tracker):
    name = tracker.add_text("red")
    bad = tracker.add_mask(np.ones((10, 20), bool))
    both = tracker.add_mask(np.ones((10, 20), bool), prompt="green")
    frame = tracker.step(scene(("red", BOX), ("green", (120, 60, 50, 40))))
    assert frame.object(name).area and frame.object(bad) is None
    assert frame.object(both).area  # its words still hold
    assert [(note.object_id, note.level) for note in frame.notes] == [(bad, "error"), (both, "error")]
    assert "(10, 20)" in frame.notes[0].message and "(128, 224)" in frame.notes[0].message
    assert tracker.step(EMPTY).notes == ()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((128, 224), bool), "empty"),
        (np.ones((128, 224), np.float32), "float32"),
        (np.ones((128, 224, 3), np.uint8), r"\(128, 224, 3\)"),
        ([[1]], "list"),
    ],
)
def test_what_is_no_mask_is_refused(tracker, mask, message):
    with pytest.raises(MaskError, match=message):
        tracker.add_mask(mask)
    assert tracker.objects == ()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros((5, 5), np.uint8), r"\(5, 5\)"),
        (np.zeros((5, 5, 3), np.float32), "float32"),
        (np.zeros((5, 5, 4), np.uint8), r"\(5, 5, 4\)"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_image_is_refused_and_objects_stay(tracker, image, message):
    name = tracker.add_text("red")
    tracker.step(scene(("red", BOX)))
    with pytest.raises(ImageError, match=message):
        tracker.step(image)
    frame = tracker.step(scene(("red", BOX)))
    assert frame.index == 1 and frame.object(name).frames_tracked == 2


@pytest.mark.parametrize("prompt", ["", "   ", "?!", "..."])
def test_an_empty_prompt_is_refused(tracker, prompt):
    with pytest.raises(PromptError):
        tracker.add_text(prompt)
    assert tracker.objects == ()


def test_a_cut_prompt_is_said_once(tracker):
    name = tracker.add_text("the red box that somebody left on top of the table yesterday")
    (note,) = tracker.step(EMPTY).notes
    assert note.object_id == name and note.level == "warning" and "8 word pieces" in note.message
    assert tracker.step(EMPTY).notes == ()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.add_points([]), "no points"),
        (lambda t: t.add_points([(1, 1)], [1, 0]), "1 points but 2 labels"),
        (lambda t: t.add_points([(1, 1)], [0]), "at least once"),
        (lambda t: t.add_points([(float("nan"), 1)]), "finite"),
        (lambda t: t.add_points([(500, 1)]), r"\(500, 1\) is outside"),
        (lambda t: t.add_box((5, 5, 0, 5)), "at least one pixel"),
        (lambda t: t.add_box((300, 5, 10, 5)), "outside"),
    ],
)
def test_bad_clicks_and_boxes_are_refused(tracker, call, message):
    tracker.step(EMPTY)
    with pytest.raises(MaskError, match=message):
        call(tracker)
    assert tracker.objects == ()


@pytest.mark.parametrize(
    "options",
    [
        {"references": "second"},
        {"max_objects": 0},
        {"max_objects": 999},
        {"lost_after": 0},
        {"mask_threshold": 2.0},
    ],
)
def test_bad_options_are_refused_by_name_and_change_nothing(tracker, options):
    before = tracker.config
    with pytest.raises(ValueError, match=next(iter(options))):
        tracker.configure(**options)
    assert tracker.config == before
    with pytest.raises(ValueError, match="no tracker option colour"):
        tracker.configure(colour=1)


def test_thresholds_come_from_the_model_unless_given(runtime):
    assert Tracker(runtime).config.mask_threshold == 0.4
    assert Tracker(runtime, TrackerConfig(language_threshold=0.7)).config.language_threshold == 0.7
    runtime.score = lambda references, found: 0.5
    strict = Tracker(runtime, TrackerConfig(language_threshold=0.5))
    strict.add_text("red")
    assert not strict.step(scene(("red", BOX))).objects[0].area  # must exceed, not reach


def test_an_error_of_the_network_costs_the_frame_and_no_object(tracker, runtime):
    name = tracker.add_text("red")
    tracker.step(scene(("red", BOX)))

    def fail():
        raise RuntimeError("out of memory")

    runtime.before_segment = fail
    with pytest.raises(RuntimeError, match="out of memory"):
        tracker.step(scene(("red", BOX)))
    runtime.before_segment = lambda: None
    frame = tracker.step(scene(("red", BOX)))
    assert frame.object(name).frames_tracked == 2 and frame.index == 1


def test_one_reference_that_fails_loses_no_other_object(tracker, runtime, caplog):
    good = tracker.add_mask(rectangle(BOX))
    poison = tracker.add_mask(rectangle((0, 0, 8, 8)))
    later = tracker.add_text("green")

    def fail(masks):
        if masks[0, 0, 0]:
            raise RuntimeError("cannot encode this")

    runtime.before_reference = fail
    picture = scene(("red", BOX), ("green", (120, 60, 50, 40)))
    frame = tracker.step(picture)
    assert frame.object(good).area and frame.object(later).area and frame.object(poison) is None
    assert "cannot encode this" in frame.notes[0].message
    assert "cannot encode this" in caplog.text  # with a traceback for the log
    assert tracker.step(picture).object(good).area


# --- frames of other sizes, earlier frames, clicks
# -----------------------------------------------------------


@pytest.mark.parametrize("size", [(256, 448), (96, 300), (200, 80), (33, 47)])
def test_frames_of_a_new_size_are_followed(tracker, size):
    name = tracker.add_mask(rectangle(BOX))
    tracker.step(scene(("red", BOX)))
    box = (size[1] // 4, size[0] // 4, size[1] // 2, size[0] // 2)
    frame = tracker.step(scene(("red", box), size=size))
    assert frame.size == size and frame.label_image.shape == size
    assert overlap(frame.label_image == frame.object(name).slot, rectangle(box, size)) > 0.7
    assert tracker.frame_size == size


def test_a_very_wide_frame_is_not_squeezed_beyond_the_limit():
    geometry = FrameGeometry.fit((100, 800), (256, 448))
    assert geometry.width == 448 and geometry.height == round(448 / (8 / 1.75))
    image = np.full((100, 800, 3), 200, np.uint8)
    model = geometry.image_to_model(image, (10.0, 20.0, 30.0))
    assert tuple(model[0, 0]) == (10, 20, 30) and tuple(model[128, 224]) == (200, 200, 200)
    mask = np.zeros((100, 800), bool)
    mask[20:60, 100:300] = True
    back = geometry.probability_to_frame(geometry.mask_to_model(mask)) > 0.5
    assert overlap(back, mask) > 0.9


def test_a_thin_object_survives_the_way_to_the_model():
    geometry = FrameGeometry.fit((1080, 1920), (64, 112))
    mask = np.zeros((1080, 1920), bool)
    mask[1, 1] = True
    assert geometry.mask_to_model(mask).sum() == 1


def test_a_mask_of_an_earlier_frame_is_learned_from_that_frame(tracker, runtime):
    earlier = scene(("red", BOX))
    tracker.step(earlier)
    name = tracker.add_mask(rectangle(BOX), image=earlier)
    now = (120, 70, 40, 40)
    frame = tracker.step(scene(("red", now)))
    assert overlap(frame.label_image == frame.object(name).slot, rectangle(now)) > 0.8
    assert frame.object(name).score == 0.9
    with pytest.raises(MaskError, match=r"\(128, 224\)"):
        tracker.add_mask(np.ones((5, 5), bool), image=earlier)


def test_a_click_is_answered_by_an_interactive_model_on_the_same_frame():
    runtime = FakeColourRuntime(interactive=True)
    tracker = Tracker(runtime)
    name = tracker.add_points([(64, 52)], prompt="the red box")
    frame = tracker.step(scene(("red", BOX)))
    item = frame.object(name)
    assert overlap(frame.label_image == item.slot, rectangle(BOX)) > 0.85
    assert item.score == 0.9 and asked_of(runtime.asked[0][0]) == "lf"
    tracker.step(scene(("red", (100, 60, 48, 40))))
    assert len(runtime.asked) == 2  # one for the click, one for the next frame


@pytest.mark.parametrize("interactive", [False, True])
@pytest.mark.parametrize("kind", ["points", "box"])
def test_clicks_and_boxes_work_with_every_model(interactive, kind):
    """With models that were not trained for it, or that answer badly, colours decide (GrabCut)."""
    runtime = FakeColourRuntime((128, 224), interactive=interactive)
    runtime.score = lambda references, found: 0.1
    tracker = Tracker(runtime)
    picture = np.random.default_rng(0).normal(scene(("red", BOX)), 3).clip(0, 255).astype(np.uint8)
    if kind == "points":
        name = tracker.add_points([(64, 52), (150, 100)], [1, 0])
    else:
        name = tracker.add_box((34, 26, 60, 52))
    frame = tracker.step(picture)
    assert overlap(frame.label_image == frame.object(name).slot, rectangle(BOX)) > 0.8
    assert len(runtime.asked) == int(interactive)
    assert frame.object(name).score == 1.0  # not the network's


def test_an_answer_that_covers_what_was_excluded_is_not_taken():
    """The double finds both red boxes; the second click says that the other one does not belong."""
    runtime = FakeColourRuntime((128, 224), interactive=True)
    tracker = Tracker(runtime)
    other = (140, 70, 40, 40)
    name = tracker.add_points([(64, 52), (160, 90)], [1, 0])
    picture = np.random.default_rng(0).normal(scene(("red", BOX), ("red", other)), 3).clip(0, 255)
    frame = tracker.step(picture.astype(np.uint8))
    assert overlap(frame.label_image == frame.object(name).slot, rectangle(BOX)) > 0.8


def test_a_click_on_nothing_is_dropped_with_a_reason(tracker):
    kept = tracker.add_text("red")
    gone = tracker.add_box((0, 0, 224, 128))  # all of it: no background is left to tell it from
    frame = tracker.step(scene(("red", BOX)))
    assert frame.object(gone) is None and frame.object(kept).area
    assert "nothing that stands out" in frame.notes[0].message


# --- threads and memory
# --------------------------------------------------------------------------------------


def test_requests_do_not_wait_for_a_running_frame_and_take_effect_with_the_next(tracker, runtime):
    tracker.add_text("red")
    entered, release = threading.Event(), threading.Event()

    def wait():
        entered.set()
        assert release.wait(10)

    runtime.before_segment = wait
    frames = []
    worker = threading.Thread(target=lambda: frames.append(tracker.step(scene(("red", BOX)))))
    worker.start()
    assert entered.wait(10)
    added = tracker.add_text("green")  # returns while the frame is being computed
    tracker.remove("1")
    assert worker.is_alive()
    release.set()
    worker.join(10)
    assert [item.id for item in frames[0].objects] == ["1"]
    runtime.before_segment = lambda: None
    assert [item.id for item in tracker.step(EMPTY).objects] == [added]


def test_many_threads_leave_a_consistent_tracker(tracker):
    stop = threading.Event()
    errors: list[BaseException] = []

    def meddle(colour: str) -> None:
        try:
            while not stop.is_set():
                with contextlib.suppress(CapacityError):
                    tracker.remove(tracker.add_text(colour))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=meddle, args=(c,)) for c in ("red", "green", "blue", "yellow")]
    for thread in threads:
        thread.start()
    for _ in range(60):
        frame = tracker.step(scene(("red", BOX), ("green", (120, 60, 50, 40))))
        slots = [item.slot for item in frame.objects]
        assert slots == sorted(set(slots))
        assert set(np.unique(frame.label_image)) <= {0, *slots}
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == [] and tracker.objects == ()


def test_memory_does_not_grow_with_frames(tracker):
    for colour in ("red", "green", "blue"):
        tracker.add_text(colour)
    picture = scene(("red", BOX), ("green", (120, 10, 40, 40)), ("blue", (120, 70, 40, 40)))

    def run(frames: int) -> int:
        for index in range(frames):
            tracker._runtime.asked.clear()
            tracker.step(picture if index % 7 else EMPTY)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    gc.collect()
    others = {id(item) for item in gc.get_objects() if isinstance(item, MaskReference)}  # of other tests
    tracemalloc.start()
    try:
        before = run(30)
        after = run(300)
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
    tracker._runtime.asked.clear()
    kept = [item for item in gc.get_objects() if isinstance(item, MaskReference) and id(item) not in others]
    assert 0 < len(kept) <= 6


def test_no_object_costs_no_network(tracker, runtime):
    frame = tracker.step(EMPTY)
    assert runtime.images_encoded == 0 and frame.objects == () and not frame.label_image.any()


def test_one_image_encoding_serves_all_objects(tracker, runtime):
    for colour in ("red", "green", "blue"):
        tracker.add_text(colour)
    tracker.step(scene(("red", BOX)))
    tracker.step(scene(("red", BOX)))
    assert runtime.images_encoded == 2 and len(runtime.asked) == 2


def test_timings_name_every_stage(tracker):
    tracker.add_text("red")
    timings = tracker.step(scene(("red", BOX))).timings
    stages = {"prepare", "encode_image", "given", "segment", "merge", "encode_reference"}
    assert set(timings) == stages | {"total"}
    assert timings["total"] >= sum(timings[stage] for stage in stages) * 0.99


# --- the picture
# ---------------------------------------------------------------------------------------------


def test_overlay_draws_what_is_seen_and_leaves_the_rest(tracker):
    tracker.add_text("red")
    tracker.add_text("green")
    picture = scene(("red", BOX))
    frame = tracker.step(picture)
    drawn = draw_overlay(picture, frame)
    assert (drawn[60, 64] != picture[60, 64]).any()
    assert np.array_equal(drawn[120:, 200:], picture[120:, 200:])
    assert np.array_equal(picture, scene(("red", BOX)))  # the input is untouched
    assert (drawn == np.array(slot_colour(2))).all(axis=-1).any()  # the unseen one is listed in its colour
    with pytest.raises(ValueError, match=r"\(10, 10\)"):
        draw_overlay(np.zeros((10, 10, 3), np.uint8), frame)


def test_slot_colours_differ():
    assert len({slot_colour(slot) for slot in range(1, 33)}) == 32


# --- the authors' protocol; its label maps are in test_authors_tracker.py ----------------------------------


def authors_tracker(runtime, **options) -> Tracker:
    return Tracker(runtime, TrackerConfig(reference_protocol="authors", lost_after=1, **options))


def test_authors_a_lost_object_is_asked_for_once_with_all_it_has(runtime):
    tracker = authors_tracker(runtime, recheck_every=1)
    name = tracker.add_mask(rectangle(BOX), prompt="the red box")
    for image in (scene(("red", BOX)), scene(("red", BOX)), EMPTY, EMPTY, EMPTY, EMPTY):
        frame = tracker.step(image)
    assert frame.object(name).state is TrackState.LOST
    assert [[asked_of(row) for row in rows] for rows in runtime.asked] == [["lf"]] + [["lfp"]] * 4


def test_authors_words_alone_until_first_seen_then_with_references(runtime):
    tracker = authors_tracker(runtime, anchor_after=3)
    tracker.add_text("the red box")
    for image in (EMPTY, scene(("red", BOX)), scene(("red", BOX)), EMPTY, EMPTY):
        tracker.step(image)
    kinds = [[asked_of(row) for row in rows] for rows in runtime.asked]
    assert kinds == [["l"], ["l"], ["lf"], ["lfp"], ["lfp"]]


@pytest.mark.parametrize("protocol, renewed", [("authors", True), ("streaming", False)])
def test_authors_any_part_renews_the_previous_reference(runtime, protocol, renewed):
    tracker = Tracker(runtime, TrackerConfig(reference_protocol=protocol, min_area=1000))
    tracker.add_mask(rectangle(BOX))
    for _ in range(3):
        tracker.step(scene(("red", BOX)))
    assert asked_of(runtime.asked[-1][0]) == ("fp" if renewed else "f")


def test_authors_a_given_mask_is_merged_as_it_is_at_model_size(runtime):
    tracker = authors_tracker(runtime)
    pixel = np.zeros(EMPTY.shape[:2], bool)
    pixel[1, 1] = True  # between the pixels that the model's size keeps
    tracker.add_mask(pixel)
    assert not tracker.step(EMPTY).label_image.any()


def test_an_unknown_protocol_is_refused():
    with pytest.raises(ValueError, match="reference_protocol is 'paper', expected one of streaming, authors"):
        TrackerConfig(reference_protocol="paper")


def test_frames_of_padded_models_keep_their_aspect():
    geometry = FrameGeometry.fit((720, 1280), (480, 864), "shortest_edge")
    assert (geometry.top, geometry.left, geometry.height, geometry.width) == (0, 0, 480, 853)
    geometry = FrameGeometry.fit((640, 480), (480, 864), "shortest_edge")
    assert (geometry.height, geometry.width) == (480, 360)
    mask = np.zeros((640, 480), bool)
    mask[:, 240:] = True
    for small in (geometry.mask_to_model(mask), geometry.mask_to_model_floor(mask)):
        assert small.shape == (480, 864) and small[:, 180:360].all() and small.sum() == 480 * 180
