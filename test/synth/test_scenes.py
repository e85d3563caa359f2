"""Training clips of photographs of things where they were."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from fake_runtime import overlap

from uniref_model.synth.compose import ClipGenerator
from uniref_model.synth.config import ClipConfig
from uniref_model.synth.packs import gcompris
from uniref_model.synth.packs.sprites import PackWriter, SpritePack


def scene_pack() -> SpritePack:
    """A red ball on a mottled ground, as a photograph of a thing where it was."""
    rng = np.random.default_rng(0)
    photo = cv2.GaussianBlur(rng.integers(0, 90, (240, 360, 3), np.uint8), (0, 0), 5)
    mask = np.zeros((240, 360), np.uint8)
    cv2.circle(mask, (150, 130), 60, 1, -1)
    photo[mask > 0] = (210, 20, 30)
    writer = PackWriter()
    writer.add_scene(photo, mask > 0, "ball", "gcompris/a ball", "gcompris")
    return writer.pack()


def test_a_scene_is_one_named_thing_in_all_frames(tmp_path: Path) -> None:
    pack = scene_pack()
    writer = PackWriter()
    writer.add_scene(np.zeros((9, 9, 3), np.uint8), np.eye(9, dtype=bool), "cube", "gcompris/c", "gcompris")
    writer.save(tmp_path / "pack.npz")
    loaded = SpritePack.load(tmp_path / "pack.npz")
    assert [scene["noun"] for scene in loaded.scenes] == ["cube"]
    assert np.array_equal(loaded.picture(0)[..., 3] == 255, np.eye(9, dtype=bool)), "masks are kept exactly"
    generator = ClipGenerator(pack, ClipConfig(scene_share=1.0), seed=1)
    said = set()
    for index in range(6):
        clip = generator.clip(index)
        assert clip.images.shape == (3, 192, 320, 3) and set(np.unique(clip.labels)) == {0, 1}
        for image, label in zip(clip.images, clip.labels, strict=True):
            red = (image[..., 0] > 90) & (image[..., 0] > 2.0 * image[..., 1])
            assert overlap(red, label == 1) > 0.85
        assert overlap(clip.labels[1] == 1, clip.labels[2] == 1) > 0.5, "a hand-held camera's drift"
        said |= {expression.text for expression in clip.expressions[0]}
        assert not {"ball", "the ball", "the red ball"} & set(clip.absent)
    assert {"ball", "the ball", "a ball"} & said and any("red" in text for text in said)


def test_scenes_do_not_change_the_clips_of_those_who_ask_for_none() -> None:
    with_scenes, without = scene_pack(), SpritePack.empty()
    clips = [ClipGenerator(pack, ClipConfig(), seed=3).clip(0) for pack in (with_scenes, without)]
    assert np.array_equal(clips[0].images, clips[1].images)


def test_a_thing_in_a_box_is_grabbed() -> None:
    picture = scene_pack().picture(0)
    mask = gcompris.grab(np.ascontiguousarray(picture[..., :3]), (0.2, 0.2, 0.65, 0.85))
    assert overlap(mask, picture[..., 3] == 255) > 0.9


def test_every_scene_has_a_box_inside_its_picture() -> None:
    for name, (noun, left, top, right, bottom) in gcompris.SCENES.items():
        assert noun and 0 <= left < right <= 1 and 0 <= top < bottom <= 1, name
