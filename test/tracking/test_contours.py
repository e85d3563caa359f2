"""Contours that follow colour: on drawn pictures of known truth, and in the tracker."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from fake_runtime import FakeColourRuntime

from uniref_model.evaluation.metrics import score_mask
from uniref_model.tracking import Tracker, TrackerConfig
from uniref_model.tracking.contours import follow_colour

SIZE = (96, 160)


def scene(rng: np.random.Generator, same: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A noisy yellow square on grey (or, `same`, on yellow), and its mask."""
    image = np.full((*SIZE, 3), (200, 180, 40) if same else (120, 120, 130), np.float32)
    truth = np.zeros(SIZE, bool)
    truth[28:68, 60:104] = True
    image[truth] = (200, 180, 40)
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8), truth


def blob(truth: np.ndarray, height: float = 4.0) -> np.ndarray:
    """Round logits where a network that cannot see corners would put them."""
    soft = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 11)
    return ((soft - 0.35) * 2 * height).astype(np.float32)


def test_a_round_mask_gets_the_corners_of_its_object() -> None:
    image, truth = scene(np.random.default_rng(0))
    before, after = blob(truth), follow_colour(image, blob(truth))
    assert score_mask(before > 0, truth).f < 0.75
    found = score_mask(after > 0, truth)
    assert found.j > 0.93 and found.f > 0.95


def test_nothing_to_tell_apart_leaves_the_networks_answer() -> None:
    image, truth = scene(np.random.default_rng(1), same=True)
    before = blob(truth)
    assert score_mask(follow_colour(image, before) > 0, before > 0).j > 0.93


def test_only_the_band_changes_and_the_input_does_not() -> None:
    image, truth = scene(np.random.default_rng(2))
    before = blob(truth)
    kept = before.copy()
    after = follow_colour(image, before)
    assert np.array_equal(before, kept)
    changed = after != before
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (21, 21))
    inside = (before > 0).astype(np.uint8)
    band = cv2.dilate(inside, reach) > cv2.erode(inside, reach)
    assert changed.any() and not (changed & ~band).any()


@pytest.mark.parametrize("logits", [np.full(SIZE, -5.0), np.full(SIZE, 5.0)], ids=["empty", "everything"])
def test_a_mask_without_inside_or_outside_comes_back(logits: np.ndarray) -> None:
    image, _ = scene(np.random.default_rng(3))
    logits = logits.astype(np.float32)
    assert follow_colour(image, logits) is logits


def test_a_speck_and_an_object_at_the_border_do_no_harm() -> None:
    image, _ = scene(np.random.default_rng(4))
    for rows, columns in (
        (slice(0, 2), slice(0, 3)),
        (slice(0, 96), slice(0, 40)),
        (slice(90, 96), slice(150, 160)),
    ):
        logits = np.full(SIZE, -4.0, np.float32)
        logits[rows, columns] = 4.0
        assert np.isfinite(follow_colour(image, logits)).all()


def test_the_option_is_checked_and_the_models_choice_is_taken() -> None:
    with pytest.raises(ValueError, match="contours"):
        TrackerConfig(contours="sharp")
    assert Tracker(FakeColourRuntime()).config.contours == "network"
    assert Tracker(FakeColourRuntime(), TrackerConfig(contours="colour")).config.contours == "colour"
