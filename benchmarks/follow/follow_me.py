"""Follow-me for two minutes: the tracker with the shipped network, examples/follow_object.py and a simulated
robot, as processes over DDS. The target walks about, runs behind a wall, hides there and comes out again."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import rclpy

from ..node.processes import ROOT, Child, tracker_command
from ..registry import Check, Options, Result
from ..results import COLOURS, new_figure
from .scenario import LONG, RADIUS, SHORT, TARGET_SIZE, Scenario
from .simulation import FRAME, Moment, Simulation

PROMPT = "the yellow box"
DISTANCE = 1.5
"""m, that the robot is to keep."""
FOLLOWER = ROOT / "examples" / "follow_object.py"
HIDDEN = 2.0
"""s for which nothing of the target must be in the picture to count as away."""
SETTLED = 12.0
"""s that it takes to come up to the target again from the other side of the room."""


def follower_command(**parameters: Any) -> list[str]:
    """The example's command line for the simulated robot, with these parameters besides."""
    settings = {
        "use_sim_time": True,
        "camera_frame": FRAME,
        "camera_x": 0.15,
        "distance": DISTANCE,
        "rate": 100.0,
        "watchdog": 30.0,  # of the machine's clock, which is not the simulation's
        "enable_stamped_cmd_vel": True,
        **parameters,
    }
    command = [sys.executable, str(FOLLOWER), "--ros-args"]
    for name, value in settings.items():
        command += ["-p", f"{name}:={json.dumps(value)}"]
    return command


@contextlib.contextmanager
def running(
    scenario: Scenario, scratch: Path, *, threads: int = 2, step: float = 0.1, **parameters: Any
) -> Iterator[tuple[Simulation, Child, Child]]:
    """The simulation, tracker and follower, met. rclpy must be running. parameters: of the follower."""
    simulation = Simulation(scenario, step=step, stamped=parameters.get("enable_stamped_cmd_vel", True))
    tracker = tracker_command(prompts=[PROMPT], threads=threads, use_sim_time=True)
    try:
        with (
            Child(tracker, scratch / "tracker.log") as tracking,
            Child(follower_command(**parameters), scratch / "follower.log") as following,
        ):
            simulation.meet()
            yield simulation, tracking, following
    finally:
        simulation.destroy_node()


def run(options: Options) -> Result:
    """Walk, and see what the robot does."""
    scenario = options.choose(SHORT, LONG, LONG)
    seconds = options.choose(3.0, scenario.seconds, scenario.seconds)
    rclpy.init(args=[])
    try:
        with (
            tempfile.TemporaryDirectory() as scratch,
            running(scenario, Path(scratch), threads=options.threads) as (simulation, _, _),
        ):
            moments = simulation.run(seconds)
            pictures = simulation.pictures
    finally:
        rclpy.try_shutdown()
    return _report(scenario, moments, pictures, checked=not options.smoke)


def away(moments: list[Moment]) -> list[tuple[int, int]]:
    """(first, last + 1) of the stretches with the target out of the picture for `HIDDEN` and longer."""
    stretches, at = [], 0
    for gone, group in groupby(moments, key=lambda moment: moment.visible == 0):
        count = len(list(group))
        if gone and moments[at + count - 1].time - moments[at].time >= HIDDEN:
            stretches.append((at, at + count))
        at += count
    return stretches


def settled(moments: list[Moment]) -> list[Moment]:
    """Those that have followed for `SETTLED` without a break."""
    found, since = [], np.inf
    for moment in moments:
        since = min(since, moment.time) if moment.word == "following" else np.inf
        if moment.time - since >= SETTLED:
            found.append(moment)
    return found


def figures_of(moments: list[Moment]) -> dict[str, float]:
    """What a run was like: distances in m, times in s."""
    gone = away(moments)
    again = [
        next((m.time for m in moments[end:] if m.word == "following"), np.inf) - moments[end - 1].time
        for _, end in gone
    ]
    blind = [abs(moment.speed) for moment in moments if moment.word != "following"]
    distances = [moment.distance for moment in settled(moments)] or [np.nan]
    low, middle, high = np.percentile(distances, (5, 50, 95))
    return {
        "seconds": moments[-1].time,
        "share of time followed": float(np.mean([moment.word == "following" for moment in moments])),
        "distance p5": low,
        "distance p50": middle,
        "distance p95": high,
        "times out of the picture": len(gone),
        "seconds out of the picture": sum(moments[end - 1].time - moments[start].time for start, end in gone),
        "seconds searched": sum(m.word == "searching" for m in moments) * (moments[1].time - moments[0].time),
        "seconds until followed again": max(again, default=0.0),
        "fastest while not following": max(blind, default=0.0),
        "error of positions p50": float(np.nanmedian([moment.error for moment in moments])),
        "nearest to a wall or thing": min(moment.clearance for moment in moments),
        "nearest to the target": min(moment.distance for moment in moments),
    }


def promises(numbers: dict[str, float]) -> list[Check]:
    """What a run in which the target hides must have kept."""
    low, middle, high = (numbers[f"distance p{part}"] for part in (5, 50, 95))
    return [
        Check(
            f"having followed for {SETTLED:.0f} s it is 1 to 3 m behind, nine tenths of the time",
            low >= 1.0 and high <= 3.0,
            f"{low:.2f} to {high:.2f} m, median {middle:.2f} m",
        ),
        Check(
            "the target gets out of sight, and is searched for by turning",
            numbers["times out of the picture"] >= 1 and numbers["seconds searched"] > 0,
            f"out of the picture for {numbers['seconds out of the picture']:.1f} s",
        ),
        Check(
            "it is followed again within 3 s of being in the picture again",
            numbers["seconds until followed again"] <= 3.0,
            f"after {numbers['seconds until followed again']:.1f} s",
        ),
        Check(
            "while it is not followed the robot does not drive",
            numbers["fastest while not following"] == 0.0,
            f"{numbers['fastest while not following']:.2f} m/s at most",
        ),
        Check(
            "the robot runs into nothing",
            numbers["nearest to a wall or thing"] > RADIUS
            and numbers["nearest to the target"] > RADIUS + math.hypot(*TARGET_SIZE[:2]) / 2,
            f"{numbers['nearest to a wall or thing']:.2f} m from a wall or thing, "
            f"{numbers['nearest to the target']:.2f} m from the target at the nearest",
        ),
    ]


def _report(
    scenario: Scenario, moments: list[Moment], pictures: list[tuple[Moment, np.ndarray]], *, checked: bool
) -> Result:
    numbers = figures_of(moments)
    notes = [
        "Simulated time: each step waits for the tracker's result of its image, so the speed of the machine "
        "plays no part, and what follows from a result moves the robot in the next step, 0.1 s later.",
        "Positions are of the side of the target that is seen, distances from its middle.",
    ]
    return Result(
        {
            "numbers": numbers,
            "moments": [asdict(moment) for moment in moments[:: max(len(moments) // 120, 1)]],
        },
        {"": draw(scenario, moments, pictures)},
        [(f"Follow-me, {scenario.name}", ["", ""], [[name, f"{n:.2f}"] for name, n in numbers.items()])],
        promises(numbers) if checked else [],
        notes,
    )


_COLOURS = {
    "following": COLOURS[0],
    "lost": COLOURS[4],
    "searching": COLOURS[3],
    "waiting": "#999999",
    "standing": "#999999",
}
"""By the first word of the follower's state."""


def draw(scenario: Scenario, moments: list[Moment], pictures: list[tuple[Moment, np.ndarray]]) -> Any:
    """The paths from above, the distance over time, and what the camera saw."""
    shown = _telling(pictures)
    figure, _ = new_figure(1, 1, (9.5, 9.8))
    figure.clear()
    grid = figure.add_gridspec(3, max(len(shown), 1), height_ratios=(6.2, 1.7, 1.6))
    _draw_paths(figure.add_subplot(grid[0, :]), scenario, moments)
    _draw_distance(figure.add_subplot(grid[1, :]), moments)
    for column, (moment, picture) in enumerate(shown):
        axis = figure.add_subplot(grid[2, column])
        axis.imshow(picture)
        axis.set_title(f"{moment.time:.0f} s: {moment.word}", fontsize=9, color=_COLOURS[moment.word])
        axis.axis("off")
    return figure


def _telling(pictures: list[tuple[Moment, np.ndarray]]) -> list[tuple[Moment, np.ndarray]]:
    """Of the changes of state: it follows, loses, searches and follows again."""
    shown: list[tuple[Moment, np.ndarray]] = []
    for word in ("following", "lost", "searching", "following"):
        after = shown[-1][0].time if shown else 0.0
        shown += [one for one in pictures if one[0].word == word and one[0].time > after][:1]
    return shown


def _draw_paths(axis: Any, scenario: Scenario, moments: list[Moment]) -> None:
    from matplotlib.patches import Polygon, Rectangle

    axis.add_patch(Rectangle((0, 0), *scenario.room.size, fill=False, edgecolor="#444444", linewidth=2))
    for block, colour in [(wall, "#8a4a3a") for wall in scenario.room.walls] + [
        (thing, "#7f8fa6") for thing in scenario.room.things
    ]:
        axis.add_patch(Polygon(block.corners(), closed=True, facecolor=colour))
    targets = np.array([moment.target for moment in moments])
    axis.plot(*targets.T, color="#d9a400", linewidth=2.5, label="target", zorder=2)
    for state, group in groupby(moments, key=lambda moment: moment.word):
        path = np.array([moment.robot[:2] for moment in group])
        marker = {"marker": "o", "markersize": 8} if state == "searching" else {}
        axis.plot(*path.T, color=_COLOURS[state], linewidth=2, zorder=3, **marker)
    for start, end in away(moments):
        text = (
            f"out of sight at {moments[start].time:.0f} s,\nin sight again at {moments[end - 1].time:.0f} s"
        )
        axis.annotate(text, moments[start].robot[:2], (8, -26), textcoords="offset points", fontsize=8)
    for moment in moments[:: max(len(moments) // 12, 1)]:
        x, y, heading = moment.robot
        axis.annotate(
            "",
            (x + 0.45 * np.cos(heading), y + 0.45 * np.sin(heading)),
            (x, y),
            arrowprops={"arrowstyle": "-|>", "color": COLOURS[2]},
            zorder=4,
        )
        for place, colour in ((moment.robot, COLOURS[2]), (moment.target, "#8a6d00")):
            axis.annotate(
                f"{moment.time:.0f}", place[:2], (4, 4), textcoords="offset points", fontsize=7, color=colour
            )
    for state in ("following", "lost", "searching", "standing"):
        axis.plot([], [], color=_COLOURS[state], linewidth=2, label=f"robot, {state}")
    axis.set_aspect("equal")
    axis.set_xlim(-0.2, scenario.room.size[0] + 0.2)
    axis.set_ylim(-0.2, scenario.room.size[1] + 0.2)
    axis.set_xlabel("m; the small numbers are seconds")
    axis.set_title(f"Follow-me for {scenario.name}, seen from above", fontsize=10)
    axis.legend(fontsize=8, loc="center left")


def _draw_distance(axis: Any, moments: list[Moment]) -> None:
    times = [moment.time for moment in moments]
    axis.plot(times, [moment.distance for moment in moments], color="#666666", linewidth=1)
    for state in _COLOURS:
        there = [moment.distance if moment.word == state else np.nan for moment in moments]
        axis.plot(times, there, color=_COLOURS[state], linewidth=2)
    for start, end in away(moments):
        axis.axvspan(moments[start].time, moments[end - 1].time, color="#8a4a3a", alpha=0.15, linewidth=0)
    axis.axhline(DISTANCE, color="#999999", linestyle=":", linewidth=1)
    axis.set_xlim(0, times[-1])
    axis.set_ylim(bottom=0)
    axis.grid(True, color="#dddddd", linewidth=0.6)
    axis.set_ylabel("distance, m")
    axis.set_xlabel(
        "s; shaded: nothing of the target is in the picture; dotted: the distance to keep", fontsize=8
    )
