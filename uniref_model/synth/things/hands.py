"""Hands and arms that hold an object, and the person behind: drawn, and never part of the object's mask."""

from __future__ import annotations

import cv2
import numpy as np


def skin(rng: np.random.Generator) -> np.ndarray:
    """A skin colour, RGB 0..255, from light to dark."""
    light, dark = np.float32([238, 200, 175]), np.float32([92, 60, 42])
    mix = rng.uniform(0, 1) ** 1.4
    return light * (1 - mix) + dark * mix + rng.normal(0, 6, 3).astype(np.float32)


def _round_limb(canvas: np.ndarray, points: np.ndarray, widths: np.ndarray, colour: np.ndarray) -> None:
    """Draw a limb along points [n,2] with widths [n], shaded as a cylinder, into an RGBA canvas, in place."""
    mask = np.zeros(canvas.shape[:2], np.uint8)
    for a, b, wa, wb in zip(points[:-1], points[1:], widths[:-1], widths[1:], strict=True):
        for t in np.linspace(0, 1, max(2, int(np.hypot(*(b - a)) / 3))):
            p = a + (b - a) * t
            cv2.circle(
                mask,
                (round(float(p[0]) * 8), round(float(p[1]) * 8)),
                max(8, round(float(wa + (wb - wa) * t) * 4)),
                255,
                -1,
                cv2.LINE_AA,
                3,
            )
    x, y, w, h = cv2.boundingRect(mask)
    if w == 0:
        return
    part = mask[y : y + h, x : x + w]
    depth = cv2.distanceTransform((np.pad(part, 1) > 127).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    shade = 0.7 + 0.35 * np.sqrt(np.clip(depth / max(float(widths.max()) / 2, 1), 0, 1))
    alpha = (part / np.float32(255))[..., None]
    roi = canvas[y : y + h, x : x + w]
    roi[..., :3] = np.clip(colour * shade[..., None], 0, 255) * alpha + roi[..., :3] * (1 - alpha)
    roi[..., 3] = np.maximum(roi[..., 3], part)


def draw_hand(
    rng: np.random.Generator, tone: np.ndarray, sleeve: np.ndarray | None, size: int = 128
) -> np.ndarray:
    """A hand and arm reaching in from the left, the finger tips near (1.6 * size, size / 2).

    tone, sleeve: RGB 0..255 (no sleeve: a bare arm). Returns RGBA uint8 [size, 2 * size, 4].
    """
    whole = np.zeros((size, 2 * size, 4), np.uint8)
    mid = size / 2
    wrist = np.array([0.75 * size, mid])
    arm_width = rng.uniform(0.3, 0.42) * size
    _round_limb(
        whole,
        np.array([[-20.0, mid + rng.uniform(-0.1, 0.1) * size], wrist]),
        np.array([arm_width * 1.25, arm_width]),
        tone,
    )
    if sleeve is not None:
        end = rng.uniform(0.25, 0.62) * size
        _round_limb(
            whole, np.array([[-20.0, mid], [end, mid]]), np.array([arm_width * 1.6, arm_width * 1.4]), sleeve
        )
    palm = np.array([wrist, [1.1 * size, mid]])
    _round_limb(
        whole,
        palm,
        np.array([arm_width * 1.1, rng.uniform(0.5, 0.62) * size]),
        tone * rng.uniform(0.94, 1.02),
    )
    spread = rng.uniform(0.12, 0.17)
    thick = rng.uniform(0.1, 0.14) * size
    for finger in range(4):
        offset = (finger - 1.5) * spread * size
        length = rng.uniform(0.4, 0.6) * size * (1 - 0.1 * abs(finger - 1.3))
        knuckle = np.array([1.12 * size, mid + offset])
        bend = rng.uniform(-0.06, 0.06) * size
        tip = knuckle + np.array([length, offset * 0.25 + bend])
        middle = (knuckle + tip) / 2 + np.array([0, rng.uniform(-0.04, 0.04) * size])
        joints = np.array([knuckle - [0.15 * size, 0], knuckle, middle, tip])
        widths = thick * np.array([1.1, 1.15, 1.0, 0.8])
        _round_limb(whole, joints, widths, tone * rng.uniform(0.93, 1.05))
    thumb = np.array(
        [
            [0.95 * size, mid - 0.2 * size],
            [1.15 * size, mid - 0.38 * size],
            [1.42 * size, mid - rng.uniform(0.3, 0.42) * size],
        ]
    )
    _round_limb(
        whole, thumb, np.array([thick * 1.3, thick * 1.25, thick * 0.9]), tone * rng.uniform(0.95, 1.06)
    )
    return whole


def _shaded(mask: np.ndarray, colour: np.ndarray, depth: float) -> np.ndarray:
    """A filled outline uint8 [h,w] as RGBA, darker towards its rim over `depth` pixels."""
    inner = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3)
    shade = 0.7 + 0.35 * np.sqrt(np.clip(inner / depth, 0, 1))
    return np.dstack([np.clip(colour * shade[..., None], 0, 255), mask]).astype(np.uint8)


def _over(back: np.ndarray, front: np.ndarray) -> None:
    """Lay one RGBA picture on another of the same size, in place."""
    alpha = front[..., 3:] / np.float32(255)
    back[..., :3] = front[..., :3] * alpha + back[..., :3] * (1 - alpha)
    back[..., 3] = np.maximum(back[..., 3], front[..., 3])


def draw_person(rng: np.random.Generator, tone: np.ndarray, shirt: np.ndarray, size: int = 160) -> np.ndarray:
    """Head, shoulders and trunk of somebody facing the camera. RGBA uint8 [size, size, 4]."""
    person = np.zeros((size, size, 4), np.uint8)
    mid = size / 2 + rng.uniform(-6, 6)
    wide, top = rng.uniform(0.3, 0.46) * size, rng.uniform(0.42, 0.5) * size
    neck_wide, shoulder = 0.12 * size, top + 0.13 * size
    half = [[neck_wide, top - 8], [wide, shoulder], [wide * 1.05, size]]
    outline = np.array([[mid + x, y] for x, y in half] + [[mid - x, y] for x, y in reversed(half)])
    trunk = cv2.fillPoly(
        np.zeros((size, size), np.uint8), [np.round(outline).astype(np.int32)], 255, cv2.LINE_AA
    )
    trunk = cv2.GaussianBlur(trunk, (0, 0), 5)
    trunk = np.clip((trunk.astype(np.float32) - 96) * 4, 0, 255).astype(np.uint8)
    cloth = _shaded(trunk, shirt, 0.25 * size)
    if rng.random() < 0.4:
        pitch = int(rng.integers(6, 20))
        cloth[::pitch, :, :3] //= 2
        cloth[1::pitch, :, :3] //= 2
    _over(person, cloth)
    head_y, head_x = top - 0.16 * size, mid + rng.uniform(-5, 5)
    neck = cv2.ellipse(
        np.zeros((size, size), np.uint8),
        (int(mid), int(top - 2)),
        (int(0.07 * size), int(0.1 * size)),
        0,
        0,
        360,
        255,
        -1,
    )
    _over(person, _shaded(neck, tone * 0.85, 0.1 * size))
    axes = (int(rng.uniform(0.105, 0.13) * size), int(rng.uniform(0.145, 0.175) * size))
    hair = cv2.ellipse(
        np.zeros_like(neck),
        (int(head_x), int(head_y - 4)),
        (axes[0] + 4, axes[1] + 3),
        0,
        180,
        360,
        255,
        -1,
        cv2.LINE_AA,
    )
    face = cv2.ellipse(np.zeros_like(neck), (int(head_x), int(head_y)), axes, 0, 0, 360, 255, -1, cv2.LINE_AA)
    _over(person, _shaded(face, tone, 0.12 * size))
    face_line = int(head_y - axes[1] * 0.45)
    hair[face_line:] = 0
    _over(
        person,
        _shaded(
            hair,
            np.float32(rng.choice([[35, 25, 20], [95, 65, 40], [190, 160, 100], [150, 150, 150]])),
            0.1 * size,
        ),
    )
    dark = tuple(float(c) for c in tone * 0.3)
    for side in (-1, 1):
        cv2.ellipse(
            person,
            (int(head_x + side * 0.045 * size), int(head_y)),
            (3, 2),
            0,
            0,
            360,
            (*dark, 255.0),
            -1,
            cv2.LINE_AA,
        )
    cv2.ellipse(
        person, (int(head_x), int(head_y + 0.08 * size)), (6, 2), 0, 0, 180, (*dark, 255.0), 1, cv2.LINE_AA
    )
    return person
