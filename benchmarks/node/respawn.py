"""SIGKILL under a respawning supervisor: the node must be back, and track by its words, within its start-up
time. Lives after a SIGKILL take turns with lives after an orderly end, whose start-up counts as the ordinary
one: DDS discovery alone takes a fraction of a second or three seconds, killed or not."""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy

from uniref_ros.msg import TrackedObject

from ..registry import Check, Options, Result
from ..results import COLOURS, new_figure
from .camera import CameraPlan
from .listener import Heard, Listener
from .processes import Supervisor, start_camera, tracker_command
from .scene import ACTORS

TOLERANCE = 1.5
"""A life after a SIGKILL may take so many times the longest ordinary start-up: leftovers of the killed
process (shared memory, discovery) may be in the way."""
PATIENCE = 120.0


def run(options: Options) -> Result:
    """Start it, kill it, end it orderly, again and again."""
    kills = options.choose(1, 3, 20)
    prompt = ACTORS[1].prompt
    command = tracker_command(prompts=[prompt], threads=options.threads)
    plan = CameraPlan(rate=15.0, cached=0)
    rclpy.init(args=[])
    listener = Listener()
    tracked: list[Heard] = []
    listener.on_result = lambda heard: _note(heard, prompt, tracked)
    waits: list[float] = []
    try:
        with (
            tempfile.TemporaryDirectory() as scratch,
            start_camera(plan, Path(scratch) / "camera.log") as camera,
            Supervisor(command, Path(scratch)) as supervisor,
        ):
            last = 2 * kills - 1
            for life in range(last + 1):
                waits.append(_until_tracked(listener, supervisor, life, tracked))
                camera.check()
                listener.spin(1.0)
                if life < last:
                    supervisor.now.send(signal.SIGTERM if life % 2 else signal.SIGKILL)
            ends = [child.status for child in supervisor.lives[:-1]]
    finally:
        listener.destroy_node()
        rclpy.try_shutdown()
    return _report(waits, ends, prompt)


def _note(heard: Heard, prompt: str, tracked: list[Heard]) -> None:
    for item in heard.message.objects:
        if item.prompt == prompt and item.state == TrackedObject.TRACKED and item.box.width:
            tracked.append(heard)


def _until_tracked(listener: Listener, supervisor: Supervisor, life: int, tracked: list[Heard]) -> float:
    """Seconds from the start of this life's process until a mask of the prompt is heard from it."""
    if not listener.spin(PATIENCE, lambda: len(supervisor.lives) > life):
        raise RuntimeError(f"the supervisor did not start life {life} within {PATIENCE:.0f} s")
    child = supervisor.lives[life]
    tracked.clear()  # of the life before
    if not listener.spin(PATIENCE, lambda: tracked or not child.running):
        raise RuntimeError(f"life {life} did not track within {PATIENCE:.0f} s:\n{child.text()[-2000:]}")
    child.check()
    return time.monotonic() - child.started


def _report(waits: list[float], ends: list[int | None], prompt: str) -> Result:
    starts, again = waits[::2], waits[1::2]
    killed = all(status == -signal.SIGKILL for status in ends[::2])
    checks = [
        Check(
            f'after each SIGKILL back and tracking "{prompt}" within {TOLERANCE} times its start-up time',
            killed and max(again) <= TOLERANCE * max(starts),
            f"ordinary start-up {np.median(starts):.1f} s, at worst {max(starts):.1f} s; after a SIGKILL "
            f"{np.median(again):.1f} s, at worst {max(again):.1f} s",
        )
    ]
    rows = [
        [f"{number}", f"{start:.1f}", f"{back:.1f}"]
        for number, (start, back) in enumerate(zip(starts, again, strict=True), 1)
    ]
    notes = [
        "Seconds from the start of the process until a mask found by words is heard: Python, ROS, the model, "
        "discovery, the first image. The supervisor restarts at once whatever ends, as launch's respawn=True "
        "does; launch itself is not among the ROS wheels of PyPI.",
        "Ordinary: the first start, and those after SIGTERM; lives of both kinds take turns.",
    ]
    table = ("Respawn, s until it tracks by words", ["turn", "ordinary start", "after SIGKILL"], rows)
    data = {"starts": starts, "after_kill": again, "statuses": ends}
    return Result(data, {"": _draw(starts, again)}, [table], checks, notes)


def _draw(starts: list[float], again: list[float]) -> Any:
    figure, axis = new_figure(1, 1, (6.5, 3.2))
    turns = np.arange(1, len(starts) + 1)
    axis.bar(turns - 0.2, starts, 0.4, color=COLOURS[2], label="ordinary start")
    axis.bar(turns + 0.2, again, 0.4, color=COLOURS[1], label="after SIGKILL")
    bound = TOLERANCE * max(starts)
    axis.axhline(bound, color=COLOURS[3], linestyle=":", label=f"{TOLERANCE} x the longest ordinary start")
    axis.set_xticks(turns)
    axis.set_xlabel("turn")
    axis.set_ylabel("s until it tracks by words")
    axis.set_ylim(0, 1.45 * bound)
    axis.legend(fontsize=8, ncols=3, loc="upper center")
    return figure
