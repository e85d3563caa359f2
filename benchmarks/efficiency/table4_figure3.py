"""Table 4 and Figure 3 of the paper's supplement, redrawn with live peers, and cost over objects.

One object, thousands of frames: methods with a memory bank slow down and grow, ours must not. Then 1, 2, 4,
8, 16 objects: a frame costs E + M * objects.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..registry import Check, Options, Result
from ..results import COLOURS, new_figure
from .contenders import ABOUT, About, choose
from .worker import Stretch, Worker

WARM_UP = 20
"""Frames not counted: sessions are made and caches filled in them."""
FLAT = 0.05
"""How much the last tenth may differ from the first for a line to be called flat, once the machine's own
drift is divided out (see `Line.fresh`)."""
POINTS = 24
"""Most points of a line that are kept and drawn."""
CONTROL_FRAMES = 50
"""Most frames of a control in a turn."""
TABLE_4 = (("YouTube-VOS18", 27, 2), ("LVOS", 574, 1))
"""The paper's two data sets: mean frames, and mean objects (1.9 and 1.3) to the nearest number there is."""
PAPER = {"YouTube-VOS18": {"STCN": 13.2, "UniRef": 10.5}, "LVOS": {"STCN": 4.8, "UniRef": 19.3}}


@dataclass
class Plan:
    """How much of everything. frames: by contender, stepped one by one; `horizon`: where memories that grow
    are carried forward to; seconds: most a contender may take for its frames."""

    size: tuple[int, int]
    onnx_size: tuple[int, int]
    frames: dict[str, int]
    horizon: int
    points: int
    point_frames: int
    objects: tuple[int, ...]
    object_frames: int
    object_seconds: float
    rounds: int
    seconds: float
    warm_up: int = WARM_UP


SMOKE = Plan((64, 128), (192, 320), dict.fromkeys(ABOUT, 8), 40, 2, 1, (1, 2), 2, 2.0, 2, 10.0, warm_up=2)
TINY = Plan(
    (128, 192),
    (192, 320),
    {"nano_onnx": 7000, "nano_torch": 600, "r50_torch": 40, "stcn": 200, "cutie": 240, "deaot": 200},
    7000,
    5,
    4,
    (1, 2, 4, 8, 16),
    8,
    2.0,
    70,
    40.0,
)
FULL = Plan(
    (512, 896), (256, 448), dict.fromkeys(ABOUT, 7000), 7000, 0, 0, (1, 2, 4, 8, 16), 100, 60.0, 70, 1e9
)


@dataclass
class Line:
    """One contender over frames. stretches: stepped one by one. jumps: after its memory was carried forward.
    start_mb: before the first frame. fresh: frames of a control in the first and in the last tenth: the same
    contender in another process, which begins its video anew in every turn and so knows only the machine's
    drift, not the length of the video."""

    about: About
    size: tuple[int, int]
    start_mb: float = 0.0
    stretches: list[Stretch] = field(default_factory=list)
    jumps: list[Stretch] = field(default_factory=list)
    fresh: tuple[list[Stretch], list[Stretch]] = field(default_factory=lambda: ([], []))

    def drift(self) -> float:
        """By how much the machine changed from the first tenth to the last: the control's medians, as a
        ratio. 1 where no control ran."""
        if not all(self.fresh):
            return 1.0
        first, last = (np.median(_join(part).wall_ms) for part in self.fresh)
        return float(last / first)

    def warm_up(self, wanted: int) -> int:
        """Frames not counted: fewer where a slow machine stepped only a few."""
        return min(wanted, sum(len(stretch.wall_ms) for stretch in self.stretches) // 3)

    def counted(self, warm_up: int) -> list[Stretch]:
        """The stretches stepped one by one, joined to `POINTS` at most; without those of the warm-up alone,
        where any are left."""
        each = math.ceil(len(self.stretches) / POINTS)
        joined = [_join(self.stretches[at : at + each]) for at in range(0, len(self.stretches), each)]
        return [s for s in joined if s.first + len(s.wall_ms) - 1 > warm_up] or joined

    def series(self, warm_up: int) -> tuple[np.ndarray, np.ndarray]:
        """Wall and CPU milliseconds of every frame stepped one by one, without the warm-up."""
        warm_up = self.warm_up(warm_up)
        whole = _join(self.stretches)
        return np.array(whole.wall_ms[warm_up:]), np.array(whole.cpu_ms[warm_up:])


def run(options: Options) -> Result:
    """Measure and draw."""
    plan: Plan = options.choose(SMOKE, TINY, FULL)
    there, absent = choose(options.only or list(ABOUT))
    if options.full and options.device == "cpu":
        there = [item for item in there if item.key != "r50_torch"]  # 7,000 frames of it take a day
    with ExitStack() as stack:

        def enter(item: About) -> Worker:
            size = plan.onnx_size if item.key == "nano_onnx" else plan.size
            return stack.enter_context(Worker(item.key, size, options.device, options.threads))

        workers = {item.key: enter(item) for item in there}
        controls = {item.key: enter(item) for item in there if item.must_be_flat}
        for worker in (*workers.values(), *controls.values()):
            worker.ready()
        lines = _over_frames(plan, workers, controls)
        sweep = _over_objects(plan, workers)
    return _report(plan, lines, sweep, absent, options)


def _over_frames(plan: Plan, workers: dict[str, Worker], controls: dict[str, Worker]) -> dict[str, Line]:
    """Take turns, `rounds` stretches each, until every contender has had its frames or its time. The controls
    run beside theirs in the first and the last tenth of the turns."""
    lines = {key: Line(ABOUT[key], worker.size) for key, worker in workers.items()}
    left = {key: plan.seconds * (8 if key.startswith("nano") else 1) for key in workers}
    for key, worker in workers.items():
        lines[key].start_mb = worker.start(1)
    tenth = max(1, plan.rounds // 10)
    for turn in range(plan.rounds):
        for key, worker in workers.items():
            share = plan.frames[key] * (turn + 1) // plan.rounds - plan.frames[key] * turn // plan.rounds
            if share and left[key] > 0:
                began = time.monotonic()
                lines[key].stretches.append(worker.run(share, left[key]))
                left[key] -= time.monotonic() - began
                if key in controls and not tenth <= turn < plan.rounds - tenth:
                    part = lines[key].fresh[turn >= plan.rounds - tenth]
                    part.append(_fresh(controls[key], min(share, CONTROL_FRAMES), plan))
    for key, worker in workers.items():
        done = sum(len(stretch.wall_ms) for stretch in lines[key].stretches)
        for point in range(1, plan.points + 1):
            target = done + (plan.horizon - done) * point // plan.points
            reached = _reached(lines[key])
            if target <= reached or not worker.forward(target - reached):
                break
            worker.run(1, plan.seconds)  # not counted: the new memory is touched for the first time
            lines[key].jumps.append(worker.run(plan.point_frames, plan.seconds))
    return lines


def _fresh(control: Worker, frames: int, plan: Plan) -> Stretch:
    control.start(1)
    control.run(2, plan.seconds)  # not counted: a new video's references are made
    return control.run(frames, plan.seconds)


def _join(stretches: list[Stretch]) -> Stretch:
    """Stretches one after the other as one."""
    wall, cpu = ([ms for s in stretches for ms in getattr(s, name)] for name in ("wall_ms", "cpu_ms"))
    return Stretch(stretches[0].first, wall, cpu, stretches[-1].memory_mb)


def _reached(line: Line) -> int:
    last = (line.jumps or line.stretches)[-1]
    return last.first + len(last.wall_ms)


def _over_objects(plan: Plan, workers: dict[str, Worker]) -> dict[str, dict[int, float]]:
    """Median milliseconds a frame by number of objects, taking turns. The first frames are not counted."""
    sweep: dict[str, dict[int, float]] = {key: {} for key in workers}
    for count in plan.objects:
        for key, worker in workers.items():
            if sweep[key] and max(sweep[key].values()) > 1e3 * plan.object_seconds:
                continue  # a frame of even more objects would take too long here
            worker.start(count)
            worker.run(2, plan.object_seconds / 2)
            stretch = worker.run(plan.object_frames, plan.object_seconds)
            sweep[key][count] = float(np.median(stretch.wall_ms))
    return sweep


def fit(points: dict[int, float]) -> tuple[float, float]:
    """(E, M) of ms = E + M * objects: least squares of the relative errors, so that 16 objects do not
    decide alone."""
    counts, times = np.array(list(points)), np.array(list(points.values()))
    design = np.stack([np.ones_like(times), counts], 1) / times[:, None]
    (fixed, each), *_ = np.linalg.lstsq(design, np.ones_like(times), rcond=None)
    return float(fixed), float(each)


def _tenths(values: np.ndarray) -> tuple[float, float]:
    """Medians of the first and the last tenth."""
    part = max(1, len(values) // 10)
    return float(np.median(values[:part])), float(np.median(values[-part:]))


def _report(
    plan: Plan,
    lines: dict[str, Line],
    sweep: dict[str, dict[int, float]],
    absent: list[About],
    options: Options,
) -> Result:
    data: dict[str, Any] = {"plan": vars(plan), "lines": {}, "objects": {}}
    rows, checks = [], []
    for key, line in lines.items():
        wall, cpu = line.series(plan.warm_up)
        first, last = _tenths(wall)
        ratio_cpu = np.divide(*reversed(_tenths(cpu)))
        end = (line.jumps or line.stretches)[-1]
        end_ms = float(np.median(end.wall_ms)) if line.jumps else last
        memory = end.memory_mb - line.start_mb
        steady = [s for s in line.stretches if s.first > plan.warm_up] or line.stretches
        growth = end.memory_mb - steady[0].memory_mb
        data["lines"][key] = _as_data(line, plan.warm_up) | {
            "first_tenth_ms": first,
            "last_tenth_ms": last,
            "last_over_first": last / first,
            "last_over_first_cpu": ratio_cpu,
            "machine_drift": line.drift(),
            "ms_at_end": end_ms,
            "frames_at_end": _reached(line) - 1,
            "memory_growth_mb": growth,
        }
        rows.append(
            [
                line.about.title,
                f"{line.size[0]}x{line.size[1]}",
                f"{len(wall) + line.warm_up(plan.warm_up)}",
                f"{1e3 / first:.1f}",
                f"{1e3 / end_ms:.1f}" + (f" (at {_reached(line) - 1})" if line.jumps else ""),
                f"{memory:+.0f}",
            ]
        )
        if line.about.must_be_flat and not options.smoke:
            checks += _flatness(line, wall, last / first, growth, plan)
        if line.about.memory == "growing" and not options.smoke:
            checks.append(
                Check(
                    f"the memory bank's slope is visible: {line.about.title}",
                    end_ms > 1.1 * first and growth > 1.0,
                    f"{first:.0f} ms a frame at first, {end_ms:.0f} at frame {_reached(line) - 1}, "
                    f"{growth:+.0f} MB",
                )
            )
    fits = {key: fit(points) for key, points in sweep.items()}
    data["objects"] = {key: {"ms": sweep[key], "E_ms": fits[key][0], "M_ms": fits[key][1]} for key in sweep}
    header = ["method", "size", "frames stepped", "FPS first tenth", "FPS at the end", "memory MB"]
    tables = [("One object, over time (Figure 3)", header, rows), _objects_table(sweep, fits)]
    if "stcn" in lines:
        table, data["table4"] = _table_4(lines, sweep, plan)
        tables.append(table)
    return Result(
        data,
        {"": _draw_frames(lines, plan), "objects": _draw_objects(sweep, fits)},
        tables,
        checks,
        _notes(plan, lines, absent),
    )


def _as_data(line: Line, warm_up: int) -> dict[str, Any]:
    """Medians of stretches, `POINTS` at most."""

    def point(stretch: Stretch) -> dict[str, float]:
        skip = max(0, min(warm_up - stretch.first + 1, len(stretch.wall_ms) - 1))
        wall = np.array(stretch.wall_ms[skip:])
        return {
            "frame": stretch.first + (len(stretch.wall_ms) + skip) / 2,
            "ms_p50": float(np.median(wall)),
            "ms_p95": float(np.percentile(wall, 95)),
            "ms_p99": float(np.percentile(wall, 99)),
            "cpu_ms_p50": float(np.median(stretch.cpu_ms[skip:])),
            "memory_mb": stretch.memory_mb - line.start_mb,
        }

    about = {name: getattr(line.about, name) for name in ("title", "weights", "memory", "package", "licence")}
    return {
        **about,
        "size": line.size,
        "start_mb": line.start_mb,
        "stepped": [point(stretch) for stretch in line.counted(warm_up)],
        "carried_forward": [point(stretch) for stretch in line.jumps],
    }


def _flatness(line: Line, wall: np.ndarray, ratio: float, growth: float, plan: Plan) -> list[Check]:
    wanted = plan.frames[line.about.key]
    change = ratio / line.drift() - 1
    found = (
        f"{change:+.1%} over {len(wall)} frames; by the clock {ratio - 1:+.1%}, where the same network "
        f"on a video begun anew in every turn changed by {line.drift() - 1:+.1%}"
    )
    enough = len(wall) + plan.warm_up >= wanted
    return [
        Check(
            f"flat in time, last tenth within {FLAT:.0%} of the first: {line.about.title}",
            enough and abs(change) <= FLAT,
            found if enough else f"{found}; stopped before {wanted}, this machine is too slow or too busy",
        ),
        Check(
            f"flat in memory, within 5 MB after the warm-up: {line.about.title}",
            growth <= 5.0,
            f"{growth:+.1f} MB",
        ),
    ]


def _objects_table(sweep: dict[str, dict[int, float]], fits: dict[str, tuple[float, float]]):
    counts = sorted({count for points in sweep.values() for count in points})
    rows = [
        [
            ABOUT[key].title,
            *(f"{points[count]:.0f}" if count in points else "-" for count in counts),
            f"{fits[key][0]:.0f}",
            f"{fits[key][1]:.1f}",
        ]
        for key, points in sweep.items()
    ]
    return "ms a frame by objects, as E + M n", ["method", *map(str, counts), "E", "M"], rows


def _table_4(lines: dict[str, Line], sweep: dict[str, dict[int, float]], plan: Plan):
    """Mean FPS over the paper's mean clip: our frames at one object, scaled to more by the sweep."""
    rows, data = [], {}
    for name, frames, objects in TABLE_4:
        paper = PAPER[name]
        row = [f"{name}: {frames} frames, {objects} object(s)"]
        for key, line in lines.items():
            milliseconds = _mean_ms(line, frames, plan.warm_up)
            milliseconds *= sweep[key].get(objects, np.nan) / sweep[key][1]
            data.setdefault(name, {})[key] = 1e3 / milliseconds
            row.append(f"{1e3 / milliseconds:.1f}")
        rows.append([*row, f"{paper['STCN']} / {paper['UniRef']}"])
    header = ["mean clip", *(line.about.title for line in lines.values()), "paper: STCN / UniRef (A100)"]
    return ("Table 4: mean FPS over a clip of the paper's mean length", header, rows), data


def _mean_ms(line: Line, frames: int, warm_up: int) -> float:
    """Mean over frames 1 to `frames`, interpolated between the stretches."""
    stretches = [*line.counted(warm_up), *line.jumps]
    middles, medians = [], []
    for stretch in stretches:
        skip = max(0, min(warm_up - stretch.first + 1, len(stretch.wall_ms) - 1))
        middles.append(stretch.first + (len(stretch.wall_ms) + skip) / 2)
        medians.append(float(np.median(stretch.wall_ms[skip:])))
    return float(np.interp(np.arange(1, frames + 1), middles, medians).mean())


def _draw_frames(lines: dict[str, Line], plan: Plan) -> Any:
    figure, axes = new_figure(1, 3, (12.0, 4.2))
    for (key, line), colour in zip(lines.items(), _colours(lines), strict=True):
        points = _as_data(line, plan.warm_up)
        stepped, jumped = points["stepped"], points["carried_forward"]
        base = _tenths(line.series(plan.warm_up)[0])[0]
        size = f"{line.size[0]}x{line.size[1]}"
        label = f"{line.about.title}, {size}"
        for axis, value in (
            (axes[0], lambda p: 1e3 / p["ms_p50"]),
            (axes[1], lambda p, base=base: base / p["ms_p50"]),
            (axes[2], lambda p: p["memory_mb"]),
        ):
            x, y = [p["frame"] for p in stepped], [value(p) for p in stepped]
            width = 2.2 if line.about.ours else 1.5
            axis.plot(x, y, color=colour, linewidth=width, label=label, zorder=3 if key[:4] == "nano" else 2)
            if jumped:
                x = [x[-1], *(p["frame"] for p in jumped)]
                y = [y[-1], *(value(p) for p in jumped)]
                axis.plot(x, y, color=colour, linewidth=1.2, linestyle=":", marker="o", mfc="white", ms=4)
    titles = ("frames a second", "speed against its own first tenth", "memory above its start, MB")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("processed frames, one object")
        axis.set_xlim(0, None)
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes[0].yaxis.set_minor_formatter(lambda value, _: "")
    axes[1].set_ylim(0, 1.25)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=8)
    return figure


def _draw_objects(sweep: dict[str, dict[int, float]], fits: dict[str, tuple[float, float]]) -> Any:
    figure, axis = new_figure(1, 1, (7.0, 4.4))
    for (key, points), colour in zip(sweep.items(), _colours(sweep), strict=True):
        fixed, each = fits[key]
        counts = np.linspace(1, max(points), 100)
        label = f"{ABOUT[key].title}: {fixed:.0f} + {each:.1f} n ms"
        axis.plot(list(points), list(points.values()), "o", color=colour, ms=5)
        axis.plot(counts, np.maximum(fixed + each * counts, 1e-3), color=colour, label=label)
    axis.set_xlabel("objects n")
    axis.set_ylabel("ms a frame")
    axis.set_yscale("log")
    axis.set_xscale("log", base=2)
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_formatter(lambda value, _: f"{value:g}")
        scale.set_minor_formatter(lambda value, _: "")
    axis.legend(fontsize=8)
    return figure


def _colours(keys: Any) -> list[str]:
    fixed = dict(zip(ABOUT, COLOURS, strict=False))
    return [fixed[key] for key in keys]


def _notes(plan: Plan, lines: dict[str, Line], absent: list[About]) -> list[str]:
    notes = [
        f"Every frame is {plan.size[0]}x{plan.size[1]}, float32, one contender at a time in turns of a few "
        f"frames, each in a process of its own; the first {plan.warm_up} frames are not counted.",
        "Peers and UniRef R50 have random weights, which changes neither speed nor memory; UniRef nano is a "
        "far smaller network (5.9 M parameters) than its peers (STCN 54 M, Cutie 35 M, DeAOT-L 20 M): "
        "compare slopes with it, and speed with UniRef R50, which is the paper's network (82 M).",
        "Ours runs through Tracker.step with every object seen in every frame, its most expensive case.",
    ]
    if "nano_onnx" in lines:
        height, width = plan.onnx_size
        notes.append(f"UniRef nano's ONNX graphs have a fixed size: its frames are {height}x{width}.")
    if any(line.jumps for line in lines.values()):
        notes.append(
            "Dotted with open marks: the peer's memory was filled with as many entries as those frames would "
            "leave (its last entry, repeated), and some frames were then stepped; --full steps them all."
        )
    if any(line.about.must_be_flat for line in lines.values()):
        notes.append(
            "Flat in time: last tenth against first tenth, divided by what a control changed meanwhile. The "
            "control is the same network in another process, beside it in the turns of both tenths. It "
            "begins its video anew in every turn, so it knows only the machine's drift."
        )
    for item in absent:
        notes.append(f"{item.title} is missing: the package of module {item.package!r} is not installed.")
    return notes
