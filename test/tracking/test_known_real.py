"""Known objects with the shipped weights on real video: taught in one half, called in the other, which is
mirrored, dimmed and cropped, by a name that no network knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_runtime import overlap

from examples.teach_and_call import elsewhere
from uniref_model import KnownObjects, Prompt, Tracker, TrackState, load_runtime
from uniref_model.pictures import read_labels
from uniref_model.runtime.files import WEIGHTS
from uniref_model.tracking.teaching import Teacher
from uniref_model.video import open_source

MEDIA = Path(__file__).resolve().parents[2] / "media"
WITHIN = 30  # frames

pytestmark = pytest.mark.skipif(
    not (WEIGHTS / "uniref_nano" / "model.json").is_file() or not (MEDIA / "box.mp4").is_file(),
    reason="the shipped weights or the demo videos are not here",
)


@pytest.fixture(scope="module")
def runtime():
    with load_runtime("uniref_nano", size="192x320", runtime="onnxruntime", device="cpu") as loaded:
        yield loaded


def frames(video: str, first: int, count: int, step: int = 1) -> list[np.ndarray]:
    source = open_source(str(MEDIA / video))
    try:
        chosen = range(first, first + count * step, step)
        found = []
        for frame in source:
            if frame.index in chosen:
                found.append(frame.image)
            if len(found) == count:
                break
        return found
    finally:
        source.close()


def truth(video: str, index: int) -> np.ndarray:
    """The annotated object of a frame, seen as `elsewhere` shows it."""
    labels = read_labels(MEDIA / "eval" / video.removesuffix(".mp4") / "masks" / f"{index:05d}.png")
    height, width = labels.shape[0] // 12, labels.shape[1] // 12
    return labels[height:-height, width:-width][:, ::-1] == 1


@pytest.mark.parametrize(
    ("video", "prompt", "second_half", "last", "name", "other"),
    [
        ("box.mp4", Prompt(points=[(450, 130)]), 228, 256, "my gizmo", "cup.mp4"),
        ("cup.mp4", Prompt(text="the black bottle"), 108, 164, "part A7", "box.mp4"),
    ],
)
def test_taught_in_one_half_and_called_in_the_other(
    runtime, tmp_path, video, prompt, second_half, last, name, other
):
    known = KnownObjects(tmp_path)
    tracker = Tracker(runtime)
    tracker.add(prompt)
    (image,) = frames(video, 0, 1)
    shown = tracker.step(image)
    Teacher(runtime, known).teach(name, image, Prompt(mask=shown.label_image > 0))

    tracker = Tracker(runtime, known=KnownObjects(tmp_path))  # as after a restart
    tracker.add(Prompt(text=name))
    first = None
    for index, image in enumerate(frames(video, second_half, last - second_half + 1)):
        frame = tracker.step(elsewhere(image))
        if first is None and frame.objects[0].box is not None:
            first = index
    assert first is not None and first < WITHIN
    assert frame.objects[0].found.view == 1 and frame.objects[0].state is TrackState.TRACKED
    assert overlap(frame.label_image, truth(video, last)) > 0.7, "what is followed in the end is the thing"

    tracker = Tracker(runtime, known=known)
    tracker.add(Prompt(text=name))
    answered = sum(tracker.step(image).objects[0].box is not None for image in frames(other, 0, 20, 10))
    assert answered == 0, "what is absent stays absent"
