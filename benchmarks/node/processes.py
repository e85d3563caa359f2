"""Child processes: the tracker node, the camera, and a supervisor that does what launch's respawn does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .camera import CameraPlan

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "ros_env" / "fastdds_shm.xml"
_PROFILE_NAMES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def environment(profile: bool = True) -> dict[str, str]:
    """Of the children; with the shipped Fast DDS profile or without any."""
    values = {name: value for name, value in os.environ.items() if name not in _PROFILE_NAMES}
    if profile:  # by the name that this distribution reads: Kilted warns of the older one
        names = [name for name in _PROFILE_NAMES if name in os.environ] or _PROFILE_NAMES[:1]
        values |= dict.fromkeys(names, str(PROFILE))
    return values


def tracker_command(**parameters: Any) -> list[str]:
    """The tracker node's command line with these parameters."""
    command = [sys.executable, "-m", "uniref_ros.tracker_node", "--ros-args"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={_yaml(value)}"]
    return command


def _yaml(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(json.dumps(item) for item in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


class Child:
    """A process with its output in a file. Used with `with`: ends with SIGINT."""

    def __init__(self, command: list[str], log: Path, profile: bool = True) -> None:
        self.log = log
        self._file = log.open("wb")
        self._process = subprocess.Popen(
            command, stdout=self._file, stderr=subprocess.STDOUT, env=environment(profile), cwd=ROOT
        )
        self.pid = self._process.pid
        self.started = time.monotonic()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def status(self) -> int | None:
        """Its exit status; negative: the signal that ended it. None while it runs."""
        return self._process.poll()

    def send(self, which: int) -> None:
        """Send a signal, if it still runs."""
        if self.running:
            self._process.send_signal(which)

    def wait(self) -> int:
        """Wait for its end."""
        return self._process.wait()

    def stop(self, patience: float = 10.0) -> int:
        """End it: SIGINT, after `patience` seconds SIGKILL. Returns the exit status."""
        self.send(signal.SIGINT)
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            self._file.close()

    def text(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def check(self) -> None:
        """Raise RuntimeError with the end of its output when it has ended."""
        if not self.running:
            tail = "\n".join(self.text().splitlines()[-15:])
            raise RuntimeError(f"{self.log.stem} ended with status {self.status}:\n{tail}")

    def memory_mb(self) -> float:
        """Resident memory; NaN when it has ended."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE / 1e6
        except OSError:
            return float("nan")

    def cpu_seconds(self) -> float:
        """CPU time used by all its threads; NaN when it has ended."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return float("nan")
        return (int(fields[11]) + int(fields[12])) / _TICK


def start_camera(plan: CameraPlan, log: Path, profile: bool = True) -> Child:
    """The synthetic camera."""
    command = [sys.executable, "-m", "benchmarks.node.camera", json.dumps(asdict(plan))]
    return Child(command, log, profile)


def camera_report(camera: Child) -> dict[str, Any]:
    """End the camera and read what it sent."""
    camera.stop()
    lines = [line for line in camera.text().splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"the camera said nothing:\n{camera.text()[-1000:]}")
    return json.loads(lines[-1])


@dataclass
class Supervisor:
    """Starts a command anew whenever it ends by itself, `delay` seconds later: launch's `respawn=True` with
    `respawn_delay`. (launch itself is not among the ROS wheels of PyPI.)"""

    command: list[str]
    folder: Path
    delay: float = 0.0
    lives: list[Child] = field(default_factory=list)

    def __enter__(self) -> Supervisor:
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._start()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._stopping.set()
            self.lives[-1].stop()
        self._thread.join(5)

    @property
    def now(self) -> Child:
        """The process of this life."""
        return self.lives[-1]

    def _start(self) -> None:
        self.lives.append(Child(self.command, self.folder / f"life{len(self.lives)}.log"))

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self.lives[-1].wait()
            if self._stopping.wait(self.delay):
                return
            with self._lock:
                if not self._stopping.is_set():
                    self._start()
