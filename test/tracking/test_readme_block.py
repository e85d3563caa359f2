"""The README's block in Python is run as it stands, over the first pictures of its video."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import pytest

from uniref_model import video

ROOT = Path(__file__).resolve().parents[2]
PICTURES = 6


def test_the_readmes_block_follows_the_box(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.S | re.M)
    assert len(blocks) == 1
    monkeypatch.chdir(ROOT)
    real = video.open_source
    monkeypatch.setattr(video, "open_source", lambda source: islice(real(source), PICTURES))
    names: dict = {}
    exec(compile(blocks[0], "README.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == PICTURES
    assert " tracked " in lines[-1]
    assert names["mask"].shape == names["picture"].image.shape[:2]
    assert names["mask"].any()
