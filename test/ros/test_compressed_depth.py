"""Depth as compressed_depth_image_transport sends it, without ROS."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from compressed_depth_writer import pack
from hostile_pictures import huge_png

from uniref_model.errors import ImageError
from uniref_model.limits import LimitError
from uniref_ros.conversion import metres
from uniref_ros.space.compressed_depth import depth_samples, encoding_of

RNG = np.random.default_rng(0)


def message(data: bytes, format: str = "16UC1; compressedDepth png") -> SimpleNamespace:
    return SimpleNamespace(data=data, format=format)


def test_millimetres_come_back_to_the_bit():
    samples = RNG.integers(0, 65536, (48, 64)).astype(np.uint16)
    np.testing.assert_array_equal(depth_samples(message(pack(samples))), samples)


def test_metres_come_back_within_the_quantisation():
    samples = RNG.uniform(0.3, 9.0, (48, 64)).astype(np.float32)
    samples[:4] = np.nan
    samples[4:8] = 0
    found = metres(depth_samples(message(pack(samples), "32FC1; compressedDepth")))
    assert (found[:8] == 0).all()
    # one step of the inverse depth, A = 100 * 101, is depth^2 / A
    assert (np.abs(found[8:] - samples[8:]) <= 1.01 * samples[8:] ** 2 / 10100).all()


WHOLE = pack(np.full((4, 6), 1000, np.uint16))
COLOUR = cv2.imencode(".png", np.zeros((4, 6, 3), np.uint8))[1].tobytes()
BAD = {
    "no data": (b"", "16UC1; compressedDepth png", "0 bytes"),
    "a header alone": (WHOLE[:12], "16UC1; compressedDepth png", "without a PNG"),
    "no header": (WHOLE[12:], "16UC1; compressedDepth png", "without a PNG"),
    "rvl": (WHOLE[:12] + b"\x06\x00\x00\x00" * 4, "16UC1; compressedDepth rvl", "rvl"),
    "a cut PNG": (WHOLE[:40], "16UC1; compressedDepth png", "holds no picture"),
    "colour": (WHOLE[:12] + COLOUR, "16UC1; compressedDepth png", "16 bits of one channel"),
    "a colour's format": (WHOLE, "rgb8; jpeg compressed bgr8", "'rgb8; jpeg compressed bgr8'"),
    "no format": (WHOLE, "", "16UC1 or 32FC1"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_such_depth_is_refused_with_the_reason(name):
    data, format, reason = BAD[name]
    with pytest.raises(ImageError, match=reason):
        depth_samples(message(data, format))


def test_the_check_on_arrival_reads_no_pixels():
    assert encoding_of(message(WHOLE[:40])) == "16UC1"


@pytest.mark.parametrize("read", [encoding_of, depth_samples])
def test_a_huge_picture_is_refused_before_it_is_decoded(read, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(LimitError, match="compressed depth states 30000x30000 pixels"):
        read(message(WHOLE[:12] + huge_png()))
    with pytest.raises(LimitError, match="6x4"):
        read(message(WHOLE), 23)


def test_what_no_sensor_sees_is_unknown():
    samples = np.array([[2.0, 0.0, -1.0, np.nan, np.inf, 1e38, 1e6, 5e5]], np.float32)
    assert metres(samples).tolist() == [[2.0, 0, 0, 0, 0, 0, 0, 5e5]]
    assert metres(np.array([[2000, 0, 65535]], np.uint16)).tolist() == [[2.0, 0, 0]]
