"""SIGKILL under a respawning supervisor: the node must be back, and track by its words, within its start-up
time."""

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
from .stage import ACTORS

TOLERANCE = 1.5
"""A life may take so many times the first one's start-up time; files are in the cache then, but leftovers of
the killed process (shared memory, discovery) may be in the way."""
PATIENCE = 120.0


def run(options: Options) -> Result:
    """Start it, kill it again and again."""
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
            for life in range(kills + 1):
                waits.append(_until_tracked(listener, supervisor, life, tracked))
                camera.check()
                listener.spin(1.0)
                if life < kills:
                    supervisor.now.send(signal.SIGKILL)
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
    first, again = waits[0], waits[1:]
    killed = all(status == -signal.SIGKILL for status in ends)
    checks = [
        Check(
            f'after each SIGKILL back and tracking "{prompt}" within {TOLERANCE} times its start-up time',
            killed and max(again) <= TOLERANCE * first,
            f"start-up {first:.1f} s; after a kill {np.median(again):.1f} s, at worst {max(again):.1f} s",
        )
    ]
    rows = [["first start", f"{first:.1f}"]]
    rows += [[f"after kill {number}", f"{wait:.1f}"] for number, wait in enumerate(again, 1)]
    notes = [
        "Seconds from the start of the process until a mask found by words is heard: Python, ROS, the model, "
        "discovery, the first image. The supervisor restarts at once whatever ends, as launch's respawn=True "
        "does; launch itself is not among the ROS wheels of PyPI."
    ]
    table = ("Respawn", ["life", "s until it tracks by words"], rows)
    return Result({"seconds": waits, "statuses": ends}, {"": _draw(waits)}, [table], checks, notes)


def _draw(waits: list[float]) -> Any:
    figure, axis = new_figure(1, 1, (6.5, 3.2))
    colours = [COLOURS[2], *[COLOURS[0]] * (len(waits) - 1)]
    axis.bar(range(len(waits)), waits, color=colours)
    axis.axhline(TOLERANCE * waits[0], color=COLOURS[3], linestyle=":", label=f"{TOLERANCE} x first start")
    names = ["first start", *(f"kill {number}" for number in range(1, len(waits)))]
    axis.set_xticks(range(len(waits)), names if len(waits) < 9 else range(len(waits)), fontsize=8)
    axis.set_ylabel("s until it tracks by words")
    axis.legend(fontsize=8)
    return figure
