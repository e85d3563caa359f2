"""`uniref label` over many bags: two workers against one, processes and Ray, and the memory of a long run."""

from __future__ import annotations

import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from uniref_model.bags.library import new_message, rosbag2, types
from uniref_model.image_messages import image_fields
from uniref_model.video import open_source

from ..registry import Check, Options, Result
from ..results import COLOURS, new_figure

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 10
CONTENTS = 8
"""Different bags; the others are links to them."""
GROWTH = 1.1
"""By which the memory of the last third of a long run may exceed that of the second: pages that an allocator
keeps, not something that grows with every bag."""
SHORT = 2
"""Bags of a run that is nearly all start: what longer ones cost beyond it is labelling."""
MORE_CPU = 1.15
"""A frame may cost so many times the CPU with two workers."""
_PERIOD = 33_333_333  # ns

ARMS = {
    "one worker": ["--workers", "1"],
    "two workers": ["--workers", "2"],
    "Ray, two workers": ["--ray", "local", "--workers", "2"],
}


@dataclass
class Run:
    """One run of `uniref label`. seconds: all of it. rate: frames/s between the first and the last result.
    cpu: CPU seconds. cores: that it used, on the average. memory: (seconds, MB of all its
    processes)."""

    seconds: float
    rate: float
    cpu: float
    cores: float
    memory: list[tuple[float, float]] = field(default_factory=list)


def run(options: Options) -> Result:
    """Label bags, the arms in turns; then many bags in one run."""
    rounds, bags, many = options.choose((1, 3, 6), (2, 16, 60), (5, 40, 200))
    arms = {name: words for name, words in ARMS.items() if "Ray" not in name or _has_ray(options)}
    runs: dict[str, list[Run]] = {name: [] for name in arms}
    starts: dict[str, list[Run]] = {name: [] for name in arms if "Ray" not in name}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        size = _make_bags(folder, many)
        for turn in range(rounds):
            for name, words in arms.items():
                if name in starts:
                    starts[name].append(_label(folder, f"{turn} {name}, start", SHORT, words))
                runs[name].append(_label(folder, f"{turn} {name}", bags, words))
        long = _label(folder, "long", many, ARMS["two workers"], watch=True)
    return _report(runs, starts, long, many, size, bags)


def _has_ray(options: Options) -> bool:
    return not options.smoke and importlib.util.find_spec("ray") is not None


def _make_bags(folder: Path, count: int) -> int:
    """Bags of raw 640x480 images out of box.mp4: bags/000.mcap …; the bytes of one."""
    (folder / "bags").mkdir()
    video = iter(open_source(str(ROOT / "media" / "box.mp4")))
    made: list[Path] = []
    for number in range(min(CONTENTS, count)):
        frames = [next(video).image for _ in range(FRAMES)]
        made.append(_write_bag(folder / f"made{number}", frames))
    for number in range(count):
        os.link(made[number % len(made)], folder / "bags" / f"{number:03d}.mcap")
    return made[0].stat().st_size


def _write_bag(path: Path, frames: list[np.ndarray]) -> Path:
    library, kind = rosbag2(), "sensor_msgs/msg/Image"
    with library.Writer(path, version=9, storage_plugin=library.StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/image", kind, typestore=types())
        for index, frame in enumerate(frames):
            message = new_message(kind, **image_fields(frame, "rgb8"))
            message.header.stamp.nanosec = index * _PERIOD
            writer.write(connection, index * _PERIOD, types().serialize_cdr(message, kind))
    return next(path.glob("*.mcap"))


def _label(folder: Path, name: str, bags: int, words: list[str], *, watch: bool = False) -> Run:
    job = folder / f"{name}.yaml"
    names = [{"files": f"bags/{number:03d}.mcap"} for number in range(bags)]
    wanted = {"out": name, "write": ["masks", "json"], "prompts": ["the yellow box"], "sources": names}
    job.write_text(yaml.safe_dump(wanted), encoding="utf-8")
    command = [sys.executable, "-m", "uniref_model.cli", "label", str(job), "--quiet", *words]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    environment.pop("OMP_NUM_THREADS", None)  # the workers share the cores as they do for everybody
    begun, before = time.monotonic(), _cpu()
    memory: list[tuple[float, float]] = []
    with (folder / "label.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        while process.poll() is None:
            if watch:
                memory.append((time.monotonic() - begun, _memory_mb(process.pid)))
            time.sleep(0.25 if watch else 0.05)
    if process.returncode:
        raise RuntimeError(
            f"uniref label ended with {process.returncode}: {(folder / 'label.log').read_text()}"
        )
    seconds, cpu = time.monotonic() - begun, _cpu() - before
    times = sorted(path.stat().st_mtime for path in (folder / name / "tasks").glob("*/result.json"))
    rate = FRAMES * (len(times) - 1) / max(times[-1] - times[0], 1e-9)
    return Run(seconds, rate, cpu, cpu / seconds, memory)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory_mb(pid: int) -> float:
    """Resident memory of a process and all that it started."""
    total, waiting = 0.0, [pid]
    while waiting:
        one = waiting.pop()
        try:
            pages = int(Path(f"/proc/{one}/statm").read_text().split()[1])
            waiting += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:
            continue
        total += pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return total


def _report(
    runs: dict[str, list[Run]], starts: dict[str, list[Run]], long: Run, many: int, size: int, bags: int
) -> Result:
    one = runs["one worker"]
    rows, ratios, frame_cpu = [], {}, {}
    for name, group in runs.items():
        ratio = [run.rate / base.rate for run, base in zip(group, one, strict=True)]
        ratios[name] = float(np.median(ratio))
        row = [name, f"{np.median([run.rate for run in group]):.1f}"]
        row.append(f"{ratios[name]:.2f} ({min(ratio):.2f} to {max(ratio):.2f})")
        if name in starts:
            begun = float(np.median([run.cpu for run in starts[name]]))
            frame_cpu[name] = (float(np.median([run.cpu for run in group])) - begun) / (
                FRAMES * (bags - SHORT)
            )
            row += [
                f"{np.median([run.cores for run in group]):.2f}",
                f"{1000 * frame_cpu[name]:.0f}",
                f"{begun:.1f}",
            ]
        rows.append(row + [""] * (6 - len(row)))
    second, last = _thirds(long.memory)
    dearer = frame_cpu["two workers"] / frame_cpu["one worker"]
    checks = [
        Check(
            f"a frame costs at most {MORE_CPU} times the CPU with two workers",
            dearer <= MORE_CPU,
            f"{dearer:.2f} times",
        ),
        Check(
            f"the memory of {many} bags in one run is that of its middle third",
            last <= GROWTH * second,
            f"{second:.0f} MB at most in the second third, {last:.0f} MB in the last",
        ),
    ]
    notes = [
        f"Each run labels {bags} bags of {FRAMES} raw images of 640x480 ({size / 1e6:.1f} MB), the arms in "
        "turns. frames/s are those between the first and the last result; ratio: to one worker in the same "
        "turn. One worker uses all cores by threads, two workers one each.",
        f"CPU a frame is what a run costs beyond one of {SHORT} bags, which is nearly all start (its CPU "
        "stands beside it). Where other programs took the cores, the arms did not get as many (cores used): "
        "then CPU a frame can be compared, frames/s cannot. Ray's workers are no children of the command: "
        "their CPU is not known.",
        f"The long run: {many} bags, {many * size / 1e9:.2f} GB, {long.rate:.1f} frames/s, "
        f"{long.rate * size / FRAMES / 1e6:.0f} MB/s of bags; memory is that of all its processes.",
    ]
    header = ["", "frames/s", "ratio", "cores used", "CPU ms a frame", "CPU s to start"]
    data: dict[str, Any] = {
        "runs": {
            name: [{"seconds": r.seconds, "rate": r.rate, "cpu": r.cpu, "cores": r.cores} for r in group]
            for name, group in runs.items()
        },
        "ratio_to_one_worker": ratios,
        "cpu_seconds_a_frame": frame_cpu,
        "long": {"bags": many, "bytes_each": size, "rate": long.rate, "memory_mb": long.memory},
    }
    return Result(data, {"": _draw(runs, ratios, long)}, [("Labelling bags", header, rows)], checks, notes)


def _thirds(memory: list[tuple[float, float]]) -> tuple[float, float]:
    """The most in the second and in the last third of the time, MB."""
    end = memory[-1][0]
    parts = [
        [mb for at, mb in memory if low * end <= at <= high * end]
        for low, high in ((1 / 3, 2 / 3), (2 / 3, 1))
    ]
    return max(parts[0]), max(parts[1])


def _draw(runs: dict[str, list[Run]], ratios: dict[str, float], long: Run) -> Any:
    figure, (left, right) = new_figure(1, 2, (9.0, 3.2))
    for place, (name, group) in enumerate(runs.items()):
        values = [run.rate for run in group]
        left.bar(place, np.median(values), 0.6, color=COLOURS[place])
        left.plot([place] * len(values), values, "o", color="#222222", markersize=3)
        left.annotate(
            f"x{ratios[name]:.2f}", (place, np.median(values)), ha="center", va="bottom", fontsize=9
        )
    left.set_xticks(range(len(runs)), list(runs), fontsize=8)
    left.set_ylabel("frames/s")
    right.plot(*zip(*long.memory, strict=True), color=COLOURS[0])
    right.set_ylim(0)
    right.set_xlabel("s")
    right.set_ylabel("MB, all processes")
    right.set_title(
        f"{long.rate:.0f} frames/s over {len(long.memory) and long.memory[-1][0]:.0f} s", fontsize=9
    )
    return figure
