"""The tracker at work: threads, memory, timings."""

from __future__ import annotations

import contextlib
import gc
import threading
import tracemalloc

import numpy as np
from fake_runtime import scene

from uniref_model.errors import CapacityError
from uniref_model.runtime.base import MaskReference

BOX = (40, 32, 48, 40)
EMPTY = scene()


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
    steps = {"prepare", "encode_image", "given", "segment", "merge", "encode_reference"}
    assert set(timings) == steps | {"total"}
    assert timings["total"] >= sum(timings[step] for step in steps) * 0.99
