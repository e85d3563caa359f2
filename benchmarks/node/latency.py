"""Camera-to-mask latency of the real node, by step, with its CPU and memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import rclpy

from uniref_model.runtime import load_runtime
from uniref_model.tracking import Tracker, TrackerConfig

from .. import machine
from ..registry import Check, Options, Result
from ..results import COLOURS, new_figure
from .camera import CameraPlan
from .listener import Heard, Listener
from .processes import Child, camera_report, start_camera, tracker_command
from .scene import ACTORS, Scene

TIMINGS = {
    "transport in": "DDS: the camera's publish until the node's callback has the image",
    "wait": "in the mailbox, until the worker is free",
    "convert": "to RGB",
    "track": "Tracker.step: network, pre- and post-processing",
    "publish": "building the message, and DDS until the listener's callback has the masks",
}
START = 90.0  # s for the node to load its model


@dataclass(frozen=True)
class Case:
    """One configuration of camera and node. profile: with the shipped Fast DDS profile. transport: of the
    images."""

    height: int = 480
    width: int = 640
    objects: int = 1
    cameras: int = 1
    reliability: str = "best_effort"
    profile: bool = True
    transport: str = "raw"

    @property
    def title(self) -> str:
        parts = [f"{self.width}x{self.height}", f"{self.objects} obj", f"{self.cameras} cam"]
        transport = [] if self.transport == "raw" else [self.transport]
        return ", ".join([*parts, *transport, self.reliability, *([] if self.profile else ["no profile"])])

    @property
    def names(self) -> tuple[str, ...]:
        return ("",) if self.cameras == 1 else tuple(f"cam{number}" for number in range(self.cameras))


SIZES = ((480, 640), (720, 1280), (1080, 1920))
BASE = Case()
GOAL_CASE, GOAL = Case(1080, 1920), 33.0
"""A camera at 30 Hz whose masks come before its next image: ms, camera and listener on the same cores."""
TINY = (
    BASE,
    replace(BASE, height=720, width=1280),
    replace(BASE, height=1080, width=1920),
    replace(BASE, height=1080, width=1920, transport="compressed"),
    replace(BASE, objects=4),
    replace(BASE, cameras=2),
    replace(BASE, objects=2, cameras=2),
    replace(BASE, reliability="reliable"),
    replace(BASE, profile=False),
)
FULL = tuple(
    Case(*size, objects, cameras, reliability, profile)
    for size, objects, cameras, reliability, profile in product(
        SIZES, (1, 4), (1, 2), ("best_effort", "reliable"), (True, False)
    )
)


def run(options: Options) -> Result:
    """Measure each case in turn; `options.only`: those of these titles. Each row says when it was measured
    and on what, and what of the CPU other programs used meanwhile."""
    cases = options.choose((BASE,), TINY, FULL)
    if options.only:
        cases = tuple(case for case in cases if case.title in options.only)
    warm_up, seconds = options.choose((1.0, 2.0), (2.0, 5.0), (5.0, 30.0))
    rclpy.init(args=[])
    try:
        with tempfile.TemporaryDirectory() as scratch:
            rows = [_watched(case, options, warm_up, seconds, Path(scratch)) for case in cases]
    finally:
        rclpy.try_shutdown()
    shapes = dict.fromkeys((case.height, case.width, case.objects) for case in cases)
    inside = {
        f"{width}x{height}, {objects} obj": inside_track(
            Case(height, width, objects), options.threads, options.choose(6, 24, 90)
        )
        for height, width, objects in shapes
    }
    if options.earlier is not None:
        rows, inside = joined(options.earlier, rows, inside)
    return _report(rows, inside, warm_up, seconds, [] if options.smoke else _checks(rows))


def joined(
    earlier: dict[str, Any], rows: list[dict[str, Any]], inside: dict[str, dict[str, float]]
) -> tuple[list[dict[str, Any]], dict[str, dict[str, float]]]:
    """Rows and insides of tracks with those of an earlier result that were not measured again, in the order
    of the cases."""
    then = machine.measured_then(earlier)
    kept = {row["title"]: {"measured": then} | row for row in earlier["data"]["cases"]}
    found = kept | {row["title"]: row for row in rows}
    order = [case.title for case in (*TINY, *FULL) if case.title in found]
    return [found[title] for title in dict.fromkeys(order)], earlier["data"]["inside_track_ms"] | inside


INSIDE = ("prepare", "encode_image", "given", "segment", "merge", "encode_reference", "rest")
"""Parts of "track"; rest: what the tracker counts as none of these."""


def inside_track(case: Case, threads: int, frames: int) -> dict[str, float]:
    """Median milliseconds of the parts of `Tracker.step`, measured here without ROS on the node's model, for
    the case's image size and objects."""
    scene = Scene((case.height, case.width), ACTORS)
    pictures = [scene.image(index / 30.0) for index in range(frames)]
    with load_runtime("uniref_nano", threads=threads) as runtime:
        tracker = Tracker(runtime, TrackerConfig(language_threshold=0.0))
        for actor in ACTORS[: case.objects]:
            tracker.add_text(actor.prompt)
        timings = [tracker.step(picture).timings for picture in pictures][frames // 3 :]
    parts = {name: float(np.median([item.get(name, 0.0) for item in timings])) for name in INSIDE[:-1]}
    total = float(np.median([item["total"] for item in timings]))
    return parts | {"rest": max(0.0, total - sum(parts.values()))}


def _watched(case: Case, options: Options, warm_up: float, seconds: float, folder: Path) -> dict[str, Any]:
    with machine.Watch() as watch:
        row = _measure(case, options, warm_up, seconds, folder)
    return row | {"measured": machine.measured(watch)}


def _measure(case: Case, options: Options, warm_up: float, seconds: float, folder: Path) -> dict[str, Any]:
    heard: list[Heard] = []
    plan = CameraPlan(
        names=case.names,
        height=case.height,
        width=case.width,
        reliability=case.reliability,
        rate=30.0,
        transport=case.transport,
    )
    command = tracker_command(
        cameras=case.names,
        prompts=[actor.prompt for actor in ACTORS[: case.objects]],
        image_reliability=case.reliability,
        image_transport=case.transport,
        language_threshold=0.0,  # every object counts as seen: no frame is cheaper than it could be
        threads=options.threads,
        stale_after=30.0,
    )
    listener = Listener(case.names)
    listener.on_result = heard.append
    try:
        with (
            Child(command, folder / "tracker.log", case.profile) as node,
            start_camera(plan, folder / "camera.log", case.profile) as camera,
        ):
            listener.spin(START, lambda: listener.connected or not node.running)
            node.check()
            listener.spin(5.0 if not case.profile else START, lambda: len(heard) >= 2 * case.cameras)
            listener.spin(warm_up)
            heard.clear()
            before = node.cpu_seconds(), camera.cpu_seconds()
            listener.spin(seconds)
            node.check()
            used = node.cpu_seconds() - before[0], camera.cpu_seconds() - before[1]
            memory = node.memory_mb()
            facts = next((v for k, v in listener.diagnostics.items() if k.endswith("tracker")), {})
            sent = camera_report(camera)
    finally:
        listener.destroy_node()
    return {
        **asdict(case),
        "title": case.title,
        "model": {key: facts.get(key) for key in ("runtime", "model", "size")},
        "results": len(heard),
        "rate_each": len(heard) / seconds / case.cameras,
        "cpu_cores": used[0] / seconds,
        "camera_cpu_cores": used[1] / seconds,
        "memory_mb": memory,
        "camera_late": sent["late"],
        "latency_ms": _percentiles([item.latency_ms for item in heard]),
        "timings_ms": _timings(heard),
    }


def _checks(rows: list[dict[str, Any]]) -> list[Check]:
    found = [row["latency_ms"]["p50"] for row in rows if row["title"] == GOAL_CASE.title]
    claim = f"{GOAL_CASE.title}: p50 at most {GOAL:.0f} ms"
    return [Check(claim, p50 <= GOAL, f"{p50:.1f} ms") for p50 in found]


def _percentiles(values: Iterable[float]) -> dict[str, float]:
    listed = list(values)
    return {
        f"p{rank}": float(np.percentile(listed, rank)) if listed else float("nan") for rank in (50, 95, 99)
    }


def _timings(heard: list[Heard]) -> dict[str, dict[str, float]]:
    """Milliseconds by step, from what the message itself says and from when it came."""
    parts: dict[str, list[float]] = {name: [] for name in TIMINGS}
    for item in heard:
        m = item.message
        inside = m.wait_ms + m.convert_ms + m.track_ms
        values = (
            m.age_ms - inside,
            m.wait_ms,
            m.convert_ms,
            m.track_ms,
            item.latency_ms - m.age_ms,  # the age is taken when the message is about to be built
        )
        for name, value in zip(TIMINGS, values, strict=True):
            parts[name].append(max(0.0, value))
    return {name: _percentiles(values) for name, values in parts.items()}


def _report(
    rows: list[dict[str, Any]],
    inside: dict[str, dict[str, float]],
    warm_up: float,
    seconds: float,
    checks: list[Check],
) -> Result:
    header = ["camera", "masks/s each", "p50", "p95", "p99 ms", "track p50", "CPU cores", "MB"]
    table = [
        [
            row["title"],
            f"{row['rate_each']:.1f}",
            *(f"{row['latency_ms'][rank]:.0f}" for rank in ("p50", "p95", "p99")),
            f"{row['timings_ms']['track']['p50']:.0f}",
            f"{row['cpu_cores']:.2f}",
            f"{row['memory_mb']:.0f}",
        ]
        for row in rows
    ]
    model = rows[0]["model"]
    notes = [
        f"Camera at 30 images/s; {warm_up:.0f} s of warm-up and {seconds:.0f} s counted for each line; model "
        f"{model['model']} {model['size']} on {model['runtime']}. Latency is from the image's stamp to the "
        "listener's callback. Camera, node and listener share this machine's cores.",
        "The newest image wins: with fewer masks a second than images, the others were replaced, not queued.",
        *(f"{name}: {text}." for name, text in TIMINGS.items()),
        "Inside track is measured afterwards without ROS, with the whole machine to itself: compare shares.",
    ]
    notes += machine.remarks({row["title"]: row["measured"] for row in rows})
    lost = [row["title"] for row in rows if not row["results"]]
    if lost:
        notes.append(f"No image came through at all: {'; '.join(lost)}.")
    return Result(
        {"timings": TIMINGS, "cases": rows, "inside_track_ms": inside},
        {"": _draw(rows), "inside": _draw_inside(inside)},
        [
            ("Camera-to-mask latency of the node", header, table),
            (
                "Inside track, ms",
                ["images", *INSIDE],
                [[name, *(f"{parts[key]:.1f}" for key in INSIDE)] for name, parts in inside.items()],
            ),
        ],
        checks,
        notes,
    )


def _draw_inside(inside: dict[str, dict[str, float]]) -> Any:
    figure, axis = new_figure(1, 1, (8.0, 1.4 + 0.4 * len(inside)))
    places, left = np.arange(len(inside))[::-1], np.zeros(len(inside))
    for name, colour in zip(INSIDE, COLOURS, strict=False):
        values = np.array([parts[name] for parts in inside.values()])
        axis.barh(places, values, left=left, color=colour, label=name, height=0.7)
        left += values
    axis.set_yticks(places, list(inside), fontsize=8)
    axis.set_xlabel("ms inside track, median of each part")
    figure.legend(fontsize=7, ncols=len(INSIDE), loc="outside upper center")
    return figure


def _draw(rows: list[dict[str, Any]]) -> Any:
    figure, axes = new_figure(1, 2, (12.0, 1.8 + 0.36 * len(rows)))
    places = np.arange(len(rows))[::-1]
    left = np.zeros(len(rows))
    for name, colour in zip(TIMINGS, COLOURS, strict=False):
        values = np.nan_to_num([row["timings_ms"][name]["p50"] for row in rows])
        axes[0].barh(places, values, left=left, color=colour, label=name, height=0.7)
        left += values
    axes[0].set_yticks(places, [row["title"] for row in rows], fontsize=8)
    axes[0].set_xlabel("ms, median of each step")
    for rank, colour in (("p99", "#cfe3ee"), ("p95", "#7fb8d6"), ("p50", COLOURS[0])):
        values = np.nan_to_num([row["latency_ms"][rank] for row in rows])
        axes[1].barh(places, values, color=colour, height=0.7, label=rank)
    for place, row in zip(places, rows, strict=True):
        text = f" {row['rate_each']:.0f}/s, {row['cpu_cores']:.1f} cores, {row['memory_mb']:.0f} MB"
        axes[1].text(np.nan_to_num(row["latency_ms"]["p99"]), place, text, va="center", fontsize=7)
    axes[1].set_yticks(places, [""] * len(rows))
    axes[1].set_xlabel("ms from the image's stamp to its masks")
    axes[1].margins(x=0.3)
    axes[0].legend(fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes[1].legend(fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure
