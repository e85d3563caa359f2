"""The work beside the network: cheaper ways that give what the plain ways give."""

from __future__ import annotations

import multiprocessing

import cv2
import numpy as np
import pytest
from fake_runtime import labels_of

from uniref_model.tracking.aggregate import _BELOW_ONE, MIN_CLAIM, Aggregator, Claim
from uniref_model.tracking.contours import _grown_and_shrunk
from uniref_model.tracking.frame_fit import FrameGeometry
from uniref_model.tracking.shrinking import shrink
from uniref_model.tracking.types import TrackedFrame, TrackedObject, TrackState

FRAMES = [(480, 640), (1080, 1920), (333, 517), (100, 640), (1079, 1919)]
MODEL = (192, 320)


def plainly(claims: list[Claim], geometry: FrameGeometry, whole: bool) -> np.ndarray:
    """The labels by the formula alone, every claim on the whole frame."""
    best, background = np.zeros(geometry.frame, np.float32), np.ones(geometry.frame, np.float32)
    labels = np.zeros(geometry.frame, np.uint16)
    for claim in sorted(claims, key=lambda claim: claim.slot):
        if claim.exact:
            values = claim.mask.astype(np.float32)
        else:
            values = geometry.probability_to_frame(claim.mask)
            if not whole:
                rows, columns = np.nonzero(claim.mask > MIN_CLAIM)
                seen = np.zeros(geometry.frame, bool)
                if len(rows):
                    spans = (slice(int(one.min()), int(one.max()) + 1) for one in (rows, columns))
                    seen[geometry.region_to_frame(*spans)] = True
                values = np.where(seen, np.minimum(values, _BELOW_ONE), 0)
        labels[values > best] = claim.slot
        best = np.maximum(best, values)
        background *= 1 - values
    labels[best <= background] = 0
    return labels


def claims_of(rng: np.random.Generator, count: int, frame: tuple[int, int]) -> list[Claim]:
    """Blobs anywhere, one in another's way or not; a person drew the third. Last slot first."""
    rows, columns = np.mgrid[: MODEL[0], : MODEL[1]]
    claims = []
    for slot in range(count, 0, -1):
        y, x, radius = rng.integers(0, MODEL[0]), rng.integers(0, MODEL[1]), rng.integers(4, 60)
        noise = cv2.resize(rng.normal(0, 1, (9, 14)).astype(np.float32), MODEL[::-1])
        odds = 8 * (1 - np.hypot(rows - y, columns - x) / radius) + noise
        mask = (1 / (1 + np.exp(-odds))).astype(np.float32)
        if slot == 3:
            mask = np.zeros(frame, bool)
            mask[frame[0] // 4 : frame[0] // 2, frame[1] // 5 : frame[1] // 2] = True
        claims.append(Claim(slot, mask, exact=slot == 3))
    return claims


@pytest.mark.parametrize("frame", FRAMES, ids=str)
@pytest.mark.parametrize("resize", ["stretch", "shortest_edge"])
def test_merging_where_objects_are_gives_the_labels_of_the_whole_frame(frame, resize):
    geometry, rng, merger = FrameGeometry.fit(frame, MODEL, resize), np.random.default_rng(0), Aggregator()
    for count, whole in ((1, False), (1, True), (2, False), (4, True), (8, False), (8, True)):
        claims = claims_of(rng, count, frame)
        shares = merger.merge(claims, geometry, whole)
        labels = labels_of(claims, shares, frame)
        assert np.array_equal(labels, plainly(claims, geometry, whole))
        for claim, share in zip(claims, shares, strict=True):
            won = labels == claim.slot
            assert share.area == won.sum()
            if share.box is not None:
                x, y, width, height = share.box
                assert share.box == cv2.boundingRect(won.astype(np.uint8))
                assert np.array_equal(share.mask, won[y : y + height, x : x + width] * np.uint8(255))


def test_a_claim_in_the_border_alone_wins_nothing():
    geometry = FrameGeometry.fit((100, 640), MODEL)
    mask = np.zeros(MODEL, np.float32)
    mask[:2] = 1
    assert geometry.top > 8
    (share,) = Aggregator().merge([Claim(1, mask)], geometry)
    assert share.box is None and share.area == 0


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_what_an_object_got_shrinks_as_its_mask_does(frame):
    rng = np.random.default_rng(1)
    labels = cv2.resize(rng.integers(0, 4, (30, 40)).astype(np.uint16), frame[::-1], interpolation=0)
    labels[5, 5:7] = 4  # too thin for the nearest pixel
    for resize in ("stretch", "shortest_edge"):
        geometry = FrameGeometry.fit(frame, MODEL, resize)
        for slot in range(1, 5):
            mask = labels == slot
            x, y, width, height = box = cv2.boundingRect(mask.astype(np.uint8))
            part = mask[y : y + height, x : x + width] * np.uint8(255)
            assert np.array_equal(geometry.part_to_model(part, box), geometry.mask_to_model(mask))
            assert np.array_equal(geometry.part_to_model_floor(part, box), geometry.mask_to_model_floor(mask))


@pytest.mark.parametrize("reach", [2, 3, 5, 12, 17, 30])
def test_rectangles_grow_and_shrink_as_the_disc_does(reach):
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    noise = cv2.GaussianBlur(np.random.default_rng(reach).normal(0, 1, (96, 160)), (0, 0), 7)
    mask = (noise > 0).astype(np.uint8)
    grown, shrunk = _grown_and_shrunk(mask, reach)
    assert np.array_equal(grown, cv2.dilate(mask, disc))
    assert np.array_equal(shrunk, cv2.erode(mask, disc, borderType=cv2.BORDER_REPLICATE))


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize("frame", [*FRAMES, (720, 1280), (1440, 2560), (1200, 1920), (2160, 3840)], ids=str)
def test_frames_are_shrunk_to_the_pixel_as_in_one_go_by_any_number_of_threads(frame, threads, monkeypatch):
    monkeypatch.setattr(cv2, "getNumThreads", lambda: threads)
    noise = np.random.default_rng(2).integers(0, 256, (*frame, 3), np.uint8)
    for size in ((192, 320), (256, 448), (480, 864)):
        if size[0] <= frame[0] and size[1] <= frame[1]:
            wanted = cv2.resize(noise, size[::-1], interpolation=cv2.INTER_AREA)
            assert np.array_equal(shrink(noise, size), wanted)
            assert np.array_equal(shrink(noise[..., ::-1], size), wanted[..., ::-1])


def test_frames_of_a_video_are_shrunk_to_the_pixel_as_in_one_go(request):
    video = cv2.VideoCapture(str(request.config.rootpath / "media" / "box.mp4"))
    for _ in range(4):
        frame = cv2.resize(video.read()[1], (1920, 1080), interpolation=cv2.INTER_CUBIC)
        geometry = FrameGeometry.fit(frame.shape[:2], MODEL)
        wanted = cv2.resize(frame, (geometry.width, geometry.height), interpolation=cv2.INTER_AREA)
        assert np.array_equal(geometry.image_to_model(frame, (0, 0, 0))[geometry.inside], wanted)


def test_a_process_that_was_forked_shrinks_with_threads_of_its_own():
    frame = np.random.default_rng(3).integers(0, 256, (1080, 1920, 3), np.uint8)
    wanted = shrink(frame, MODEL)  # has threads now
    parent, child = multiprocessing.get_context("fork").Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=lambda: child.send(np.array_equal(shrink(frame, MODEL), wanted)), daemon=True
    )
    process.start()
    assert parent.poll(30) and parent.recv()
    process.join(30)


def test_the_label_image_is_made_of_the_objects_masks_when_it_is_asked_for():
    mask = np.array([[255, 0], [255, 255]], np.uint8)
    objects = (
        TrackedObject("a", 300, "", "", TrackState.TRACKED, box=(1, 2, 2, 2), mask=mask),
        TrackedObject("b", 2, "", "", TrackState.TRACKED, box=(2, 2, 1, 1), mask=mask[:1, :1]),
        TrackedObject("c", 3, "", "", TrackState.LOST),
    )
    frame = TrackedFrame(0, (5, 4), objects)
    labels = frame.label_image
    assert labels.dtype == np.uint16 and labels[2:4].tolist() == [[0, 300, 2, 0], [0, 300, 300, 0]]
    assert labels.sum() == 902 and frame.label_image is labels
