"""What is installed: robots and `pip install .` get no laboratory, a checkout with `pip install -e` has
it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from test_layers import LABORATORY, ROOMS

ROOT = Path(__file__).resolve().parent.parent
ROBOT = {room for room in ROOMS if room and room not in LABORATORY}


def python(code: str, folder: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


def command(arguments: str, folder: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """`uniref` with these arguments, the package taken from `path` alone."""
    return python(
        f"from uniref_model.cli import main; raise SystemExit(main({arguments.split()!r}))", folder, path
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A checkout in which nothing was built."""
    folder = tmp_path_factory.mktemp("packages") / "checkout"
    left = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "test", "media", "demo_output")
    return shutil.copytree(ROOT, folder, ignore=left, symlinks=True)


@pytest.fixture(scope="module")
def wheels(checkout) -> dict[str, Path]:
    """What the wheel and the editable wheel hold, unpacked."""
    folder, made = checkout.parent, {}
    for kind in ("wheel", "editable"):
        (folder / kind).mkdir()
        code = f"import setuptools.build_meta as build; build.build_{kind}({str(folder / kind)!r})"
        done = python(code, checkout)
        assert done.returncode == 0, done.stderr[-2000:]
        (wheel,) = (folder / kind).glob("*.whl")
        made[kind] = folder / f"{kind}_unpacked"
        zipfile.ZipFile(wheel).extractall(made[kind])
    return made


def rooms(package: Path) -> set[str]:
    """The rooms that an installed uniref_model has: packages with a module in them, and files."""
    return {
        path.relative_to(package).parts[0].removesuffix(".py")
        for path in package.rglob("*.py")
        if path != package / "__init__.py"
    }


def test_the_wheel_holds_the_robots_rooms_and_what_they_read(wheels):
    package = wheels["wheel"] / "uniref_model"
    inside = {name for name in ROBOT if (ROOT / "uniref_model" / name).is_dir()}
    inside |= {path.stem for path in (ROOT / "uniref_model").glob("*.py") if path.stem != "__init__"}
    assert rooms(package) == inside
    assert (package / "py.typed").is_file()
    assert (package / "weights" / "uniref_nano" / "model.json").is_file()
    assert (package / "config" / "models" / "uniref_nano.yaml").is_file()


def test_what_pip_installs_tracks_measures_and_says_how_it_stands(wheels, tmp_path):
    installed, video = wheels["wheel"], ROOT / "media" / "box.mp4"
    done = command(f"track {video} --prompt box --max-frames 2 --json out.json", tmp_path, installed)
    assert done.returncode == 0 and (tmp_path / "out.json").is_file(), done.stderr
    done = command("bench --objects 1 --frames 2 --size 192x320", tmp_path, installed)
    assert done.returncode == 0, done.stderr
    done = command("doctor", tmp_path, installed)
    assert done.returncode == 0 and re.search(r"the laboratory\W+not installed", done.stdout), done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        f"train {ROOT}/config/training/nano.yaml --output run --pack pack.npz",
        "export --model uniref_nano --out folder",
        "eval list",
        "eval generated --pack pack.npz",
        "data build",
        "bench --list-savings",
    ],
)
def test_a_command_of_the_laboratory_says_with_what_to_install_it(wheels, tmp_path, arguments):
    done = command(arguments, tmp_path, wheels["wheel"])
    assert done.returncode == 1, done.stdout + done.stderr
    assert "uniref_model." in done.stderr and "pip install -e '.[train]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_editable_install_has_the_laboratory(wheels, tmp_path):
    names = ", ".join(f"uniref_model.{room}" for room in sorted(LABORATORY))
    code = f"import site; site.addsitedir({str(wheels['editable'])!r}); import {names}"
    done = python(f"{code}; from uniref_model.cli import main; main(['eval', 'list'])", tmp_path)
    assert done.returncode == 0 and "davis17" in done.stdout, done.stderr


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_colcon_installs_no_laboratory(checkout, tmp_path):
    rule = re.search(
        r"^install\(DIRECTORY uniref_model/.*?\)$", (checkout / "CMakeLists.txt").read_text(), re.M | re.S
    )
    lines = (
        "cmake_minimum_required(VERSION 3.16)",
        "project(rule NONE)",
        "set(PYTHON_INSTALL_DIR lib)",
        rule[0],
    )
    (tmp_path / "CMakeLists.txt").write_text("\n".join(lines))
    shutil.copytree(checkout / "uniref_model", tmp_path / "uniref_model")
    for step in (["-S", ".", "-B", "build"], ["--install", "build", "--prefix", str(tmp_path / "robot")]):
        subprocess.run(["cmake", *step], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    package = tmp_path / "robot" / "lib" / "uniref_model"
    assert rooms(package) == rooms(ROOT / "uniref_model") - LABORATORY
    assert (package / "weights" / "uniref_nano" / "model.json").is_file()
    assert not [path for path in package.rglob("*") if path.is_dir() and not any(path.iterdir())]


def test_the_licence_is_said_once_and_no_file_has_a_header_of_its_own():
    mark = "SPDX-" + "License-Identifier"
    folders = "uniref_model", "uniref_ros", "benchmarks", "examples", "launch", "scripts", "test"
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 200 and not [path for path in files if mark in path.read_text(encoding="utf-8")]
