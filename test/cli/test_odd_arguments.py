"""Every argument that takes a file or folder, given something else: one line that says so, at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from evaluation_data import labels_at, make_davis, write_annotation, write_frame, write_json
from fake_runtime import FakeColourRuntime
from hostile_pictures import huge_png
from plain_sets import make_pack

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
    "deep": lambda path: path.write_text("[" * 100_000),
    "anchors": lambda path: path.write_text(
        "a: &a [x]\n" + "".join(f"{b}: &{b} [{(f'*{a},' * 9)[:-1]}]\n" for a, b in zip("abcdefg", "bcdefgh"))  # noqa: B905
    ),
    "picture": lambda path: path.write_bytes(huge_png()),
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "sparse": sparse,
}

WRITERS: dict[str, tuple[str, ...]] = {
    "eval folder": ("eval", "folder", "DATA/clip", "--out", "OUT"),
    "eval pack": ("eval", "pack", "DATA/pack", "--out", "OUT"),
    "eval benchmark": ("eval", "benchmark", "davis17", "DATA/davis", "--out", "OUT"),
    "eval known": ("eval", "known", "DATA/pack", "--out", "OUT/known.json"),
    "data import": ("data", "import", "DATA/pack/green", "OUT"),
    "data preview": ("data", "preview", "OUT/a.png", "--clips", "1"),
    "train": ("train", CLIPS, "--output", "OUT"),
    "export": ("export", "--model", "uniref_nano", "--out", "OUT"),
}


def taken(path: Path) -> str:
    """A file where a folder is wanted."""
    path.write_text("mine")
    return str(path)


PLACES: dict[str, Callable[[Path], str]] = {
    "a file": taken,
    "below a file": lambda path: f"{taken(path)}/below",
    "a device": lambda path: "/dev/full",
    "a long name": lambda path: str(path.with_name("x" * 300)),
    "no folder for it": lambda path: "/proc/nowhere",
}


ALWAYS = ("text", "folder", "pipe")
"""Tried in the fast suite too."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipes are not waited for as long as for a person, and no model is loaded."""
    monkeypatch.setattr(reading, "_PATIENCE", 0.05)
    monkeypatch.setattr("uniref_model.runtime.load_runtime", lambda *_, **__: FakeColourRuntime())


@pytest.mark.parametrize(
    "kinds", [pytest.param(ALWAYS, id="some"), pytest.param(tuple(ODD), id="all", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", COMMANDS)
def test_something_else_is_refused_in_a_line(name, kinds, quick, tmp_path, capfd):
    for kind in kinds:
        make, folder = ODD[kind], tmp_path / kind
        (folder / "out").mkdir(parents=True)
        suffix = next((Path(word).suffix for word in COMMANDS[name] if word.startswith("ODD.")), "")
        make(folder / f"odd{suffix}")
        words = [w.replace("ODD", str(folder / "odd")) for w in COMMANDS[name]]
        status = main([w.replace("OUT", str(folder / "out")) for w in words])
        said = capfd.readouterr().err.strip().splitlines()
        assert status == 1, (kind, said)
        assert said and said[-1].startswith("error: ") and len(said[-1]) < 900, (kind, said)


def make_clip(folder: Path) -> None:
    """Two frames of a block, with masks."""
    for index in range(2):
        labels = labels_at(index, (1,))
        write_frame(folder / "frames" / f"{index:05d}.jpg", labels)
        write_annotation(folder / "masks" / f"{index:05d}.png", labels)
    write_json(folder / "meta.json", {"objects": [{"id": 1, "expressions": ["the block"]}]})


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_clip(folder / "clip")
    make_pack(folder / "pack")
    make_davis(folder / "davis")
    return folder


@pytest.mark.parametrize("name", WRITERS)
def test_where_nothing_can_be_written_is_said_before_anything_is_computed(
    name, quick, data, tmp_path, capfd, monkeypatch
):
    monkeypatch.setattr(FakeColourRuntime, "encode_image", never)
    before = sorted(data.rglob("*"))
    for place, make in PLACES.items():
        (tmp_path / place).mkdir()
        out = make(tmp_path / place / "out")
        status = main([word.replace("DATA", str(data)).replace("OUT", out) for word in WRITERS[name]])
        said = capfd.readouterr().err.strip().splitlines()
        assert status == 1 and said[-1].startswith("error: ") and len(said[-1]) < 900, (place, said)
        mine = tmp_path / place / "out"
        assert not mine.exists() or mine.read_text() == "mine"
    assert sorted(data.rglob("*")) == before


def never(*_: object) -> None:
    raise AssertionError("something was computed")


def test_the_model_that_is_there_stays_when_an_export_fails(tmp_path, capfd, monkeypatch):
    pytest.importorskip("onnxscript", reason="torch's exporter needs onnxscript")
    from uniref_model.errors import ModelFileError
    from uniref_model.export import onnx

    def half(network: object, folder: Path, *_: object) -> None:
        (folder / "model.json").write_text("half")
        raise ModelFileError("in the middle")

    monkeypatch.setattr(onnx, "export_model", half)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.json").write_text("whole")
    assert main(["export", "--model", "uniref_nano", "--out", str(tmp_path / "out")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "model.json").read_text() == "whole"


@pytest.mark.parametrize(
    "words",
    [
        ("data", "preview", "a.png", "--seed", "-1"),
        ("train", "a.yaml", "--output", "out", "--processes", "100000"),
        ("train", "a.yaml", "--output", "out", "--workers", "100000"),
        ("label", "a.yaml", "--workers", "100000"),
        ("track", "a.mp4", "--mask-threshold", "nan"),
        ("eval", "pack", "a", "--view-threshold", "nan"),
    ],
    ids=" ".join,
)
def test_a_number_out_of_range_is_a_wrong_command_line(words, capfd):
    assert main(list(words)) == 2
    assert "Invalid value" in capfd.readouterr().err
