"""Pictures of data sets are read with the same care as any: what they state is checked first, and no pipe is
waited for."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest
from hostile_pictures import huge_jpeg, huge_png

from uniref_model.datasets import pngs
from uniref_model.datasets.errors import DatasetError
from uniref_model.evaluation.clips import load_clip
from uniref_model.evaluation.suite import load_pictures, run_suite

READERS = [pngs.read_image, pngs.read_palette, pngs.image_size, pngs.read_labels]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("bomb", [huge_jpeg(), huge_png()], ids=["JPEG", "PNG"])
def test_a_stated_size_is_refused_before_it_costs_anything(read, bomb, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(bomb)
    with pytest.raises(DatasetError):
        read(path)


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_picture_is_an_error_of_the_data(read, tmp_path):
    good = cv2.imencode(".png", np.zeros((40, 40), np.uint8))[1].tobytes()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    damaged = {"empty": b"", "text": b"hello", "cut": good[:45], "noise": good[:30] + bytes(99)}
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
    for path in [*tmp_path.iterdir(), tmp_path / "nothing"]:
        if read is pngs.image_size and path.name == "cut":
            assert read(path) == (40, 40)  # its header is whole, and nothing else is asked for
            continue
        with pytest.raises(DatasetError):
            read(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[]", '{"video": 1}', "\0", ""])
def test_a_suite_whose_description_is_none_is_an_error_that_names_it(text, tmp_path):
    clip = tmp_path / "eval" / "box"
    clip.mkdir(parents=True)
    (clip / "meta.json").write_text(text)
    with pytest.raises(DatasetError, match=r"meta\.json"):
        run_suite(None, tmp_path, tmp_path / "out", [])
    with pytest.raises(DatasetError, match=r"meta\.json"):
        load_clip(clip, tmp_path / "box.mp4")
    (tmp_path / "pictures.json").write_text(text)
    with pytest.raises(DatasetError, match=r"pictures\.json"):
        load_pictures(tmp_path, lambda entry: None)
