"""What the tracker is given: bad input disturbs nothing; sizes, earlier frames, clicks and boxes."""

from __future__ import annotations

import numpy as np
import pytest
from fake_runtime import FakeColourRuntime, asked_of, overlap, rectangle, scene

from uniref_model.errors import ImageError, MaskError, PromptError
from uniref_model.tracking import Tracker, TrackerConfig, TrackState
from uniref_model.tracking.frame_fit import FrameGeometry

BOX = (40, 32, 48, 40)
EMPTY = scene()


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
        {"view_threshold": -0.1},
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


@pytest.mark.parametrize("size", [(256, 448), (96, 300), (200, 80), (33, 47)])
def test_frames_of_a_new_size_are_followed(tracker, size):
    name = tracker.add_mask(rectangle(BOX))
    tracker.step(scene(("red", BOX)))
    box = (size[1] // 4, size[0] // 4, size[1] // 2, size[0] // 2)
    frame = tracker.step(scene(("red", box), size=size))
    assert frame.size == size and frame.label_image.shape == size
    assert overlap(frame.label_image == frame.object(name).slot, rectangle(box, size)) > 0.7
    assert tracker.frame_size == size


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3)])
def test_frames_of_next_to_no_pixels_are_frames(tracker, size):
    name = tracker.add_text("red")
    for _ in range(3):
        item = tracker.step(scene(("red", (0, 0, 300, 300)), size=size)).object(name)
    assert item.state is TrackState.TRACKED and item.area == size[0] * size[1]


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


def test_finding_by_words_or_by_another_picture_has_a_threshold_of_its_own_and_following_has_one(runtime):
    """Another thing there is taken for it more easily than what was seen a frame ago is lost."""
    earlier, now = scene(("red", BOX)), scene(("red", (120, 70, 40, 40)))
    runtime.score = lambda references, found: 0.6
    strict = Tracker(runtime, TrackerConfig(view_threshold=0.7))
    name = strict.add_mask(rectangle(BOX), image=earlier)
    assert strict.step(now).object(name).state is TrackState.SEARCHING
    strict.configure(view_threshold=0.5)
    assert strict.step(now).object(name).state is TrackState.TRACKED
    strict.configure(view_threshold=0.7)
    assert strict.step(now).object(name).state is TrackState.TRACKED, "it is followed by now"

    here = Tracker(runtime, TrackerConfig(view_threshold=0.7))
    name = here.add_mask(rectangle(BOX))
    here.step(earlier)
    assert here.step(now).object(name).state is TrackState.TRACKED, "this picture's own mask"

    spoken = Tracker(runtime, TrackerConfig(language_threshold=0.5))
    name = spoken.add_text("red")
    assert spoken.step(now).object(name).state is TrackState.TRACKED
    spoken.configure(language_threshold=0.7)
    assert spoken.step(now).object(name).state is TrackState.TRACKED, "found by words, followed by masks too"

    authors = Tracker(runtime, TrackerConfig(view_threshold=0.7, reference_protocol="authors"))
    name = authors.add_mask(rectangle(BOX), image=earlier)
    assert authors.step(now).object(name).state is TrackState.TRACKED, "theirs has one threshold"


def test_a_click_is_answered_by_an_interactive_model_on_the_same_frame():
    runtime = FakeColourRuntime(interactive=True)
    tracker = Tracker(runtime)
    name = tracker.add_points([(64, 52)], prompt="the red box")
    frame = tracker.step(scene(("red", BOX)))
    item = frame.object(name)
    assert overlap(frame.label_image == item.slot, rectangle(BOX)) > 0.85
    assert item.score == 0.9 and asked_of(runtime.asked[0][0]) == "lf"
    tracker.step(scene(("red", (100, 60, 48, 40))))
    assert len(runtime.asked) == 3  # two for the click, the second from nearer, one for the next frame


def test_where_somebody_points_the_network_is_believed_though_it_is_unsure():
    runtime = FakeColourRuntime(interactive=True)
    runtime.score = lambda references, found: 0.2  # under the threshold of what is looked for
    tracker = Tracker(runtime)
    name = tracker.add_points([(64, 52)])
    item = tracker.step(scene(("red", BOX))).object(name)
    assert item.state is TrackState.TRACKED and item.score == 0.2


@pytest.mark.parametrize("interactive", [False, True])
@pytest.mark.parametrize("kind", ["points", "box"])
def test_clicks_and_boxes_work_with_every_model(interactive, kind):
    """With models that were not trained for it, or that answer badly, colours decide (GrabCut)."""
    runtime = FakeColourRuntime((128, 224), interactive=interactive)
    runtime.score = lambda references, found: 0.05
    tracker = Tracker(runtime)
    picture = np.random.default_rng(0).normal(scene(("red", BOX)), 3).clip(0, 255).astype(np.uint8)
    if kind == "points":
        name = tracker.add_points([(64, 52), (150, 100)], [1, 0])
    else:
        name = tracker.add_box((34, 26, 60, 52))
    frame = tracker.step(picture)
    assert overlap(frame.label_image == frame.object(name).slot, rectangle(BOX)) > 0.8
    assert len(runtime.asked) == 2 * int(interactive)
    assert frame.object(name).score == 1.0  # not the network's


@pytest.mark.parametrize("kind", ["points", "box"])
@pytest.mark.parametrize("reduced", [1, 2])
@pytest.mark.parametrize("place", [(300, 200), (4, 2), (826, 444)])
def test_what_is_small_is_looked_at_from_nearer_and_the_surer_answer_counts(kind, reduced, place):
    """The double draws masks on blocks of 32 pixels of this frame, and from nearer of 8."""
    size, thing = (512, 896), (*place, 60, 60)
    picture = scene(("red", thing), size=size)
    runtime = FakeColourRuntime(interactive=True)
    scores = iter([0.5, 0.8])
    runtime.score = lambda references, found: next(scores)
    tracker = Tracker(runtime)
    if kind == "points":
        name = tracker.add_points([(place[0] + 31, place[1] + 29)])
    else:
        name = tracker.add_box((place[0] - 3, place[1] - 2, 66, 64))
    shown = np.ascontiguousarray(picture[::reduced, ::reduced])
    frame = tracker.step(shown, size=size)
    assert frame.object(name).score == 0.8
    assert overlap(frame.label_image == frame.object(name).slot, rectangle(thing, size)) > 0.6
    assert runtime.images_encoded == 2


@pytest.mark.parametrize("scores", [(0.8, 0.5), (0.8, 0.8), (0.8, 0.05)])
def test_a_look_from_nearer_that_is_no_surer_changes_nothing(scores):
    runtime = FakeColourRuntime(interactive=True)
    given = iter(scores)
    runtime.score = lambda references, found: next(given)
    tracker = Tracker(runtime)
    name = tracker.add_points([(64, 52)])
    assert tracker.step(scene(("red", BOX))).object(name).score == 0.8


def test_what_fills_the_frame_is_looked_at_once():
    runtime = FakeColourRuntime(interactive=True)
    tracker = Tracker(runtime)
    large = (20, 15, 180, 100)
    name = tracker.add_points([(100, 60)])
    frame = tracker.step(scene(("red", large)))
    assert overlap(frame.label_image == frame.object(name).slot, rectangle(large)) > 0.9
    assert len(runtime.asked) == runtime.images_encoded == 1


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
