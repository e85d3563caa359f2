"""What a reader must know of the machine: hardware, versions, and whether others were using it."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uniref_model.profiling.figures import cpu_name, versions

PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "openvino",
    "torch",
    "timm",
    "ros-rclpy",
    "ros-fastdds",
    "stcnbuf",
    "rf-cutie",
    "deaotpy",
)
BUSY = 0.25
"""Share of the CPU time used by other programs above which absolute numbers are not to be trusted."""


def describe(device: str = "cpu") -> dict[str, Any]:
    """CPU, memory, system, versions; the GPU where one is used."""
    facts: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": versions(PACKAGES),
        "commit": commit(),
    }
    if device == "cuda":
        import torch

        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def commit() -> str:
    """Short hash of the working tree's commit, "+" when files are changed; "" outside git."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        answer = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
        )
        return answer.stdout.strip() if answer.returncode == 0 else ""

    head = git("rev-parse", "--short", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results")
    return head + ("+" if head and changed else "")


class Watch:
    """Measures how much CPU time other programs used between entering and leaving."""

    def __enter__(self) -> Watch:
        self.load_before = round(os.getloadavg()[0], 2)
        self._start = (time.monotonic(), _busy_seconds(), _own_seconds())
        return self

    def __exit__(self, *_: object) -> None:
        then, busy, own = self._start
        self.seconds = time.monotonic() - then
        others = (_busy_seconds() - busy) - (_own_seconds() - own)
        self.others = max(0.0, others / max(self.seconds * (os.cpu_count() or 1), 1e-9))

    def report(self) -> dict[str, Any]:
        """Seconds taken, load before, share of the machine's CPU time that others used."""
        return {
            "seconds": round(self.seconds, 1),
            "load_before": self.load_before,
            "cpu_share_of_others": round(self.others, 3),
            "quiet": self.others <= BUSY,
        }


def measured(watch: Watch) -> dict[str, Any]:
    """When and on what a part of a result was measured, and how quiet the machine was: for a result that is
    put together of several runs."""
    return {"date": time.strftime("%Y-%m-%d"), "machine": describe(), **watch.report()}


def measured_then(result: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a whole result as it was written."""
    return {"date": result["date"], "machine": result["machine"], **result["run"]}


def remarks(parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a reader has to know of parts by name that may be of several runs, each as `measured`."""
    found = []
    commits = dict.fromkeys(part["machine"]["commit"] for part in parts.values())
    if len(commits) > 1:
        found.append(f"Measured in several runs, at commits {', '.join(commits)}: each part says when.")
    busy = [name for name, part in parts.items() if not part["quiet"]]
    if busy:
        found.append(f"Other programs were running: {'; '.join(busy)}.")
    return found


def _busy_seconds() -> float:
    """CPU seconds used on this machine since it started: user, nice, system, irq, softirq, steal."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return _own_seconds()
    ticks = [int(value) for value in fields]
    return sum(ticks[i] for i in (0, 1, 2, 5, 6, 7) if i < len(ticks)) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)
