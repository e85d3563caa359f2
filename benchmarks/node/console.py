"""What browsers cost the tracker: its rate with nobody looking, with one browser and with twenty, in turn."""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import rclpy

from uniref_ros.launching import SUITED_TO_CONSOLE

from ..registry import Check, Options, Result
from ..results import COLOURS, new_figure
from .camera import CameraPlan
from .listener import Heard, Listener
from .processes import Child, start_camera, tracker_command
from .scene import ACTORS

COUNTS = (0, 1, 20)
MOST_LOST = 0.10
HEADER = [
    "browsers",
    "tracker, 1/s",
    "of nobody's",
    "latency p50/p95/p99, ms",
    "tracker CPU",
    "console CPU",
    "console, MB",
    "browsers' own CPU",
    "pictures, 1/s",
    "their age p50/p95/p99, ms",
]
START = 90.0  # s for the node to load its model
_PORT = 8699
_ADDRESS = f"127.0.0.1:{_PORT}"


def run(options: Options) -> Result:
    """Measure every count of browsers in each round, so that what else runs here falls on all of them."""
    rounds, warm_up, seconds = options.choose((1, 1.0, 2.0), (10, 1.5, 4.0), (20, 2.0, 10.0))
    rclpy.init(args=[])
    try:
        with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
            stand = _Stand(stack, Path(scratch), options)
            stand.begin()
            measured = [stand.measure(count, warm_up, seconds) for _ in range(rounds) for count in COUNTS]
    finally:
        rclpy.try_shutdown()
    return _report(measured, rounds, warm_up, seconds)


class _Stand:
    """A camera, the tracker following one object, the console, and a listener."""

    def __init__(self, stack: ExitStack, folder: Path, options: Options) -> None:
        self._folder = folder
        self._listener = Listener()
        stack.callback(self._listener.destroy_node)
        console = [sys.executable, "-m", "uniref_ros.console.node", "--ros-args", "-p", f"port:={_PORT}"]
        self._tracker = stack.enter_context(
            Child(
                tracker_command(
                    threads=options.threads, language_threshold=0.0, **SUITED_TO_CONSOLE["tracker"]
                ),
                folder / "tracker.log",
            )
        )
        self._console = stack.enter_context(Child(console, folder / "console.log"))
        self._camera = stack.enter_context(start_camera(CameraPlan(), folder / "camera.log"))

    def begin(self) -> None:
        """Wait until everything runs, and have one object followed."""
        listener, results = self._listener, []
        listener.on_result = results.append
        if not listener.spin(START, lambda: listener.connected and len(results) > 5):
            raise RuntimeError(f"no results:\n{self._tracker.text()[-1000:]}")
        listener.say(ACTORS[1].prompt)
        if not listener.spin(START, self._knows_tracker):
            raise RuntimeError(f"the console does not find the tracker:\n{self._console.text()[-1000:]}")

    def _knows_tracker(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{_ADDRESS}/health", timeout=5) as answer:
                return bool(json.load(answer)["cameras"])
        except OSError:
            return False

    def measure(self, count: int, warm_up: float, seconds: float) -> dict[str, Any]:
        """What happens while so many browsers look."""
        heard: list[Heard] = []
        self._listener.on_result = heard.append
        with ExitStack() as stack:
            browsers = None
            if count:
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.node.browsers",
                    _ADDRESS,
                    str(count),
                ]
                browsers = stack.enter_context(Child(command, self._folder / "browsers.log"))
            self._listener.spin(warm_up)
            heard.clear()
            before = [child.cpu_seconds() for child in (self._tracker, self._console)]
            self._listener.spin(seconds)
            used = [child.cpu_seconds() for child in (self._tracker, self._console)]
            for child in (self._tracker, self._console, self._camera):
                child.check()
            seen = _seen(browsers)
        span = heard[-1].at - heard[0].at if len(heard) > 1 else seconds
        latencies = [one.latency_ms for one in heard] or [float("nan")]
        return {
            "browsers": count,
            "tracker_per_s": (len(heard) - 1) / span,
            "latency_ms": dict(
                zip(("p50", "p95", "p99"), np.percentile(latencies, (50, 95, 99)), strict=True)
            ),
            "tracker_cpu": (used[0] - before[0]) / seconds,
            "console_cpu": (used[1] - before[1]) / seconds,
            "console_mb": self._console.memory_mb(),
            "seen": seen,
        }


def _seen(browsers: Child | None) -> dict[str, Any] | None:
    if browsers is None:
        return None
    browsers.stop()
    report = json.loads(browsers.text().splitlines()[-1])
    if report["faults"]:
        raise RuntimeError(f"a browser was cut off: {report['faults'][:3]}")
    return report


def _report(measured: Sequence[dict[str, Any]], rounds: int, warm_up: float, seconds: float) -> Result:
    by_count = {count: [one for one in measured if one["browsers"] == count] for count in COUNTS}
    ratios = {count: _ratios(by_count[count], by_count[0]) for count in COUNTS}
    lost = 1 - float(np.median(ratios[COUNTS[-1]]))
    rows = [_row(count, by_count[count], ratios[count]) for count in COUNTS]
    return Result(
        data={
            "rounds": rounds,
            "warm_up_s": warm_up,
            "seconds": seconds,
            "camera": "640x480 at 30 Hz, one object",
            "measured": list(measured),
            "rate_of_nobodys": ratios,
        },
        figures={"": _draw(ratios)},
        tables=[("What browsers cost the tracker", HEADER, rows)],
        checks=[
            Check(
                f"{COUNTS[-1]} browsers lower the tracker's rate by {MOST_LOST:.0%} at most (median)",
                lost <= MOST_LOST,
                f"{lost:.1%}",
            )
        ],
        notes=[
            "The browsers are doubles on this machine's cores too, which acknowledge pictures and decode "
            "none: real ones run elsewhere. Counts of browsers take turns within each round."
        ],
    )


def _ratios(these: Sequence[dict[str, Any]], alone: Sequence[dict[str, Any]]) -> list[float]:
    """The tracker's rate as a share of the same round's with nobody looking."""
    return [one["tracker_per_s"] / other["tracker_per_s"] for one, other in zip(these, alone, strict=True)]


def _row(count: int, measured: Sequence[dict[str, Any]], ratios: Sequence[float]) -> list[str]:
    def median(*keys: str) -> float:
        values = []
        for one in measured:
            for key in keys:
                one = one[key]
            values.append(one)
        return float(np.median(values))

    latency = "/".join(f"{median('latency_ms', rank):.0f}" for rank in ("p50", "p95", "p99"))
    row = [
        str(count),
        f"{median('tracker_per_s'):.1f}",
        f"{np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
        latency,
        *(f"{median(key):.2f}" for key in ("tracker_cpu", "console_cpu")),
        f"{median('console_mb'):.0f}",
    ]
    if not count:
        return [*row, "-", "-", "-"]
    ages = "/".join(f"{median('seen', 'age_ms', rank):.0f}" for rank in ("p50", "p95", "p99"))
    own = f"{median('seen', 'own_cpu'):.2f}"
    return [*row, own, f"{median('seen', 'pictures_per_s', 'mean'):.1f}", ages]


def _draw(ratios: dict[int, list[float]]) -> Any:
    figure, axis = new_figure(1, 1, (5.0, 3.2))
    for place, (count, values) in enumerate(ratios.items()):
        axis.bar(place, np.median(values), color=COLOURS[0], width=0.6)
        axis.plot([place] * len(values), values, "o", color=COLOURS[3], markersize=4)
        axis.text(place, 0.02, f"{count} browsers", ha="center", color="white", fontsize=8)
    axis.axhline(1 - MOST_LOST, color=COLOURS[4], linestyle="--", linewidth=1)
    axis.set_xticks([])
    axis.set_ylabel("tracker's rate / with nobody looking")
    return figure
