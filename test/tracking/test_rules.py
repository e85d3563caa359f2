"""The authors' protocol in the tracker; its label maps are in test_authors_label_maps.py."""

from __future__ import annotations

import numpy as np
import pytest
from fake_runtime import asked_of, rectangle, scene

from uniref_model.tracking import Tracker, TrackerConfig, TrackState
from uniref_model.tracking.frame_fit import FrameGeometry

BOX = (40, 32, 48, 40)
EMPTY = scene()


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
