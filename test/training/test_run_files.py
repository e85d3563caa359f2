"""What a stopped run leaves: a log that was cut short, a note that is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from odd_values import changed

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("accelerate", reason="checkpoints are accelerate's")

from uniref_model.errors import ModelFileError
from uniref_model.training import checkpoints
from uniref_model.training.log import RunLog, read_log

ROWS = [{"step": 20, "loss": 1.5}, {"step": 40, "loss": float("nan")}, {"step": 60, "loss": 1.0}]


@pytest.mark.parametrize("end", ['{"step": 80, "lo', "\0\0\0\0", "[1]", '{"step": "x"}', "[" * 100_000, ""])
def test_a_log_that_was_cut_short_is_gone_on_with(end: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS) + end)
    RunLog(tmp_path, key="step", step=40, total=1, done=0, unit="min").close()
    assert [row["step"] for row in read_log(tmp_path / "log.jsonl")] == [20, 40]


def test_a_note_with_odd_values_is_an_error_that_names_it(tmp_path: Path) -> None:
    refused = 0
    for notes in changed({"step": 3, "seconds": 7.5}):
        (tmp_path / "run.json").write_text(json.dumps(notes))
        try:
            checkpoints.reached(tmp_path)
        except ModelFileError as error:
            assert "run.json" in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 30
