"""The demos end their processes, whatever asks them to end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

ROOT = Path(__file__).resolve().parents[2]
DEMOS = ["uniref_ros.demo.demo", "uniref_ros.console.demo"]


def children(process: subprocess.Popen) -> list[int]:
    """Ids of its children that have not ended."""
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
    return [int(number) for number in text.split()]


def runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("request_to_end", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("demo", DEMOS)
def test_a_demo_that_is_asked_to_end_leaves_nobody_behind(tmp_path, demo, request_to_end):
    if "console" in demo:
        pytest.importorskip("starlette", reason="starlette is not installed")
    command = [sys.executable, "-m", demo, "--video", str(ROOT / "media" / "box.mp4"), "--out", str(tmp_path)]
    with (tmp_path / "demo.txt").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
    started: list[int] = []
    try:
        deadline = time.monotonic() + 60
        while len(started) < (3 if "console" in demo else 1):
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "demo.txt").read_text()
            started = children(process)
            time.sleep(0.1)
        time.sleep(0.5)
        process.send_signal(request_to_end)
        process.wait(30)
        left = [pid for pid in started if runs(pid)]
        assert not left and "Traceback" not in (tmp_path / "demo.txt").read_text()
        assert "stopped" in (tmp_path / "demo.txt").read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):  # all of its group have ended
            os.killpg(process.pid, signal.SIGKILL)
