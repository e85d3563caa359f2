"""The demo's child processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

_STOP_TIMEOUT = 5.0  # s for a process to end on SIGINT


class DemoError(Exception):
    """The demo cannot go on; the text is for people."""


class Process:
    """A child process with its output in a log file."""

    def __init__(self, name: str, module: str, arguments: list[str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._file: IO[bytes] = self.log.open("wb")
        command = [sys.executable, "-m", module, "--ros-args", *arguments]
        self._child = subprocess.Popen(command, stdout=self._file, stderr=subprocess.STDOUT)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._child.poll() is None

    @property
    def memory_mb(self) -> float:
        """Its resident memory, 0 when it has ended."""
        try:
            status = Path(f"/proc/{self._child.pid}/status").read_text(encoding="ascii")
        except OSError:
            return 0.0
        return next(
            (int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0
        )

    def check(self) -> None:
        """Raise DemoError with the end of its log when it has ended with an error."""
        if not self.running and self._child.returncode != 0:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise DemoError(f"the process {self.name} ended with status {self._child.returncode}:\n{tail}")

    def stop(self) -> None:
        """End it as ^C would, by force when it does not answer."""
        if self.running:
            self._child.send_signal(signal.SIGINT)
            try:
                self._child.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._file.close()


def quoted(text: str) -> str:
    """As YAML reads it back, whatever is in it."""
    return "'" + text.replace("'", "''") + "'"
