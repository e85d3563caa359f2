"""`Prompt`: one way to say what to follow, checked when it is made."""

from __future__ import annotations

import numpy as np
import pytest
from fake_runtime import overlap, rectangle, scene

from uniref_model import MaskError, Prompt, PromptError, TrackState

BOX = (40, 32, 48, 40)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"image": np.zeros((8, 8, 3), np.uint8)},
        {"labels": [1]},
        {"points": [(1, 1)], "box": (0, 0, 4, 4)},
        {"mask": np.ones((8, 8), bool), "points": [(1, 1)]},
    ],
)
def test_what_says_nothing_or_too_much_is_refused(given):
    with pytest.raises(PromptError):
        Prompt(**given)


def test_a_prompt_is_kept_as_it_was_given():
    mask = np.ones((8, 8), bool)
    prompt = Prompt(mask=mask)
    mask[:] = False
    assert prompt.mask.all(), "the caller's array may change"


def test_a_drawing_is_checked_against_its_own_image_at_once():
    with pytest.raises(MaskError, match="outside the frame"):
        Prompt(points=[(50, 2)], image=np.zeros((8, 8, 3), np.uint8))


def test_words_and_a_mask_together_follow_one_object(tracker):
    name = tracker.add(Prompt(text="the red box", mask=rectangle(BOX)), label="mine")
    frame = tracker.step(scene(("red", BOX)))
    (item,) = frame.objects
    assert (item.id, item.label, item.prompt, item.state) == (name, "mine", "the red box", TrackState.TRACKED)
    assert overlap(frame.label_image == item.slot, rectangle(BOX)) > 0.8
