"""The model that ships, through the tracker and the command line: real weights, real graphs, made-up frames.

How well it segments real video is measured by `uniref eval`; here only what must hold for any weights worth
shipping.
"""

from __future__ import annotations

import itertools
import json

import cv2
import numpy as np
import pytest
from fake_runtime import overlap

from uniref_model.cli import main
from uniref_model.runtime import load_runtime
from uniref_model.runtime.files import WEIGHTS
from uniref_model.runtime.memory import resident_mb
from uniref_model.tracking import Tracker, TrackerConfig

pytestmark = pytest.mark.skipif(
    not (WEIGHTS / "uniref_nano" / "model.json").is_file(), reason="the weights of uniref_nano are not there"
)

SIZE = (240, 420)
CUP, BOOK = (40, 60, 90, 110), (270, 90, 90, 90)


def picture(shift: int = 0) -> np.ndarray:
    """A table with a red thing that moves right and a blue one at rest, soft noise over it."""
    generator = np.random.default_rng(shift)
    image = np.full((*SIZE, 3), (150, 140, 120), np.uint8)
    image[:70] = (90, 100, 110)
    for (x, y, width, height), colour in ((shifted(shift), (200, 30, 40)), (BOOK, (40, 60, 190))):
        image[y : y + height, x : x + width] = colour
        cv2.line(image, (x + 8, y + 12), (x + width - 8, y + 12), (240, 240, 240), 3)
    noisy = image + generator.normal(0, 4, image.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def shifted(shift: int) -> tuple[int, int, int, int]:
    return (CUP[0] + shift, *CUP[1:])


def mask_of(box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = True
    return mask


@pytest.fixture(scope="module")
def runtime():
    with load_runtime("uniref_nano", "192x320", "onnxruntime", threads=1) as loaded:
        yield loaded


def test_two_masks_are_followed_apart(runtime):
    tracker = Tracker(runtime)
    moving, still = tracker.add_mask(mask_of(CUP)), tracker.add_mask(mask_of(BOOK))
    for step in range(12):
        frame = tracker.step(picture(4 * step))
    slots = {item.id: item.slot for item in frame.objects}
    assert overlap(frame.label_image == slots[moving], mask_of(shifted(44))) > 0.4
    assert overlap(frame.label_image == slots[still], mask_of(BOOK)) > 0.4


def test_the_object_that_left_is_not_drawn_on(runtime):
    tracker = Tracker(runtime)
    name = tracker.add_mask(mask_of(CUP))
    for _ in range(3):
        tracker.step(picture())
    empty = picture()
    empty[60:170, 40:130] = empty[200:201, 10:11]
    areas = [tracker.step(empty).object(name).area for _ in range(6)]
    assert areas[-1] < 0.5 * mask_of(CUP).sum()


def test_memory_stays_flat_over_many_frames(runtime):
    tracker = Tracker(runtime, TrackerConfig(mask_threshold=0.0, language_threshold=0.0))
    tracker.add_mask(mask_of(CUP))
    tracker.add_text("the blue book")
    frames = [picture(0), picture(4)]

    def run(count: int) -> float:
        for index in range(count):
            tracker.step(frames[index % 2])
        return resident_mb()

    levels = [run(30) for _ in range(4)]
    grown = [after - before for before, after in itertools.pairwise(levels)]
    # 30 frames kept would be 9 MB of pictures alone, every time; what other tests left may grow once.
    assert min(grown) < 3.0, grown


def test_the_command_line_with_real_weights(tmp_path, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.png"), picture(4 * index)[..., ::-1])
    cv2.imwrite(str(tmp_path / "first.png"), mask_of(CUP) * np.uint8(255))
    arguments = ["track", str(folder), "--mask", str(tmp_path / "first.png"), "--prompt", "the blue book"]
    outputs = ["--json", str(tmp_path / "a.json"), "--masks", str(tmp_path / "masks"), "--threads", "1"]
    assert main([*arguments, *outputs, "--size", "192x320", "--runtime", "onnxruntime"]) == 0
    frames = json.loads((tmp_path / "a.json").read_text())["frames"]
    assert [item["id"] for item in frames[2]["objects"]] == ["1", "2"]
    assert len(list((tmp_path / "masks").iterdir())) == 3
    assert "uniref_nano 192x320 on onnxruntime" in capsys.readouterr().out


def test_info_and_doctor_know_the_model(capsys):
    assert main(["info", "uniref_nano"]) == 0
    assert "whole" in capsys.readouterr().out
    assert main(["doctor"]) == 0
    assert "uniref_nano" in capsys.readouterr().out
