"""Every argument that takes a file or folder, given something else: one line that says so, at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_runtime import FakeColourRuntime
from hostile_pictures import huge_png

from uniref_model import reading
from uniref_model.cli import main

ROOT = Path(__file__).resolve().parents[2]
for package in ("torch", "safetensors", "pycocotools", "PIL"):
    pytest.importorskip(package, reason=f"the laboratory needs {package}")

CLIPS = str(ROOT / "config" / "training" / "nano.yaml")
STAGE = str(ROOT / "config" / "training" / "stage1_vg.yaml")
COMMANDS: dict[str, tuple[str, ...]] = {
    "eval folder": ("eval", "folder", "ODD", "--out", "OUT"),
    "eval suite": ("eval", "suite", "--media", "ODD", "--out", "OUT"),
    "eval generated --pack": ("eval", "generated", "--pack", "ODD", "--out", "OUT"),
    "eval generated --data": ("eval", "generated", "--data", "ODD", "--out", "OUT"),
    "eval pack": ("eval", "pack", "ODD", "--out", "OUT"),
    "eval fewshot": ("eval", "fewshot", "ODD", "--out", "OUT"),
    "eval fewshot --classes": ("eval", "fewshot", "OUT", "--classes", "ODD", "--out", "OUT"),
    "eval benchmark": ("eval", "benchmark", "davis17", "ODD", "--out", "OUT"),
    "eval benchmark, a preset": ("eval", "benchmark", "ODD.yaml", "OUT", "--out", "OUT"),
    "eval known": ("eval", "known", "ODD", "--out", "OUT/a.json"),
    "data import": ("data", "import", "ODD", "OUT/set"),
    "data preview --pack": ("data", "preview", "OUT/a.png", "--pack", "ODD"),
    "data preview --config": ("data", "preview", "OUT/a.png", "--config", "ODD"),
    "data preview --stills": ("data", "preview", "OUT/a.png", "--stills", "ODD"),
    "train": ("train", "ODD", "--output", "OUT"),
    "train --data": ("train", CLIPS, "--output", "OUT", "--data", "ODD"),
    "train --pack": ("train", CLIPS, "--output", "OUT", "--pack", "ODD"),
    "train --stills": ("train", CLIPS, "--output", "OUT", "--stills", "ODD"),
    "train --init": ("train", CLIPS, "--output", "OUT", "--init", "ODD"),
    "train --resume": ("train", CLIPS, "--output", "OUT", "--resume", "ODD"),
    "train, a stage, --data": ("train", STAGE, "--output", "OUT", "--data", "ODD"),
    "export": ("export", "ODD", "--out", "OUT"),
    "export --model": ("export", "--model", "ODD.safetensors", "--out", "OUT"),
    "convert": ("convert", "ODD", "--model", "uniref_r50", "-o", "OUT/a.safetensors"),
    "renew": ("renew", "ODD"),
    "track": ("track", "ODD", "--prompt", "red"),
    "track --mask": ("track", str(ROOT / "media" / "box.mp4"), "--mask", "ODD"),
    "teach": ("teach", "it", "ODD", "--click", "1,1", "--known", "OUT/known"),
    "label": ("label", "ODD"),
    "info": ("info", "ODD"),
}


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(20 << 30)


ODD: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.touch(),
    "text": lambda path: path.write_text("hello, I am text\n"),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "deep": lambda path: path.write_text("[" * 1_000_000),
    "anchors": lambda path: path.write_text(
        "a: &a [x]\n" + "".join(f"{b}: &{b} [{(f'*{a},' * 9)[:-1]}]\n" for a, b in zip("abcdefg", "bcdefgh"))  # noqa: B905
    ),
    "picture": lambda path: path.write_bytes(huge_png()),
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "sparse": sparse,
}
TAKEN = {("eval benchmark", "folder"), ("data preview --pack", "")}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipes are not waited for as long as for a person, and no model is loaded."""
    monkeypatch.setattr(reading, "_PATIENCE", 0.05)
    monkeypatch.setattr("uniref_model.runtime.load_runtime", lambda *_, **__: FakeColourRuntime())


@pytest.mark.parametrize("name", COMMANDS)
def test_something_else_is_refused_in_a_line(name, quick, tmp_path, capfd):
    for kind, make in ODD.items():
        folder = tmp_path / kind
        (folder / "out").mkdir(parents=True)
        suffix = next((Path(word).suffix for word in COMMANDS[name] if word.startswith("ODD.")), "")
        make(folder / f"odd{suffix}")
        words = [w.replace("ODD", str(folder / "odd")) for w in COMMANDS[name]]
        began = time.monotonic()
        status = main([w.replace("OUT", str(folder / "out")) for w in words])
        said = capfd.readouterr().err.strip().splitlines()
        assert status == 1, (kind, said)
        assert said and said[-1].startswith("error: ") and len(said[-1]) < 900, (kind, said)
        assert time.monotonic() - began < 20, kind  # not a matter of speed: nothing is read for ever
