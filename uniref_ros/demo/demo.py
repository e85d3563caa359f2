"""`make demo`: the tracker node and a video player as real processes, a prompt over a topic, and a record of
the result."""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from sensor_msgs.msg import Image
from std_msgs.msg import String

from uniref_model.errors import SourceError
from uniref_model.stopping import stopped_as_by_a_person
from uniref_model.tracking.message_fields import STATE_NAMES
from uniref_ros.conversion import to_rgb
from uniref_ros.demo.processes import DemoError, Process, quoted
from uniref_ros.demo.report import Figures, OverlayVideo, Summary
from uniref_ros.msg import TrackedObjectArray
from uniref_ros.video_player import Video

_START_TIMEOUT = 120.0  # s for the node to load its model
_QUIET = 3.0  # s without a result, after the video's end, until the demo is over
_WARM = 20  # images after which every buffer of the node exists, so that its memory should stay as it is
_VIDEO_RATE = 30.0  # frames/s of the overlay video when the source does not say


class Witness(Node):
    """Publishes the prompt, listens to the results and notes them down."""

    def __init__(self, figures: Figures, video: OverlayVideo, started: float) -> None:
        super().__init__("demo")
        self.figures = figures
        self.last = ""
        """The last result in words."""
        self.last_time = time.monotonic()
        self._video = video
        self._started = started
        self._prompt = self.create_publisher(String, "tracker/prompt", 10)
        self.create_subscription(
            TrackedObjectArray, "tracker/objects", self._on_objects, QoSProfile(depth=100)
        )
        self.create_subscription(Image, "tracker/overlay", self._on_overlay, QoSProfile(depth=10))

    @property
    def tracker_listens(self) -> bool:
        """Whether the tracker node can hear a prompt."""
        return self._prompt.get_subscription_count() > 0

    def say(self, prompt: str) -> None:
        """Publish the prompt."""
        self._prompt.publish(String(data=prompt))

    def _on_objects(self, message: TrackedObjectArray) -> None:
        figures, self.last_time = self.figures, time.monotonic()
        item = message.objects[0] if message.objects else None
        state = STATE_NAMES.get(item.state, "unknown") if item else "none"
        figures.states.append(state)
        figures.scores.append(item.score if item else 0.0)
        figures.totals.append(message.total_ms)
        figures.times.append(self.last_time)
        figures.dropped = message.frames_dropped
        if message.age_ms >= 0:
            figures.ages.append(message.age_ms)
        if state == "tracked" and figures.first_tracked_after is None:
            figures.first_tracked_after = time.time() - self._started
        recent = figures.times[-20:]
        rate = (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 else 0.0
        self.last = (
            f"{state:9s} score {figures.scores[-1]:.2f}  {rate:4.1f} images/s  {message.age_ms:4.0f} ms"
        )

    def _on_overlay(self, message: Image) -> None:
        stamp = message.header.stamp
        bgr = cv2.cvtColor(to_rgb(message), cv2.COLOR_RGB2BGR)
        self._video.add(stamp.sec + stamp.nanosec * 1e-9, np.ascontiguousarray(bgr))


def run(arguments: argparse.Namespace, console: Console) -> Summary:
    """Run the demo. Raises DemoError or SourceError."""
    source = Video(arguments.video)  # a bad source should be said before anything is started
    frames = source.frames
    source.close()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    video = OverlayVideo(out / "overlay.mp4", source.rate or _VIDEO_RATE)
    witness = Witness(Figures(arguments.prompt), video, arguments.started)
    with contextlib.ExitStack() as stack:
        stack.callback(video.close)  # after the children, whatever ends this: as far as it came it is whole
        stack.callback(witness.destroy_node)
        console.print(f"[4/5] starting the tracker node (model {arguments.model})", markup=False)
        options = ["-p", f"model:={arguments.model}", "-p", f"runtime:={arguments.runtime}"]
        if arguments.size:
            options += ["-p", f"size:={arguments.size}"]
        tracker = Process("tracker", "uniref_ros.tracker_node", options, out)
        stack.callback(tracker.stop)
        _wait_for_tracker(witness, tracker)
        witness.say(arguments.prompt)
        console.print(f'[5/5] playing {arguments.video}, looking for "{arguments.prompt}"', markup=False)
        playing = ["-p", f"source:={quoted(arguments.video)}", "-p", "wait_for_subscribers:=1"]
        player = Process("video_player", "uniref_ros.video_player", playing, out)
        stack.callback(player.stop)
        _watch(witness, tracker, player, frames, console)
        witness.figures.memory_end_mb = tracker.memory_mb
    sheet = video.contact_sheet()
    if sheet is not None:
        cv2.imwrite(str(out / "contact_sheet.png"), sheet)
    summary = witness.figures.summary()
    summary.write(out / "summary.json")
    return summary


def _wait_for_tracker(witness: Witness, tracker: Process) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not witness.tracker_listens:
        rclpy.spin_once(witness, timeout_sec=0.05)
        tracker.check()
        if not tracker.running or time.monotonic() > deadline:
            raise DemoError(
                f"the tracker node did not get ready in {_START_TIMEOUT:.0f} s, see {tracker.log}"
            )


def _watch(witness: Witness, tracker: Process, player: Process, frames: int, console: Console) -> None:
    """Listen until the video is over, showing progress: a bar on a terminal, else a line every two
    seconds."""
    columns = (TextColumn("image"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"))
    line_due = 0.0
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("waiting for the first image", total=frames or None)
        while player.running or time.monotonic() - witness.last_time < _QUIET:
            rclpy.spin_once(witness, timeout_sec=0.1)
            tracker.check()
            player.check()
            figures = witness.figures
            if witness.last:
                progress.update(
                    task, completed=len(figures.states) + figures.dropped, description=witness.last
                )
            if len(figures.states) >= _WARM and not figures.memory_start_mb:
                figures.memory_start_mb = tracker.memory_mb
            if not console.is_terminal and witness.last and time.monotonic() > line_due:
                console.print(
                    f"  image {len(figures.states) + figures.dropped}: {witness.last}", highlight=False
                )
                line_due = time.monotonic() + 2.0


def show(summary: Summary, out: Path, console: Console) -> None:
    """Print the summary."""
    table = Table(title=f'"{summary.prompt}"', show_header=False)
    rows = {
        "images processed": f"{summary.images}, {summary.images_per_second:.1f} a second",
        "images dropped for newer ones": summary.dropped,
        "tracked, from when it was found": f"{summary.tracked_share:.0%} of the images",
        "images until found": summary.images_before_found,
        "mean score while tracked": f"{summary.mean_score:.2f}",
        "latency, image stamp to result": "p50 {} ms, p95 {} ms".format(*summary.age_ms_p50_p95),
        "latency, inside the node": "p50 {} ms, p95 {} ms".format(*summary.in_node_ms_p50_p95),
        f"memory, after {_WARM} images and at the end": "{} MB, {} MB".format(*summary.memory_mb_start_end),
    }
    if summary.first_tracked_after_s is not None:
        rows["from `make demo` to the first tracked image"] = f"{summary.first_tracked_after_s:.1f} s"
    for name, value in rows.items():
        table.add_row(name, str(value))
    console.print(table)
    console.print(
        f"written to {out}: overlay.mp4, contact_sheet.png, summary.json", highlight=False, soft_wrap=True
    )


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser of the demo's arguments."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--video", required=True, help="video file, or number of a camera device")
    parser.add_argument("--prompt", default="the yellow box", help="what to look for, in words")
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder for the results")
    parser.add_argument("--model", default="uniref_nano", help="model name or folder")
    parser.add_argument("--size", default="", help="model size, HEIGHTxWIDTH")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument(
        "--started", type=float, default=time.time(), help="when the command was typed, epoch seconds"
    )
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the demo; returns the exit status, 0 only when the object was tracked."""
    arguments = make_parser(__doc__).parse_args(args)
    console = Console()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)  # a stop is to end the children first
    try:
        with stopped_as_by_a_person():
            summary = run(arguments, console)
    except (DemoError, SourceError) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    finally:
        rclpy.try_shutdown()
    show(summary, arguments.out, console)
    if not summary.tracked:
        console.print("the object was not tracked in most images", style="red")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
