"""Builds the stand-in message packages of `standins/` once, and gives the environment in which they are
found."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Path(__file__).parent / "standins"
NAMES = ("tf2_msgs", "vision_msgs")


def environment() -> dict[str, str] | str:
    """Variables to add for a process that needs vision_msgs and tf2_msgs, or why there are none."""
    if all(importlib.util.find_spec(name) for name in NAMES):
        return {}
    if shutil.which("colcon") is None:
        return "vision_msgs and tf2_msgs are not installed, and there is no colcon to build stand-ins"
    target = ROOT / ".ros" / "standins" / _digest()
    if not (target / "done").exists():
        _build(target)
    script = target / "install" / "local_setup.sh"
    shown = subprocess.run(
        ["bash", "-c", f". '{script}' && env -0"], capture_output=True, text=True, check=True
    ).stdout
    after = dict(line.split("=", 1) for line in shown.split("\0") if "=" in line)
    return {name: value for name, value in after.items() if os.environ.get(name) != value}


def _digest() -> str:
    total = hashlib.sha256(sys.version.encode())
    for path in sorted(SOURCES.rglob("*")):
        if path.is_file():
            total.update(path.read_bytes())
    return total.hexdigest()[:16]


def _build(target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    wheels = os.environ.get("VIRTUAL_ENV")
    more = {}
    if wheels:  # ROS from wheels, see ros_env/README.md
        more = {"CMAKE_TOOLCHAIN_FILE": str(ROOT / "ros_env" / "pip_ros.cmake"), "CMAKE_GENERATOR": "Ninja"}
    done = subprocess.run(
        ["colcon", "--log-base", "log", "build", "--base-paths", str(SOURCES)],
        cwd=target,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (target / "done").touch()
