"""Image messages to arrays and back. Plain objects stand for messages, so ROS is not needed."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hostile_pictures import HUGE

from uniref_model.errors import ImageError, MaskError
from uniref_model.limits import LimitError
from uniref_ros.conversion import (
    IMAGE_ENCODINGS,
    TornImageError,
    compressed_to_rgb,
    depth_samples,
    fill_image,
    fill_jpeg,
    one_object,
    reduced_to_rgb,
    to_mask,
    to_rgb,
)

RGB = np.zeros((6, 8, 3), np.uint8)
RGB[...] = (200, 100, 30)
RGB[:, 4:] = (20, 60, 250)


def message(pixels, encoding, *, pad=0, width=None, height=None, big=False) -> SimpleNamespace:
    """An image message of these samples, each row followed by `pad` bytes of rubbish."""
    pixels = pixels.astype(pixels.dtype.newbyteorder(">")) if big else pixels
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(pixels.shape[0], -1)
    rows = np.hstack([rows, np.full((len(rows), pad), 171, np.uint8)])
    return SimpleNamespace(
        encoding=encoding,
        height=height or pixels.shape[0],
        width=width or pixels.shape[1],
        step=rows.shape[1],
        is_bigendian=int(big),
        data=rows.tobytes(),
    )


def channels(order: str, scale: int = 1, dtype=np.uint8) -> np.ndarray:
    """RGB's samples in this order of letters; a stands for alpha."""
    planes = {"r": RGB[..., 0], "g": RGB[..., 1], "b": RGB[..., 2], "a": np.full(RGB.shape[:2], 9, np.uint8)}
    return np.stack([planes[letter].astype(dtype) * scale for letter in order], axis=-1)


@pytest.mark.parametrize("pad", [0, 1, 13])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8"])
def test_colour_orders_with_and_without_padding(encoding, pad):
    assert np.array_equal(to_rgb(message(channels(encoding[:-1]), encoding, pad=pad)), RGB)


@pytest.mark.parametrize("big", [False, True], ids=["little", "big"])
@pytest.mark.parametrize("encoding", ["rgb16", "bgr16", "rgba16", "bgra16"])
def test_sixteen_bits_are_scaled_to_eight_in_either_byte_order(encoding, big):
    samples = channels(encoding[:-2], 257, np.uint16) + 7
    assert np.array_equal(to_rgb(message(samples, encoding, pad=5, big=big)), RGB)


@pytest.mark.parametrize("encoding", ["8UC3", "8UC4"])
def test_type_names_mean_opencvs_order(encoding):
    assert np.array_equal(to_rgb(message(channels("bgra"[: int(encoding[-1])]), encoding)), RGB)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1", "mono16", "16UC1"])
def test_grey_becomes_three_equal_channels(encoding):
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    samples = grey.astype(np.uint16) * 257 if "16" in encoding else grey
    assert np.array_equal(to_rgb(message(samples, encoding, pad=3)), np.stack([grey] * 3, -1))


@pytest.mark.parametrize("bits", ["8", "16"])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns(pattern, bits):
    colour = {"r": 200, "g": 100, "b": 30}
    mosaic = np.tile([[colour[c] for c in pattern[:2]], [colour[c] for c in pattern[2:]]], (4, 5))
    mosaic = mosaic.astype(np.uint8) if bits == "8" else mosaic.astype(np.uint16) * 257
    rgb = to_rgb(message(mosaic, f"bayer_{pattern}{bits}", pad=6))
    assert np.array_equal(rgb, np.broadcast_to(np.array((200, 100, 30), np.uint8), (8, 10, 3)))


def yuv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Full planes y, u, v in video range (ITU-R BT.601), as cameras send them."""
    r, g, b = (rgb[..., index].astype(float) for index in range(3))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    return tuple(np.clip(np.rint(plane), 0, 255).astype(np.uint8) for plane in (y, u, v))


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
def test_yuv_422(encoding):
    y, u, v = yuv(RGB)
    chroma = np.where(np.arange(8) % 2 == 0, u, v)
    samples = np.stack([y, chroma] if "y2" in encoding or encoding == "yuyv" else [chroma, y], axis=-1)
    assert np.abs(to_rgb(message(samples, encoding, pad=4)).astype(int) - RGB).max() <= 4


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_yuv_420(encoding):
    y, u, v = yuv(RGB)
    pairs = (u, v) if encoding == "nv12" else (v, u)
    chroma = np.stack([plane[::2, ::2] for plane in pairs], axis=-1).reshape(3, 8)
    found = to_rgb(message(np.vstack([y, chroma]), encoding, height=6))
    assert found.shape == RGB.shape and np.abs(found.astype(int) - RGB).max() <= 4


def test_a_step_left_at_zero_means_no_padding():
    image = message(RGB, "rgb8")
    image.step = 0
    assert np.array_equal(to_rgb(image), RGB)


def test_the_result_is_contiguous_uint8_for_every_encoding():
    for encoding in IMAGE_ENCODINGS:
        data = SimpleNamespace(
            encoding=encoding, height=4, width=4, step=64, is_bigendian=0, data=bytes(64 * 6)
        )
        rgb = to_rgb(data)
        assert rgb.shape == (4, 4, 3) and rgb.dtype == np.uint8 and rgb.flags.c_contiguous, encoding


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"encoding": "32FC1"}, "'32FC1' is not supported, expected one of rgb8"),
        ({"encoding": ""}, "'' is not supported"),
        ({"width": 0}, "0x6"),
        ({"height": 0}, "8x0"),
        ({"step": 23}, "step is 23, expected at least 24"),
        ({"data": b"123"}, "3 bytes of image data, expected 144"),
        ({"height": 2**32 - 1}, "144 bytes"),
        ({"encoding": "yuyv", "width": 7}, "7x6"),
        ({"encoding": "nv12", "height": 5}, "8x5"),
    ],
)
def test_bad_images_are_refused_with_the_value(change, reason):
    image = message(RGB, "rgb8")
    for name, value in change.items():
        setattr(image, name, value)
    with pytest.raises(ImageError, match=reason.replace("(", r"\(")):
        to_rgb(image)


def test_masks_keep_their_values():
    values = np.arange(48, dtype=np.uint16).reshape(6, 8) * 300
    assert np.array_equal(to_mask(message(values, "mono16", pad=4, big=True)), values)
    assert np.array_equal(to_mask(message(values.astype(np.uint8), "mono8", pad=1)), values.astype(np.uint8))


@pytest.mark.parametrize(("encoding", "reason"), [("rgb8", "'rgb8'"), ("32FC1", "'32FC1'")])
def test_masks_of_other_encodings_are_refused(encoding, reason):
    with pytest.raises(MaskError, match=reason):
        to_mask(message(RGB, encoding))


def test_filling_and_reading_an_image_gives_it_back():
    for pixels, encoding in ((RGB, "rgb8"), (RGB[..., 0].astype(np.uint16) * 300, "mono16")):
        filled = fill_image(SimpleNamespace(), pixels[:, 1:7], encoding, "header")
        assert (filled.header, filled.width, filled.height) == ("header", 6, 6)
        assert filled.step == 6 * (pixels[0, 0].nbytes) and len(filled.data) == 6 * filled.step
        read = to_rgb(filled) if encoding == "rgb8" else to_mask(filled)
        assert np.array_equal(read, pixels[:, 1:7])


def test_jpeg_there_and_back():
    smooth = cv2.resize(RGB, (64, 48), interpolation=cv2.INTER_LINEAR)
    found = compressed_to_rgb(fill_jpeg(SimpleNamespace(), smooth, 98, "header"))
    assert found.shape == smooth.shape and np.abs(found.astype(int) - smooth).mean() < 4


@pytest.mark.parametrize("shape", [(1, 65_501, 3), (65_501, 1, 3)])
def test_what_is_too_long_for_a_jpeg_is_refused_without_a_word_of_opencvs(shape, capfd):
    with pytest.raises(ImageError, match=r"65501.* pixels is no JPEG: expected at most 65500 a side"):
        fill_jpeg(SimpleNamespace(), np.zeros(shape, np.uint8), 80, "header")
    assert capfd.readouterr() == ("", "")


def test_rotation_notes_in_a_jpeg_do_not_turn_the_pixels():
    data = cv2.imencode(".jpg", RGB[..., ::-1])[1].tobytes()
    # An APP1 segment with one EXIF entry: orientation 6, a quarter turn.
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    turned = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (8, 6, 3), "EXIF is read"
    assert compressed_to_rgb(SimpleNamespace(format="jpeg", data=turned)).shape == RGB.shape


def test_a_jpeg_that_was_cut_is_refused_and_one_with_padding_is_not():
    smooth = cv2.resize(RGB, (64, 48), interpolation=cv2.INTER_LINEAR)
    jpeg = cv2.imencode(".jpg", smooth)[1].tobytes()
    for padding in (b"", b"own data of the camera", bytes(10000)):
        assert compressed_to_rgb(SimpleNamespace(format="jpeg", data=jpeg + padding)).shape == smooth.shape
    with pytest.raises(TornImageError, match="no end"):
        compressed_to_rgb(SimpleNamespace(format="jpeg", data=jpeg[: len(jpeg) // 2]))


def test_raw_images_without_all_bytes_are_told_from_wrong_ones():
    image = message(RGB, "rgb8")
    image.data = image.data[:100]
    with pytest.raises(TornImageError, match="100 bytes of image data, expected 144"):
        to_rgb(image)


def test_an_unknown_encoding_is_given_to_cv_bridge_where_there_is_one(monkeypatch):
    class CvBridge:  # a stand-in: what matters is who is asked, and that its refusal is passed on
        def imgmsg_to_cv2(self, image, encoding):
            if image.encoding == "no colour":
                raise RuntimeError("not a color format")
            return RGB[:, ::-1]

    monkeypatch.setitem(sys.modules, "cv_bridge", SimpleNamespace(CvBridge=CvBridge))
    assert np.array_equal(to_rgb(message(RGB, "rgb32")), RGB[:, ::-1])
    assert np.array_equal(to_rgb(message(RGB, "rgb8")), RGB), "known ones never get there"
    with pytest.raises(ImageError, match=r"'no colour' is not supported.*not a color format"):
        to_rgb(message(RGB, "no colour"))


@pytest.mark.parametrize(
    "encoding", [name for name in IMAGE_ENCODINGS if name not in ("8UC1", "8UC3", "8UC4", "16UC1")]
)
def test_cv_bridge_gives_the_same_pixels(encoding):
    # Type names without colour are left out: cv_bridge refuses to make colour images of them.
    pytest.importorskip("cv_bridge", reason="cv_bridge is not installed here (a robot has it)")
    msgs = pytest.importorskip("sensor_msgs.msg", reason="ROS 2 is not installed here")
    samples = np.random.default_rng(3).integers(0, 256, (64 * 6,), np.uint8)
    image = msgs.Image(encoding=encoding, height=4, width=4, data=samples)
    channels_there = {"rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4, "yuv422": 2, "yuyv": 2, "uyvy": 2}
    count = next((n for name, n in reversed(channels_there.items()) if encoding.startswith(name)), 1)
    image.step = 4 * count * (2 if encoding.endswith("16") else 1)
    from cv_bridge import CvBridge

    try:
        theirs = CvBridge().imgmsg_to_cv2(image, "rgb8")
    except Exception as error:
        pytest.skip(f"cv_bridge does not know {encoding}: {error}")
    assert np.array_equal(to_rgb(image), theirs)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0 cut"])
def test_undecodable_pictures_are_refused(data):
    with pytest.raises(ImageError, match="jpeg"):
        compressed_to_rgb(SimpleNamespace(format="jpeg", data=data))


# ---- what the format of a compressed image says


def mosaic_of(pattern: str, bits: str) -> np.ndarray:
    colour = {"r": 200, "g": 100, "b": 30}
    mosaic = np.tile([[colour[c] for c in pattern[:2]], [colour[c] for c in pattern[2:]]], (8, 8))
    return mosaic.astype(np.uint8) if bits == "8" else mosaic.astype(np.uint16) * 257


def compressed(pixels: np.ndarray, form: str, ending: str = ".png") -> SimpleNamespace:
    return SimpleNamespace(format=form, data=cv2.imencode(ending, pixels)[1].tobytes())


@pytest.mark.parametrize("bits", ["8", "16"])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("form", ["{}; png compressed ", "{}; png compressed {}", "{}", "{};png", "{}; PNG"])
def test_a_mosaic_that_was_compressed_is_demosaiced(pattern, bits, form):
    encoding = f"bayer_{pattern}{bits}"
    found = compressed_to_rgb(compressed(mosaic_of(pattern, bits), form.format(encoding, encoding)))
    assert np.array_equal(found, np.broadcast_to(np.array((200, 100, 30), np.uint8), (16, 16, 3)))


def test_a_mosaic_in_a_jpeg_and_one_that_was_demosaiced_before():
    jpeg = compressed_to_rgb(compressed(mosaic_of("rggb", "8"), "bayer_rggb8; jpeg compressed ", ".jpg"))
    assert np.abs(jpeg[4:12, 4:12].astype(int) - (200, 100, 30)).max() < 40
    whole = compressed(RGB[..., ::-1], "bayer_rggb8; png compressed bgr8")
    assert np.array_equal(compressed_to_rgb(whole), RGB)


@pytest.mark.parametrize(
    ("pixels", "form", "reason"),
    [
        (RGB, "bayer_rggb8; png compressed ", "3 channels of uint8, expected a mosaic"),
        (np.zeros((6, 8, 4), np.uint8), "bayer_gbrg16; png compressed ", "4 channels of uint8"),
        (RGB[..., 0], "bayer_rccb8; png compressed ", "'bayer_rccb8; png.*expected one of bayer_rggb8"),
        (RGB[..., 0], "bayer_rggb12; png compressed ", "'bayer_rggb12; png.*expected one of bayer_rggb8"),
    ],
)
def test_what_is_no_mosaic_is_refused(pixels, form, reason):
    with pytest.raises(ImageError, match=reason):
        compressed_to_rgb(compressed(pixels, form))


@pytest.mark.parametrize("form", ["jpeg", "JPG", "rgb8; jpeg compressed bgr8", "bgr8; png compressed", ""])
def test_other_formats_are_as_the_data_says(form):
    assert np.array_equal(compressed_to_rgb(compressed(RGB[..., ::-1], form)), RGB)


@pytest.mark.parametrize("data", [b"\0\0\0\1gB\0\x1f", b"\0\0\0\x0cjP  \r\n", b"FLIF44", b"(\xb5\x2f\xfd"])
def test_unknown_formats_are_refused_by_name(data):
    reason = r"'h264'\) could not be decoded: it (is JPEG 2000|begins with [0-9a-f ]+), expected PNG, JPEG"
    with pytest.raises(ImageError, match=reason):
        compressed_to_rgb(SimpleNamespace(format="h264", data=data))


def test_foreign_texts_are_clipped_and_shown_plainly():
    image = message(RGB, "rgb8\n" * 100_000)
    for call in (to_rgb, to_mask, depth_samples):
        with pytest.raises((ImageError, MaskError)) as refused:
            call(image)
        assert len(str(refused.value)) < 600 and "\n" not in str(refused.value)
    with pytest.raises(ImageError) as refused:
        compressed_to_rgb(SimpleNamespace(format="\x1b" * 100_000, data=b"x"))
    assert len(str(refused.value)) < 600 and "\x1b" not in str(refused.value)


# ---- JPEGs at a part of their size


@pytest.mark.parametrize(
    ("whole", "least", "part"),
    [
        ((1080, 1920), (288, 480), 2),
        ((1080, 1920), (270, 480), 4),
        ((1080, 1920), (1, 1), 8),
        ((720, 1280), (288, 480), 2),
        ((480, 640), (288, 480), 1),
        ((1079, 1920), (288, 480), 1),
        ((1080, 1918), (100, 100), 2),
        ((1080, 1920), None, 1),
    ],
)
def test_a_jpeg_is_decoded_to_the_least_even_part_that_is_large_enough(whole, least, part):
    ground = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    smooth = cv2.resize(ground, whole[::-1], interpolation=cv2.INTER_CUBIC)
    jpeg = fill_jpeg(SimpleNamespace(), smooth, 95, "header")
    pixels, size = reduced_to_rgb(jpeg, least)
    assert size == whole and pixels.shape == (whole[0] // part, whole[1] // part, 3)
    wanted = cv2.resize(compressed_to_rgb(jpeg), pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(pixels.astype(int) - wanted).mean() < 2  # the mean of the pixels it stands for, in place


def test_other_pictures_than_jpegs_are_decoded_whole():
    picture = cv2.resize(RGB, (64, 48))
    png = compressed(picture[..., ::-1], "png")
    assert np.array_equal(reduced_to_rgb(png, (6, 8))[0], picture)
    mosaic = compressed(mosaic_of("rggb", "8"), "bayer_rggb8; jpeg compressed ", ".jpg")
    assert np.array_equal(reduced_to_rgb(mosaic, (1, 1))[0], compressed_to_rgb(mosaic))


def test_what_is_refused_whole_is_refused_in_part(monkeypatch):
    jpeg = cv2.imencode(".jpg", cv2.resize(RGB, (64, 48)))[1].tobytes()
    with pytest.raises(TornImageError, match="no end"):
        reduced_to_rgb(SimpleNamespace(format="jpeg", data=jpeg[: len(jpeg) // 2]), (6, 8))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(LimitError, match="64x48 pixels"):
        reduced_to_rgb(SimpleNamespace(format="jpeg", data=jpeg), (6, 8), 64 * 48 - 1)


# ---- sizes that a sender states


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_picture_is_refused_before_it_is_decoded(name, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(LimitError, match=r"states \d+x\d+ pixels"):
        compressed_to_rgb(SimpleNamespace(format="jpeg", data=HUGE[name]))


def test_raw_images_masks_and_depth_have_the_same_limit():
    small = message(RGB, "rgb8")
    assert to_rgb(small, 48).shape == RGB.shape
    grey, depth = message(RGB[..., 0], "mono8"), message(RGB[..., 0].astype(np.uint16), "16UC1")
    for call, image in ((to_rgb, small), (to_mask, grey), (depth_samples, depth)):
        with pytest.raises(LimitError, match="8x6"):
            call(image, 47)


# ---- masks of one object


def test_a_mask_of_eight_bits_holds_one_object():
    for value in (1, 128, 255):
        values = np.zeros((6, 8), np.uint8)
        values[2:4, 3:6] = value
        assert np.array_equal(one_object(values), values > 0)
    assert not one_object(np.zeros((6, 8), np.uint8)).any()


@pytest.mark.parametrize("values", [np.arange(48).reshape(6, 8), np.eye(6) + 2 * np.eye(6)[::-1]])
def test_a_mask_whose_pixels_could_mean_anything_is_refused(values):
    with pytest.raises(MaskError, match=r"holds \d+ values besides 0, expected one: threshold"):
        one_object(values.astype(np.uint8))
