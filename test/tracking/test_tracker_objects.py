"""Several objects in one tracker: whose pixel it is, ids, capacity, and the picture of them."""

from __future__ import annotations

import numpy as np
import pytest
from fake_runtime import labels_of, rectangle, scene

from uniref_model.errors import CapacityError, ObjectIdError
from uniref_model.tracking import Tracker, TrackerConfig, TrackState
from uniref_model.tracking.aggregate import Aggregator, Claim, Share
from uniref_model.tracking.frame_fit import FrameGeometry
from uniref_model.tracking.overlay import draw_overlay, slot_colour
from uniref_model.tracking.rules import Streaming

BOX = (40, 32, 48, 40)
EMPTY = scene()


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
    claims = [Claim(slot, p) for slot, p in zip((3, 1, 2), maps, strict=True)]
    shares = Aggregator().merge(claims, geometry)
    labels = labels_of(claims, shares, geometry.frame)
    by_slot = {slot: geometry.probability_to_frame(p) for slot, p in zip((3, 1, 2), maps, strict=True)}
    stack = np.stack([np.prod([1 - by_slot[s] for s in (1, 2, 3)], axis=0), *(by_slot[s] for s in (1, 2, 3))])
    assert (labels == stack.argmax(axis=0)).mean() > 0.9999
    assert {int(v) for v in np.unique(labels)} == {0, 1, 2, 3}
    assert [share.area for share in shares] == [int((labels == slot).sum()) for slot in (3, 1, 2)]


def test_ties_go_to_the_lower_slot_and_a_given_mask_wins():
    geometry = FrameGeometry.fit((16, 28), (16, 28))
    sure = np.ones((16, 28), np.float32)
    claims = [Claim(2, sure), Claim(1, sure)]
    labels = labels_of(claims, Aggregator().merge(claims, geometry), geometry.frame)
    assert (labels == 1).all()
    given = np.zeros((16, 28), bool)
    given[4:8, 4:8] = True
    claims = [Claim(1, sure), Claim(2, given, exact=True)]
    shares = Aggregator().merge(claims, geometry)
    labels = labels_of(claims, shares, geometry.frame)
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
    assert Streaming(TrackerConfig(min_area=1)).is_well_seen(share, model_area=area) == expected


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
