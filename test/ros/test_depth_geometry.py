"""Positions of objects against scenes whose truth is known: under a centimetre at a metre."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from depth_scenes import CX, CY, FX, FY, SIZE, Ball, Block, sensed, view

from uniref_ros.space.surface import (
    DepthView,
    GeometryError,
    Intrinsics,
    contours,
    find_surface,
    surface_points,
)

CAMERA = Intrinsics(FX, FY, CX, CY, SIZE)
PLATE = Block((0.10, 0.05, 1.0), (0.20, 0.14, 0.002))
THINGS = {
    "plate": PLATE,
    "box": Block((-0.15, 0.2, 1.0), (0.16, 0.3, 0.12), turn=-0.6),
    "ball": Ball((0.2, 0.1, 1.0), 0.09),
    "far ball": Ball((-0.3, 0.1, 1.9), 0.15),
    "mug": Block((0.0, 0.1, 0.6), (0.07, 0.09, 0.07), turn=0.3),
    "table": Block((0.0, 0.3, 1.2), (0.8, 0.02, 1.4)),
}


def seen(depth: np.ndarray, image=SIZE) -> DepthView:
    return DepthView(depth.astype(np.float32), CAMERA.scaled(depth.shape).rays(), image)


def cropped(mask: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    box = cv2.boundingRect(mask.astype(np.uint8))
    x, y, width, height = box
    return mask[y : y + height, x : x + width].astype(np.uint8) * 255, box


def surface_of(depth: np.ndarray, mask: np.ndarray, **options):
    return find_surface(seen(depth, mask.shape), *cropped(mask), **options)


def blot(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask grown (or, below 0, shrunk) by so many pixels."""
    window = np.ones((2 * abs(pixels) + 1,) * 2, np.uint8)
    return (cv2.dilate if pixels > 0 else cv2.erode)(mask.astype(np.uint8), window) > 0


@pytest.mark.parametrize("name", THINGS)
def test_position_and_size_of_what_a_noisy_sensor_sees(name):
    scene = view([THINGS[name]])
    surface = surface_of(sensed(scene.depth), scene.owner == 0)
    centroid, extent = scene.truth(0)
    reach = max(1.0, centroid[2])
    assert np.abs(surface.centroid - centroid).max() < 0.01 * reach
    assert np.abs(surface.extent - extent)[:2].max() < 0.02 * reach
    assert abs(surface.extent - extent)[2] < max(0.04, 0.06 * extent[2]), "sides seen at a grazing angle"
    assert np.all(surface.low < surface.centroid) and np.all(surface.centroid < surface.high)
    assert 0.6 < surface.count * surface.step**2 / (scene.owner == 0).sum() <= 1


def test_a_plates_centre_is_its_centre():
    """The one truth that needs no ray-casting."""
    surface = surface_of(sensed(view([PLATE]).depth), view([PLATE]).owner == 0)
    assert np.abs(surface.centroid - (0.10, 0.05, 0.999)).max() < 0.002
    assert np.abs(surface.extent[:2] - PLATE.size[:2]).max() < 0.005


@pytest.mark.parametrize("name", ["plate", "box", "ball", "mug"])
@pytest.mark.parametrize("pixels", [6, -4], ids=["spills over", "too small"])
def test_a_rough_mask_moves_the_centroid_less_than_a_centimetre(name, pixels):
    scene = view([THINGS[name]])
    surface = surface_of(sensed(scene.depth), blot(scene.owner == 0, pixels))
    assert np.abs(surface.centroid - scene.truth(0)[0]).max() < 0.01


def test_a_third_of_the_mask_on_the_wall_does_not_move_the_centroid():
    scene = view([PLATE])
    mask = scene.owner == 0
    mask |= np.roll(mask, 35, axis=1)
    assert (mask & (scene.owner != 0)).sum() > 0.3 * (scene.owner == 0).sum()
    surface = surface_of(sensed(scene.depth), mask)
    assert np.abs(surface.centroid - scene.truth(0)[0]).max() < 0.003
    assert surface.extent[2] < 0.03


def test_something_in_front_does_not_pull_the_object_nearer():
    bar = Block((0.10, 0.05, 0.7), (0.02, 0.5, 0.02))
    scene = view([PLATE, bar])
    both = surface_of(sensed(scene.depth), view([PLATE]).owner == 0)
    assert abs(both.centroid[2] - 0.999) < 0.005 and both.extent[2] < 0.03


@pytest.mark.parametrize("size", [(240, 320), (120, 160), (960, 1280)])
def test_depth_of_another_size_gives_the_same_position(size):
    scene, image = view([THINGS["box"]], size), view([THINGS["box"]])
    surface = surface_of(sensed(scene.depth), image.owner == 0)
    centroid, extent = image.truth(0)
    assert np.abs(surface.centroid - centroid).max() < 0.01
    assert np.abs(surface.extent - extent)[:2].max() < 0.01 and abs(surface.extent - extent)[2] < 0.04
    assert surface.step == (1 if size[0] < 900 else 2)


def test_a_large_object_costs_no_more_pixels_than_allowed():
    scene = view([Block((0, 0, 1.0), (2.0, 1.5, 0.1))])
    fine = surface_of(sensed(scene.depth), scene.owner == 0, max_pixels=10**6)
    coarse = surface_of(sensed(scene.depth), scene.owner == 0)
    assert fine.step == 1 and coarse.step == 3 and coarse.count < fine.count / 8
    assert np.abs(fine.centroid - coarse.centroid).max() < 0.005
    assert np.abs(fine.extent - coarse.extent).max() < 0.01


@pytest.mark.parametrize(
    "spoil",
    [lambda d, m: d * 0, lambda d, m: np.where(m & (np.cumsum(m).reshape(m.shape) > 10), 0, d)],
    ids=["no depth", "ten pixels"],
)
def test_too_little_depth_is_no_position(spoil):
    scene = view([PLATE])
    mask = scene.owner == 0
    assert surface_of(spoil(scene.depth, mask), mask) is None


def test_points_are_those_of_the_centroid_and_lie_on_the_ball():
    ball = THINGS["ball"]
    scene = view([ball])
    depth = sensed(scene.depth, holes=0.2)
    mask = scene.owner == 0
    surface = surface_of(depth, mask)
    points = surface_points(seen(depth), surface)
    assert len(points) == surface.count
    assert np.abs(points.mean(0) - surface.centroid).max() < 1e-5
    off = np.abs(np.linalg.norm(points - np.array(ball.centre), axis=1) - ball.radius)
    assert np.percentile(off, 99) < 0.012 and off.max() < 0.05


def test_contours_run_round_the_object_in_space():
    scene = view([PLATE])
    depth = sensed(scene.depth)
    surface = surface_of(depth, scene.owner == 0)
    (line,) = contours(seen(depth), surface)
    assert np.abs(line[:, 2] - 0.999).max() < 0.02
    edge = np.abs(np.abs(line[:, :2] - (0.10, 0.05)) - np.array(PLATE.size[:2]) / 2).min(axis=1)
    assert np.median(edge) < 0.004
    assert np.abs(np.ptp(line[:, :2], axis=0) - PLATE.size[:2]).max() < 0.008


def test_the_depths_of_an_object_at_the_image_border_are_used():
    scene = view([Block((-0.6, 0, 1.0), (0.2, 0.2, 0.1))])
    mask = scene.owner == 0
    assert mask[:, 0].any()
    assert np.abs(surface_of(sensed(scene.depth), mask).centroid - scene.truth(0)[0]).max() < 0.01


# ---- cameras


def test_a_camera_at_another_size_sees_the_same_rays():
    half = CAMERA.scaled((240, 320)).rays()
    assert np.allclose(half, CAMERA.rays().reshape(240, 2, 320, 2, 2).mean((1, 3)), atol=1e-6)


def test_aspects_that_cannot_be_one_picture_are_refused_with_both_sizes():
    with pytest.raises(GeometryError, match=r"640x480.*848x480"):
        CAMERA.scaled((480, 848))
    with pytest.raises(GeometryError, match=r"640x360.*640x480"):
        DepthView(np.ones((360, 640), np.float32), CAMERA.scaled(SIZE).rays()[:360], SIZE)


@pytest.mark.parametrize(
    ("distortion", "fisheye"),
    [
        ((0.1, -0.2, 0.001, -0.002, 0.05), False),
        ((-0.3, 0.1, 0.0005, 0.0002, -0.01), False),
        ((0.4, 0.1, 0.0, 0.0, 0.02, 0.5, 0.2, 0.05), False),
        ((0.02, -0.01, 0.003, -0.001), True),
    ],
    ids=["plumb_bob", "barrel", "rational", "equidistant"],
)
def test_rays_of_a_distorted_image(distortion, fisheye):
    camera = Intrinsics(FX, FY, CX, CY, SIZE, distortion, fisheye)
    rays = camera.rays().astype(np.float64)
    assert np.isfinite(rays).mean() > 0.95
    places = [(20, 30), (240, 320), (400, 600)]
    matrix, zero = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]]), np.zeros(3)
    for row, column in places:
        ray = np.array([[[*rays[row, column], 1.0]]])
        if fisheye:
            pixel, _ = cv2.fisheye.projectPoints(ray, zero, zero, matrix, np.array(distortion))
        else:
            pixel, _ = cv2.projectPoints(ray, zero, zero, matrix, np.array(distortion))
        assert np.abs(pixel.reshape(2) - (column, row)).max() < 0.05


def test_rays_beyond_the_calibrated_field_are_unknown_instead_of_wrong():
    rays = Intrinsics(200.0, 200.0, CX, CY, SIZE, (-0.25, 0.0, 0, 0, 0)).rays()
    known = np.isfinite(rays[..., 0])
    assert known[240, 320] and not known[0, 0] and known.mean() > 0.2
