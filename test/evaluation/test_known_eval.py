"""`uniref eval known` and `uniref bench --known`, on the double that sees colours."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from fake_runtime import FakeColourRuntime, rectangle, scene

pytest.importorskip("scipy", reason="the laboratory is not installed")

from uniref_model.datasets.plain import read_pack
from uniref_model.evaluation.known import run_known

PLACES = [(32, 32, 40, 32), (152, 72, 40, 32), (80, 40, 48, 40), (20, 70, 40, 40)]


@pytest.fixture
def pack(tmp_path):
    """Four pictures each of a red cup and of a blue ball."""
    folder = tmp_path / "things"
    rows = []
    for sub in ("images", "masks"):
        (folder / sub).mkdir(parents=True)
    for name, colour in (("cup", "red"), ("ball", "blue")):
        for index, box in enumerate(PLACES):
            image, mask = f"images/{name}{index}.png", f"masks/{name}{index}.png"
            cv2.imwrite(str(folder / image), scene((colour, box))[..., ::-1])
            cv2.imwrite(str(folder / mask), rectangle(box).astype(np.uint8))
            rows.append(
                {"file": image, "mask": mask, "value": 1, "name": name, "names": [name], "masks_by": "people",
                 "group": name, "split": "val"}
            )  # fmt: skip
    (folder / "index.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def test_views_are_right_where_the_thing_is_and_silent_where_another_one_is(pack):
    result = run_known(FakeColourRuntime(), read_pack(pack, split="val"))
    assert list(result) == [
        "words alone",
        "1 view and its name",
        "1 view and an unknown name",
        "3 views and its name",
        "3 views and an unknown name",
    ]
    assert result["words alone"]["right"] == 0.0, "to the double neither cup nor ball means a colour"
    for way in list(result)[1:]:
        row = result[way]
        assert (row["asked"], row["right"], row["wrong"]) == (8, 1.0, 0.0)
        assert (row["not there"], row["answered"]) == (8, 0.0)


def test_the_benchmark_counts_rows_and_says_how_flat_it_is():
    pytest.importorskip("torch", reason="the laboratory is not installed")
    from uniref_model.profiling.known import run

    runtime = FakeColourRuntime(size=(32, 56))
    found = run(runtime, 120, (64, 112))
    assert (found["known"], found["views"], found["followed"]) == (10, 8, 3)
    assert found["rows"]["views, looked for"] == 4.0, "three things, and the spare row of a batch of four"
    assert found["rows"]["words, looked for"] == 3.0
    assert found["frames"] == 120 and found["flatness"]["frames_at_each_end"] == 12
    assert runtime.segment.__name__ == "segment", "nothing of the counting stays"
