"""State in arrays made once: loans, and the tracker's state in them."""

from __future__ import annotations

import threading

import numpy as np
import onnxruntime
import pytest

from uniref_model.errors import ModelFileError
from uniref_model.runtime import ObjectReferences, find_model, load_runtime
from uniref_model.runtime.loans import ALIGNMENT, HOST, HostMemory, Pool
from uniref_model.runtime.onnx import OrtDevice
from uniref_model.runtime.tensor import DeviceMemory
from uniref_model.scene import boxes
from uniref_model.tracking import Tracker, TrackerConfig


class CountingMemory(HostMemory):
    def __init__(self) -> None:
        self.freed = 0

    def free(self, block) -> None:
        self.freed += 1


def pool(memory: HostMemory = HOST) -> Pool:
    return Pool(memory, (((3,), np.dtype(np.float32)), ((2, 2), np.dtype(np.float16))))


def values(number: float) -> list[np.ndarray]:
    return [np.full(3, number), np.full((2, 2), number)]


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def test_a_block_comes_back_when_nobody_has_any_of_its_arrays():
    numbers = pool()
    first, second = numbers.lend(values(1)), numbers.lend(values(2))
    memory = address(second[0])
    assert (numbers.made, numbers.nbytes) == (2, 2 * (12 + 8))
    assert all(address(array) % ALIGNMENT == 0 for array in (*first, *second))
    kept = second[1]
    del second
    third = numbers.lend(values(3))
    assert address(third[0]) != memory, "one array of the set is still there"
    del kept
    fourth = numbers.lend(values(4))
    assert address(fourth[0]) == memory and numbers.made == 3
    assert first[0].tolist() == [1, 1, 1] and third[1].tolist() == [[3, 3], [3, 3]]


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[1:],
        lambda a: a[1:][:1][None],
        lambda a: a.reshape(3, 1).T.reshape(-1)[::2],
        lambda a: a.view(np.int32),
        lambda a: memoryview(a),
        lambda a: np.asarray(memoryview(a))[1:],
        lambda a: np.lib.stride_tricks.as_strided(a, (2,), (4,)),
        lambda a: np.broadcast_to(a, (2, 3))[1],
    ],
)
def test_any_view_keeps_its_block(view):
    numbers = pool()
    lent = numbers.lend(values(1))
    before, seen = address(lent[0]), view(lent[0])
    wanted = np.array(seen)
    del lent
    other = numbers.lend(values(2))
    assert address(other[0]) != before
    np.testing.assert_array_equal(np.array(seen), wanted)
    del seen
    assert address(numbers.lend(values(3))[0]) == before


def test_what_is_given_up_is_given_back_once():
    memory = CountingMemory()
    numbers = pool(memory)
    held, spare = (numbers.lend(values(0)) for _ in range(2))
    del spare
    numbers.trim()
    assert (memory.freed, numbers.made) == (1, 1)
    numbers.close()
    assert memory.freed == 1, "one is still lent"
    held[0][:] = 5
    del held
    assert (memory.freed, numbers.made, numbers.nbytes) == (2, 0, 0)


def test_blocks_may_come_back_in_any_thread():
    """The counts tell what there is, however many threads take and let go at once."""
    numbers = pool()

    def work() -> None:
        for _ in range(300):
            lent = [numbers.lend(values(0)) for _ in range(3)]
            lent.clear()
            numbers.trim()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers.trim()
    assert (numbers.made, numbers.nbytes) == (0, 0)


def test_tensors_on_a_device_and_their_parts_keep_their_block():
    device = OrtDevice(onnxruntime, "cpu")
    numbers = Pool(DeviceMemory(device), (((2, 3), np.dtype(np.float32)),))
    (lent,) = numbers.lend([np.arange(6).reshape(2, 3)])
    row = lent[1][None]
    before = lent.address
    del lent
    (other,) = numbers.lend([np.zeros((2, 3))])
    assert other.address != before and np.asarray(row).tolist() == [[3, 4, 5]]
    other[0] = row[0]  # on the device
    assert np.asarray(other).tolist() == [[3, 4, 5], [0, 0, 0]]
    del row
    assert numbers.lend([other])[0].address == before
    with pytest.raises(ValueError, match=r"shape \(3,\) cannot take one of shape \(2, 3\)"):
        other[0] = other


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
    """A block that came back too early would be written over by the next frame."""
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
