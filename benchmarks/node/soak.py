"""An hour (tiny: a minute) of everything at once: objects that leave and return, prompts that change, cameras
that stop, malformed messages, life-cycle changes. Nothing may be lost, mixed up or grow."""

from __future__ import annotations

import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import Point
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import Image, RegionOfInterest

from uniref_ros.msg import TrackCommand, TrackedObject

from ..registry import Check, Options, Result
from ..results import COLOURS, new_figure
from .camera import CameraPlan
from .listener import Heard, Listener, wrong_headers
from .processes import Child, camera_report, start_camera, tracker_command
from .scene import ACTORS, overlap

CAMERAS = ("left", "right")
SIZE = (480, 640)
STEADY = replace(ACTORS[1], away=(0.5, 0.65))
"""The one object that is looked for all the time; it leaves the picture once in a period and returns."""
PASSING = ("the red ball", "the blue box", "the green ball", "the purple bottle", "the ball on the left")
PATIENCE = 15.0
"""Seconds of received images after which a prompt that shows in no result counts as lost."""
GROWTH_MB = 8.0
"""Most by which the node's highest memory in the last quarter may exceed its highest in the first half."""


@dataclass
class Expectation:
    """A prompt that must show up in every camera's results, or a removal after which it must not."""

    prompt: str
    present: bool
    said: float
    waiting: set[str] = field(default_factory=lambda: set(CAMERAS))


@dataclass
class Diary:
    """What happened. samples: (seconds, MB); results: (seconds, camera, latency ms, track ms, objects)."""

    samples: list[tuple[float, float]] = field(default_factory=list)
    results: list[tuple[float, str, float, float, int]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)


class Soak:
    """Keeps the listener listening while things happen to the node."""

    def __init__(self, listener: Listener, node: Child, camera: Child) -> None:
        self.listener, self.node, self.camera = listener, node, camera
        self.diary = Diary()
        self._began = time.monotonic()
        self._expectations: list[Expectation] = []
        self._last: dict[str, float] = {}
        self._silent_since: float | None = None
        self._sampled = 0.0
        self._bad = cycle(bad_commands())
        listener.on_result = self._on_result
        self._change = listener.create_client(ChangeState, "tracker/change_state")

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def spin(self, seconds: float, until: Callable[[], Any] = lambda: False) -> bool:
        """Listen, and note memory and overdue expectations."""
        end = self.now + seconds
        while self.now < end:
            if self.listener.spin(0.2, until):
                return True
            if self.now - self._sampled >= 0.5:
                self._sampled = self.now
                self.diary.samples.append((self.now, self.node.memory_mb()))
            self.node.check()
            self._expire()
        return False

    # ---- what is heard

    def _on_result(self, heard: Heard) -> None:
        message, diary = heard.message, self.diary
        for fault in wrong_headers(message):
            diary.faults["wrong headers"] += 1
            diary.examples.append(fault)
        if heard.stamp <= self._last.get(message.camera, 0.0):
            diary.faults["results out of order"] += 1
        self._last[message.camera] = heard.stamp
        if self._silent_since is not None and self.now - self._silent_since > 1.0:
            diary.faults["results while inactive"] += 1
        diary.results.append(
            (self.now, message.camera, heard.latency_ms, message.track_ms, len(message.objects))
        )
        prompts = {item.prompt for item in message.objects}
        for expectation in list(self._expectations):
            if (expectation.prompt in prompts) == expectation.present:
                expectation.waiting.discard(message.camera)
            if not expectation.waiting:
                self._expectations.remove(expectation)
                diary.answers.append(self.now - expectation.said)
        self._compare(heard)

    def _compare(self, heard: Heard) -> None:
        truth = STEADY.box(heard.stamp, SIZE)
        for item in heard.message.objects:
            if item.prompt != STEADY.prompt:
                continue
            seen = item.state == TrackedObject.TRACKED and item.box.width > 0
            if truth is None:
                self.diary.counts["seen while away" if seen else "not seen while away"] += 1
            else:
                box = (item.box.x_offset, item.box.y_offset, item.box.width, item.box.height)
                self.diary.overlaps.append(overlap(truth, box) if seen else 0.0)

    def _expire(self) -> None:
        for expectation in list(self._expectations):
            if self.now - expectation.said > PATIENCE:
                self._expectations.remove(expectation)
                word = "was not taken" if expectation.present else "was not forgotten"
                self.diary.lost.append(
                    f"{expectation.prompt!r} {word} by {', '.join(sorted(expectation.waiting))}"
                )

    # ---- what is done to it

    def say(self, prompt: str, present: bool = True) -> None:
        """A prompt, or its "forget"."""
        self.listener.say(prompt if present else f"forget {prompt}")
        self._expectations.append(Expectation(prompt, present, self.now))
        self.diary.counts["prompts" if present else "removals"] += 1

    def settled(self) -> bool:
        """Whether every expectation has come true or been given up."""
        return not self._expectations

    def send_bad_command(self) -> None:
        """A command that must be refused, counted, and disturb nothing."""
        self.listener.order(next(self._bad))
        self.diary.counts["malformed commands"] += 1

    def stop_camera(self, seconds: float) -> None:
        """The camera is silent for a while."""
        self.diary.marks.append((self.now, "camera stops"))
        self.camera.send(signal.SIGUSR1)
        self.spin(seconds)
        self.camera.send(signal.SIGUSR2)
        self.diary.counts["camera stops"] += 1
        self._expect_results("the camera came back")

    def cycle_lifecycle(self, seconds: float, prompt: str) -> None:
        """Deactivate, say something to the inactive node, activate."""
        self.diary.marks.append((self.now, "inactive"))
        self._transition(Transition.TRANSITION_DEACTIVATE)
        self._silent_since = self.now
        self.say(prompt)
        self.spin(seconds)
        self._silent_since = None
        self._transition(Transition.TRANSITION_ACTIVATE)
        self.diary.counts["life cycles"] += 1
        self._expect_results("activation")

    def _transition(self, transition: int) -> None:
        self._change.wait_for_service(10.0)
        request = ChangeState.Request(transition=Transition(id=transition))
        future = self._change.call_async(request)
        if not self.spin(PATIENCE, future.done) or not future.result().success:
            self.diary.faults["life-cycle changes refused"] += 1

    def _expect_results(self, event: str) -> None:
        start = self.now

        def all_back() -> bool:
            return {camera for at, camera, *_ in self.diary.results[-20:] if at > start} == set(CAMERAS)

        if not self.spin(PATIENCE, all_back):
            self.diary.faults["silences"] += 1
            self.diary.examples.append(f"no results within {PATIENCE:.0f} s after {event}")


def bad_commands() -> Iterator[TrackCommand]:
    """One of each kind."""
    add = TrackCommand.ADD
    yield TrackCommand(action=99)
    yield TrackCommand(action=add)
    yield TrackCommand(action=add, points=[Point(x=float("nan"))], camera="left")
    yield TrackCommand(action=add, text="the red ball", camera="roof")
    yield TrackCommand(action=add, box=RegionOfInterest(x_offset=2**32 - 1, width=9, height=9), camera="left")
    yield TrackCommand(action=add, mask=Image(width=5, height=5, step=5, encoding="mono8", data=bytes(3)))
    yield TrackCommand(action=TrackCommand.REMOVE, object_id="nobody")


def run(options: Options) -> Result:
    """Soak the node."""
    seconds = options.choose(14.0, 60.0, 3600.0)
    plan = CameraPlan(
        names=CAMERAS,
        rate=15.0,
        cached=0,
        malformed_every=20,
        actors=tuple(asdict(actor) for actor in (ACTORS[0], STEADY, ACTORS[2])),
    )
    command = tracker_command(
        cameras=CAMERAS,
        threads=options.threads,
        diagnostics_period=0.5,
    )
    rclpy.init(args=[])
    listener = Listener(CAMERAS)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            with (
                Child(command, folder / "tracker.log") as node,
                start_camera(plan, folder / "camera.log") as camera,
            ):
                soak = Soak(listener, node, camera)
                if not soak.spin(90.0, lambda: listener.connected and len(soak.diary.results) > 10):
                    raise RuntimeError(f"no results within 90 s:\n{node.text()[-2000:]}")
                _warm_up(soak)
                began = soak.now
                _play(soak, began + seconds)
                soak.spin(PATIENCE, soak.settled)
                soak.spin(1.5)  # for the last diagnostics
                ended = soak.now
                errors = _errors(listener)
                traceback = "Traceback" in node.text()
                sent = camera_report(camera)
                status = node.stop()
    finally:
        listener.destroy_node()
        rclpy.try_shutdown()
    return _report(soak.diary, began, ended, errors, sent, traceback, status, options)


def _warm_up(soak: Soak) -> None:
    """Say the steady object's prompt while it is to be seen, and let the node load what several objects
    need, which it does at first use."""
    soak.spin(STEADY.period, lambda: not any(STEADY.is_away(time.time() + ahead) for ahead in (0.0, 2.0)))
    soak.say(STEADY.prompt)
    for present in (True, False):
        for prompt in PASSING[:2]:
            soak.say(prompt, present)
        soak.spin(PATIENCE, soak.settled)


def _play(soak: Soak, end: float) -> None:
    """Turn after turn until the time is over; a turn takes about ten seconds."""
    passing = cycle(PASSING)
    turn = 0
    while soak.now < end:
        prompt, late = next(passing), next(passing)
        soak.say(prompt)
        for _ in range(2):
            soak.send_bad_command()
            soak.spin(1.2)
        soak.spin(PATIENCE, soak.settled)
        if turn % 2 == 0:
            soak.stop_camera(2.0)
        else:
            soak.spin(2.0)
        soak.cycle_lifecycle(1.5, late)
        soak.spin(PATIENCE, soak.settled)
        soak.say(prompt, present=False)
        soak.say(late, present=False)
        soak.spin(PATIENCE, soak.settled)
        turn += 1
    soak.diary.counts["turns"] = turn


def _errors(listener: Listener) -> dict[str, int]:
    """The node's own counts of refused messages, and of images that failed."""
    counts: dict[str, int] = {}
    for name, values in listener.diagnostics.items():
        if name.endswith("tracker"):
            counts |= {key: int(value) for key, value in values.items() if key.startswith("errors: ")}
        elif "failed" in values:
            counts["failed images"] = counts.get("failed images", 0) + int(values["failed"])
    return counts


def _report(
    diary: Diary,
    began: float,
    ended: float,
    errors: dict[str, int],
    sent: dict[str, Any],
    traceback: bool,
    status: int,
    options: Options,
) -> Result:
    times, memory = np.array([s for s in diary.samples if began <= s[0] <= ended]).T
    early, late = began + (ended - began) / 2, ended - (ended - began) / 4
    growth = float(memory[times >= late].max() - memory[times < early].max())
    latency = np.array([item[2] for item in diary.results])
    counts = diary.counts
    checks = [
        Check(
            f"zero lost prompts of {counts['prompts']} and {counts['removals']} removals",
            not diary.lost,
            "; ".join(diary.lost[:3]) or "all taken",
        ),
        Check(
            f"zero wrong headers in {len(diary.results)} results",
            not diary.faults["wrong headers"],
            "; ".join(diary.examples[:2]) or "each result and mask has its image's header",
        ),
        Check(
            "results in order, none while inactive, back after every stop and activation",
            not any(v for k, v in diary.faults.items() if k != "wrong headers"),
            ", ".join(f"{v} {k}" for k, v in diary.faults.items()) or "yes",
        ),
        Check(
            f"each of {counts['malformed commands']} malformed commands refused and counted",
            errors.get("errors: command", 0) == counts["malformed commands"],
            f"{errors.get('errors: command', 0)} in diagnostics",
        ),
        Check(
            "the node ends cleanly and logs no traceback",
            status == 0 and not traceback,
            f"status {status}" + (", traceback in the log" if traceback else ""),
        ),
    ]
    if not options.smoke:
        checks.append(
            Check(
                f"memory in the last quarter at most {GROWTH_MB:.0f} MB above the first half's",
                growth < GROWTH_MB,
                f"{growth:+.1f} MB, highest against highest",
            )
        )
    away = counts["seen while away"] + counts["not seen while away"]
    p50, p95, p99 = np.percentile(latency, (50, 95, 99))
    rows = [
        ["seconds", f"{ended - began:.0f}"],
        ["images sent, and malformed ones", f"{sum(sent['sent'].values())}, {sent['malformed']}"],
        ["results", str(len(diary.results))],
        ["prompts, removals", f"{counts['prompts']}, {counts['removals']}"],
        ["prompt until its first result, median / worst s", _pair(diary.answers)],
        ["camera stops, life cycles", f"{counts['camera stops']}, {counts['life cycles']}"],
        ["latency p50 / p95 / p99 ms", f"{p50:.0f} / {p95:.0f} / {p99:.0f}"],
        ["memory at the end MB, growth", f"{memory[-1]:.0f}, {growth:+.1f}"],
        ["the steady object's box, median IoU", f"{np.median(diary.overlaps or [np.nan]):.2f}"],
        ["wrongly seen while away", f"{counts['seen while away']} of {away} results"],
    ]
    notes = [
        f"Two cameras of {SIZE[1]}x{SIZE[0]} at 15 images/s, every 20th image malformed; "
        f'"{STEADY.prompt}" all the time (it leaves the picture every {STEADY.period:.0f} s), two more '
        "prompts in each turn of about ten seconds, the second said while the node is inactive.",
        "The box is compared with where the object was drawn at the result's own stamp.",
    ]
    data = {
        "seconds": ended - began,
        "counts": dict(counts),
        "faults": dict(diary.faults),
        "errors": errors,
        "sent": sent,
        "growth_mb": growth,
        "latency_ms": {"p50": p50, "p95": p95, "p99": p99},
        "curve": _curve(diary, began, ended),
    }
    return Result(data, {"": _draw(diary, began, ended)}, [("Soak", ["what", "found"], rows)], checks, notes)


def _pair(values: list[float]) -> str:
    return f"{np.median(values):.1f} / {max(values):.1f}" if values else "-"


def _curve(diary: Diary, began: float, ended: float) -> list[dict[str, float]]:
    """At most 60 points of time: memory, latency p50 and p95."""
    edges = np.linspace(began, ended, min(60, max(2, int(ended - began) // 2)) + 1)
    points = []
    for low, high in pairwise(edges):
        memory = [value for at, value in diary.samples if low <= at < high]
        latency = [item[2] for item in diary.results if low <= item[0] < high]
        points.append(
            {
                "second": float((low + high) / 2 - began),
                "memory_mb": float(np.median(memory)) if memory else float("nan"),
                "latency_p50_ms": float(np.median(latency)) if latency else float("nan"),
                "latency_p95_ms": float(np.percentile(latency, 95)) if latency else float("nan"),
                "results": len(latency),
            }
        )
    return points


def _draw(diary: Diary, began: float, ended: float) -> Any:
    figure, axes = new_figure(2, 1, (10.0, 5.0))
    curve = _curve(diary, began, ended)
    unit, name = (60.0, "minutes") if ended - began > 600 else (1.0, "seconds")
    at = [point["second"] / unit for point in curve]
    axes[0].plot(at, [point["memory_mb"] for point in curve], color=COLOURS[0])
    axes[0].set_ylabel("memory of the node, MB")
    axes[0].set_ylim(0, 1.1 * np.nanmax([point["memory_mb"] for point in curve]))
    axes[1].plot(at, [point["latency_p50_ms"] for point in curve], color=COLOURS[0], label="p50")
    axes[1].plot(at, [point["latency_p95_ms"] for point in curve], color=COLOURS[1], label="p95")
    axes[1].set_ylabel("image to masks, ms")
    axes[1].set_ylim(0, None)
    axes[1].set_xlabel(name)
    if len(diary.marks) < 60:
        for moment, what in diary.marks:
            colour = COLOURS[3] if what == "inactive" else COLOURS[4]
            for axis in axes:
                axis.axvline((moment - began) / unit, color=colour, linewidth=0.8, linestyle=":")
        for what, colour in (("node inactive", COLOURS[3]), ("camera stops", COLOURS[4])):
            axes[1].plot([], [], color=colour, linestyle=":", label=what)
    axes[1].legend(fontsize=8, ncols=4)
    return figure
