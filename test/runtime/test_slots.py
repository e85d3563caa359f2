"""State in arrays made once: slots, and the tracker's state in them."""

from __future__ import annotations

import numpy as np
import pytest

from uniref_model.errors import ModelFileError
from uniref_model.export.scene import boxes
from uniref_model.runtime import ObjectReferences, find_model, load_runtime
from uniref_model.runtime.slots import Pool
from uniref_model.tracking import Tracker, TrackerConfig


def pool(freed: list | None = None) -> Pool:
    return Pool(lambda: {"a": np.empty(3, np.float32)}, None if freed is None else freed.append)


def test_a_slot_comes_back_when_nothing_holds_it():
    numbers = pool()
    first = numbers.copy_of({"a": np.ones(3)})
    second = numbers.copy_of({"a": np.full(3, 2.0)})
    memory = second.arrays["a"].ctypes.data
    assert (numbers.made, numbers.nbytes) == (2, 24)
    del second
    third = numbers.copy_of({"a": np.full(3, 3.0)})
    assert third.arrays["a"].ctypes.data == memory and numbers.made == 2
    assert first.arrays["a"].tolist() == [1, 1, 1] and third.arrays["a"].tolist() == [3, 3, 3]


def test_what_is_given_up_is_given_back_once():
    freed: list = []
    numbers = pool(freed)
    held, spare = (numbers.copy_of({"a": np.zeros(3)}) for _ in range(2))
    del spare
    numbers.trim()
    assert (len(freed), numbers.made) == (1, 1)
    numbers.close()
    assert len(freed) == 1, "one is still held"
    held.arrays["a"][:] = 5
    del held
    assert (len(freed), numbers.made, numbers.nbytes) == (2, 0, 0)


@pytest.fixture(scope="module")
def runtime():
    try:
        find_model("uniref_nano")
    except ModelFileError as error:
        pytest.skip(f"no weights here: {error}")
    with load_runtime("uniref_nano", "192x320", "onnxruntime", threads=1) as loaded:
        yield loaded


@pytest.mark.parametrize("kept", ["first+previous", "first", "previous"])
def test_no_state_is_made_after_the_first_frames(runtime, kept):
    """Objects that stay, that are never seen, that are removed and replaced."""
    runtime.trim()
    config = TrackerConfig(max_objects=4, mask_threshold=0.0, references=kept)
    tracker = Tracker(runtime, config)
    pictures, masks = boxes(3, (240, 320))
    for mask in masks:
        tracker.add_mask(mask)
    tracker.add_text("a purple unicorn")
    made = []
    for index in range(24):
        if index % 3 == 2:
            tracker.remove(tracker.objects[0].id)
            tracker.add_mask(masks[index % 3])
        tracker.step(pictures[index % 4])
        made.append(runtime.state)
    assert made[-1] == made[8], "arrays are made for new frames"
    sets = {what: count for what, (count, _) in made[-1].items()}
    objects = 3
    # first and previous of every object, and the new previous ones beside the old
    assert sets["object values"] <= 3 * objects and sets["frame"] <= 2
    assert sets["frame keys"] <= 2 * objects + 2


def test_a_reference_outlives_frames_unchanged(runtime):
    """A slot that came back too early would be written over by the next frame."""
    mask = np.zeros((1, *runtime.size), np.float32)
    mask[:, 40:120, 80:200] = 1
    images = np.random.default_rng(0).integers(0, 256, (8, *runtime.size, 3), np.uint8)
    (reference,) = runtime.encode_reference(runtime.encode_image(images[0]), mask)
    before = [array.copy() for array in (*reference.keys, *reference.values, *reference.embeds)]
    for image in images[1:]:
        frame = runtime.encode_image(image)
        answer = runtime.segment(frame, [ObjectReferences(first=reference)])[0]
        runtime.encode_reference(frame, mask)
    after = (*reference.keys, *reference.values, *reference.embeds)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    again = runtime.segment(frame, [ObjectReferences(first=reference)])[0]
    np.testing.assert_array_equal(answer.mask_logits, again.mask_logits)
