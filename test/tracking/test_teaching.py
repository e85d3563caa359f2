"""Teaching: from a click, box or mask to a view that is kept, or the reason why not."""

from __future__ import annotations

import pytest
from fake_runtime import FakeColourRuntime, overlap, rectangle, scene

from uniref_model import KnownObjectError, KnownObjects, MaskError, Prompt
from uniref_model.tracking.teaching import Teacher

HERE, THERE = (32, 32, 40, 32), (152, 72, 40, 32)


@pytest.fixture
def teacher(tmp_path) -> Teacher:
    return Teacher(FakeColourRuntime(interactive=True), KnownObjects(tmp_path, max_views=3))


@pytest.mark.parametrize(
    "prompt", [Prompt(points=[(50, 45)]), Prompt(box=(28, 28, 50, 42)), Prompt(mask=rectangle(HERE))]
)
def test_a_click_a_box_and_a_mask_teach_what_they_point_at(teacher, prompt):
    item = teacher.teach("my mug", scene(("red", HERE), ("blue", THERE)), prompt)
    (view,) = item.views
    _, mask = view.read()
    assert item.name == "my mug" and overlap(mask, rectangle(HERE)) > 0.8


def test_a_view_that_its_own_views_find_already_says_nothing_new(teacher):
    teacher.teach("mug", scene(("red", HERE)), Prompt(mask=rectangle(HERE)))
    with pytest.raises(KnownObjectError, match=r"nothing new: view 1 finds it here already \(score 0.90"):
        teacher.teach("my mug", scene(("red", THERE)), Prompt(mask=rectangle(THERE)))
    item = teacher.teach("mug", scene(("green", THERE)), Prompt(mask=rectangle(THERE)))
    assert [view.number for view in item.views] == [1, 2]
    again = teacher.teach("mug", scene(("red", THERE)), Prompt(mask=rectangle(THERE)), replace=True)
    assert [view.number for view in again.views] == [3], "to replace, it need not be new"


def test_of_too_many_views_the_one_that_the_others_know_best_goes(tmp_path):
    runtime = FakeColourRuntime()
    teacher = Teacher(runtime, KnownObjects(tmp_path, max_views=3))
    for colour in ("red", "green", "green"):  # the store itself takes any
        teacher.known.teach("mug", scene((colour, HERE)), rectangle(HERE))
    item = teacher.teach("mug", scene(("blue", HERE)), Prompt(mask=rectangle(HERE)))
    numbers = [view.number for view in item.views]
    assert len(numbers) == 3 and 1 in numbers and 4 in numbers, "red is known by one view, green by two"


def test_of_too_many_views_one_that_cannot_be_read_goes_first(teacher):
    for colour in ("red", "green", "blue"):
        teacher.known.teach("mug", scene((colour, HERE)), rectangle(HERE))
    path = teacher.known.folder / "mug" / "view_2.png"
    path.write_bytes(path.read_bytes()[:100])
    item = teacher.teach("mug", scene(("yellow", HERE)), Prompt(mask=rectangle(HERE)))
    assert [view.number for view in item.views] == [1, 3, 4]


@pytest.mark.parametrize(
    ("prompt", "error", "reason"),
    [
        (Prompt(mask=rectangle((0, 0, 224, 128))), KnownObjectError, "shows everything"),
        (Prompt(mask=rectangle(HERE) | rectangle(THERE)), KnownObjectError, "shows two things"),
        (Prompt(mask=rectangle((0, 0, 20, 20), (64, 64))), MaskError, "has shape"),
        (Prompt(points=[(500, 5)]), MaskError, "outside the frame"),
    ],
)
def test_what_shows_nothing_of_use_is_refused_with_the_reason(teacher, prompt, error, reason):
    with pytest.raises(error, match=reason):
        teacher.teach("mug", scene(("red", HERE)), prompt)
    assert teacher.known.objects == ()
