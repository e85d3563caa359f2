"""Recordings for `uniref label`, its results as bytes, and the processes that make them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import yaml
from fake_runtime import scene

LABELLER = Path(__file__).parent / "labels" / "labeller.py"


def make_clips(folder: Path, count: int, frames: int = 12) -> Path:
    """Folders clip00, clip01 … of pictures in which a red box moves; in every third it is away a while."""
    for clip in range(count):
        (folder / f"clip{clip:02d}").mkdir(parents=True)
        for index in range(frames):
            there = clip % 3 or not frames // 3 <= index < 2 * frames // 3
            red = [("red", (20 + 5 * index + clip, 30 + clip, 40, 40))] if there else []
            picture = scene(*red, ("blue", (150, 70, 40, 30)))
            cv2.imwrite(str(folder / f"clip{clip:02d}" / f"{index:05d}.png"), picture[..., ::-1])
    return folder


def write_job(path: Path, **settings: object) -> Path:
    """A job's file."""
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def contents(out: Path) -> dict[str, str]:
    """Every file of a job's results by its path, as a hash; times, which differ, left out."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in ("timing.json", ".lock")
    }


def start(job: Path, *options: str) -> subprocess.Popen[str]:
    """The labeller on a job, with the double."""
    command = [sys.executable, str(LABELLER), str(job), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def children(pid: int) -> list[int]:
    """Processes that a process started and that are still there."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
