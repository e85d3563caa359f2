"""Camera infos as drivers write them, images by stamp, messages that never came. Plain objects stand for
messages."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from uniref_model.errors import ImageError
from uniref_model.requests.stamps import HeldImages, check_header
from uniref_ros.losses import Losses
from uniref_ros.space.camera_info import check_info, intrinsics_of
from uniref_ros.space.surface import GeometryError

MATRIX = [500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0]


def info(model: str, *distortion: float) -> SimpleNamespace:
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    return SimpleNamespace(
        k=MATRIX,
        p=[0.0] * 12,
        d=list(distortion),
        distortion_model=model,
        width=640,
        height=480,
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


@pytest.mark.parametrize("zeros", range(5))
def test_zeros_behind_the_coefficients_change_nothing(zeros):
    fisheye = intrinsics_of(info("equidistant", 0.1, 0.02, 0.003, 0.004, *[0.0] * zeros), rectified=False)
    assert fisheye.fisheye and fisheye.distortion == (0.1, 0.02, 0.003, 0.004)
    flat = intrinsics_of(info("plumb_bob", 0.1, 0.02, 0.003, 0.004, 0.5, *[0.0] * zeros), rectified=False)
    assert not flat.fisheye and flat.distortion[:5] == (0.1, 0.02, 0.003, 0.004, 0.5)
    assert not any(flat.distortion[5:]) and len(flat.distortion) in (5, 8)
    assert flat.rays().shape == (480, 640, 2) and fisheye.rays().shape == (480, 640, 2)


@pytest.mark.parametrize(
    ("model", "distortion"),
    [
        ("equidistant", (0.1, 0.02, 0.003)),
        ("equidistant", (0.1, 0.02, 0.003, 0.004, 0.5)),
        ("plumb_bob", (0.1, 0.02, 0.003)),
        ("plumb_bob", (0.1,) * 6),
        ("rational_polynomial", (0.1,) * 15),
        ("a\nb" * 10_000, (0.1,) * 4),
    ],
)
def test_what_is_no_known_model_is_refused(model, distortion):
    with pytest.raises(GeometryError, match=f"with {len(distortion)} coefficients is not known") as refused:
        intrinsics_of(info(model, *distortion), rectified=False)
    assert len(str(refused.value)) < 400 and "\n" not in str(refused.value)


@pytest.mark.parametrize("place", [0, 4, 2, 5])
@pytest.mark.parametrize("value", [1e-300, 1e300, -1e300, float("nan"), float("inf")])
def test_a_matrix_of_no_camera_is_refused_before_positions_come_out_of_it(place, value):
    wrong = info("plumb_bob")
    wrong.k = [value if index == place else number for index, number in enumerate(MATRIX)]
    if place in (2, 5) and value == 1e-300:
        assert np.isfinite(intrinsics_of(wrong, rectified=False).rays()).all()
        return
    with pytest.raises(GeometryError, match="is the camera calibrated"):
        intrinsics_of(wrong, rectified=False)


@pytest.mark.parametrize("model", ["plumb_bob", "rational_polynomial", "equidistant"])
@pytest.mark.parametrize("value", [-1.0, 50.0, 1e30, 1e300])
def test_a_distortion_of_no_camera_gives_no_positions_rather_than_wrong_ones(model, value):
    count = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}[model]
    rays = intrinsics_of(info(model, *[value] * count), rectified=False).rays()
    assert not np.isinf(rays).any() and np.nanmax(np.abs(rays)) < 1000


def test_a_region_of_interest_far_away_is_refused():
    far = info("plumb_bob")
    far.roi.x_offset = 2**32 - 1
    with pytest.raises(GeometryError, match=r"region of interest begins at \(4294967295, 0\) of 640x480"):
        intrinsics_of(far, rectified=False)


def test_a_camera_info_that_is_no_small_message_is_refused():
    check_info(info("plumb_bob", *[0.1] * 5, *[0.0] * 20))
    with pytest.raises(GeometryError, match=r"1000000 distortion coefficients .* limit of 64"):
        check_info(info("plumb_bob", *[0.0] * 1_000_000))
    with pytest.raises(GeometryError, match="100000 characters"):
        check_info(info("x" * 100_000))


def image(seconds: int, name: str) -> SimpleNamespace:
    return SimpleNamespace(name=name, header=SimpleNamespace(stamp=SimpleNamespace(sec=seconds, nanosec=0)))


def arrival(sender: bytes, number: int | None) -> dict[str, object]:
    return {"publication_sequence_number": number, "publisher_gid": {"data": sender}}


def test_messages_that_never_came_are_counted_by_sender():
    losses = Losses()
    heard = [(b"a", 5), (b"b", 1), (b"a", 6), (b"a", 9), (b"b", 2), (b"a", 10), (b"b", 102)]
    assert [losses.arrived(arrival(*one)) for one in heard] == [0, 0, 0, 2, 0, 0, 99]
    assert losses.total == 101
    assert losses.told(SimpleNamespace(total_count_change=3)) == 0, "counted already"
    for number in range(1000):
        losses.arrived(arrival(number.to_bytes(4, "little"), 1))
    assert losses.total == 101 and len(losses._last) == 64


def test_without_numbers_the_middlewares_word_is_taken():
    losses = Losses()
    for info in ({}, {"publication_sequence_number": 7}, {"publisher_gid": None}):
        assert losses.arrived(info) == 0
    assert losses.told(SimpleNamespace(total_count_change=3)) == losses.total == 3


def test_of_two_images_with_one_stamp_the_newer_is_held():
    held = HeldImages(4)
    for one in (image(1, "first"), image(2, "other"), image(2, "newer"), image(3, "last")):
        held.add(one)
    assert held.find(image(2, "").header.stamp).name == "newer" and held.jumps == 0


@pytest.mark.parametrize("frame_id", ["x" * 201, "a\nb", "\x1b[31m", "\u202e"])
def test_a_frame_id_that_no_result_should_repeat_is_refused(frame_id):
    stamp = SimpleNamespace(sec=1, nanosec=0)
    check_header(SimpleNamespace(stamp=stamp, frame_id="camera_color_optical_frame"))
    check_header(SimpleNamespace(stamp=stamp, frame_id=""))
    with pytest.raises(ImageError, match="the image's frame_id"):
        check_header(SimpleNamespace(stamp=stamp, frame_id=frame_id))
