"""Frames of which the tracker is shown a smaller picture, such as a JPEG decoded at a part of its size."""

from __future__ import annotations

import numpy as np
import pytest
from fake_runtime import overlap, rectangle, scene

from uniref_model.errors import ImageError

EMPTY = scene()


def test_a_smaller_picture_of_a_frame_gives_masks_and_takes_clicks_in_the_frames_pixels(tracker):
    size, red, blue = (512, 896), (160, 128, 192, 160), (560, 240, 192, 160)
    whole = scene(("red", red), ("blue", blue), size=size)
    small = np.ascontiguousarray(whole[::4, ::4])
    words, click = tracker.add_text("red"), tracker.add_points([(650.0, 300.0)])
    frame = tracker.step(small, size=size)
    assert frame.size == tracker.frame_size == size and frame.label_image.shape == size
    for name, box in ((words, red), (click, blue)):
        assert overlap(frame.label_image == frame.object(name).slot, rectangle(box, size)) > 0.85
    given = tracker.add_mask(rectangle(red, size))
    frame = tracker.step(small, size=size)
    assert np.array_equal(frame.label_image == frame.object(given).slot, rectangle(red, size))


@pytest.mark.parametrize("size", [(256, 449), (64, 112), (128, 448)])
def test_a_picture_that_is_not_all_of_the_frame_is_refused(tracker, size):
    with pytest.raises(ImageError, match=f"224x128 pixels is no smaller picture of a frame of {size[1]}x"):
        tracker.step(EMPTY, size=size)
