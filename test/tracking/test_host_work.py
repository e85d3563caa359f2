"""The work beside the network: cheaper ways that give what the plain ways give."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from uniref_model.runtime import load_runtime
from uniref_model.runtime.files import WEIGHTS
from uniref_model.tracking import Tracker, frame_fit
from uniref_model.tracking.aggregate import _BELOW_ONE, MIN_CLAIM, Aggregator, Claim
from uniref_model.tracking.contours import _grown, _shrunk
from uniref_model.tracking.frame_fit import FrameGeometry

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
        labels, shares = merger.merge(claims, geometry, whole)
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
    labels, (share,) = Aggregator().merge([Claim(1, mask)], geometry)
    assert not labels.any() and share.box is None


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_labels_shrink_as_each_of_their_masks_does(frame):
    rng = np.random.default_rng(1)
    labels = cv2.resize(rng.integers(0, 4, (30, 40)).astype(np.uint16), frame[::-1], interpolation=0)
    for resize in ("stretch", "shortest_edge"):
        geometry = FrameGeometry.fit(frame, MODEL, resize)
        small, floor = geometry.labels_to_model(labels), geometry.labels_to_model_floor(labels)
        for slot in range(1, 4):
            assert np.array_equal(small == slot, geometry.mask_to_model(labels == slot))
            assert np.array_equal(floor == slot, geometry.mask_to_model_floor(labels == slot))


@pytest.mark.parametrize("reach", [2, 3, 5, 12, 17, 30])
def test_rectangles_grow_and_shrink_as_the_disc_does(reach):
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    noise = cv2.GaussianBlur(np.random.default_rng(reach).normal(0, 1, (96, 160)), (0, 0), 7)
    mask = (noise > 0).astype(np.uint8)
    assert np.array_equal(_grown(mask, reach), cv2.dilate(mask, disc))
    assert np.array_equal(_shrunk(mask, reach), cv2.erode(mask, disc, borderType=cv2.BORDER_REPLICATE))


def test_the_authors_frames_are_shrunk_in_one_step():
    image = np.random.default_rng(2).integers(0, 256, (1080, 1920, 3), np.uint8)
    geometry = FrameGeometry.fit(image.shape[:2], MODEL, "shortest_edge")
    wanted = cv2.resize(image, (geometry.width, geometry.height), interpolation=cv2.INTER_AREA)
    assert np.array_equal(geometry.image_to_model(image, (0, 0, 0))[geometry.inside], wanted)


@pytest.mark.skipif(
    not (WEIGHTS / "uniref_nano" / "model.json").is_file(), reason="the weights of uniref_nano are not there"
)
def test_halving_large_frames_changes_less_than_a_thousandth_of_the_pixels(monkeypatch, request):
    video = cv2.VideoCapture(str(request.config.rootpath / "media" / "box.mp4"))
    frames = [
        cv2.resize(video.read()[1], (1920, 1080), interpolation=cv2.INTER_CUBIC)[..., ::-1] for _ in range(8)
    ]
    labels = []
    with load_runtime("uniref_nano", "192x320", "onnxruntime", threads=1) as runtime:
        for halve_from in (frame_fit.HALVE_FROM, 1000):
            monkeypatch.setattr(frame_fit, "HALVE_FROM", halve_from)
            tracker = Tracker(runtime)
            tracker.add_text("the yellow box")
            labels.append(np.stack([tracker.step(frame).label_image for frame in frames]))
    assert 0 < np.mean(labels[0] != labels[1]) < 1e-3 and labels[0].any()
