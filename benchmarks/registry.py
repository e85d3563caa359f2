"""The figures there are: a name, what it shows, what it needs, and about how long it takes."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Options:
    """How to run an entry.

    full: the figure's real size instead of the tiny one. smoke: a few seconds, for tests; its numbers mean
    nothing. device: "cpu" or "cuda", for the networks. threads: CPU threads of each network. only: parts of
    the entry by name; all if empty. clips: folders of annotated clips, for the accuracy tables, instead of
    the repository's own. earlier: a result as it was written, of which an entry that can keeps the parts
    that are not measured now.
    """

    full: bool = False
    smoke: bool = False
    device: str = "cpu"
    threads: int = 2
    only: tuple[str, ...] = ()
    clips: tuple[str, ...] = ()
    earlier: dict[str, Any] | None = None

    def choose(self, smoke: Any, tiny: Any, full: Any) -> Any:
        """The value for the size asked for."""
        return full if self.full else smoke if self.smoke else tiny


@dataclass(frozen=True)
class Check:
    """A promise that the entry's numbers must keep."""

    claim: str
    passed: bool
    found: str


@dataclass
class Result:
    """What an entry measured: plain data for JSON, figures by suffix, tables as (title, header, rows) for
    people, and the promises checked. notes: what a reader must know to read the numbers."""

    data: dict[str, Any]
    figures: dict[str, Figure] = field(default_factory=dict)
    tables: list[tuple[str, list[str], list[list[str]]]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Entry:
    """One figure. module: has `run(options) -> Result`. needs: modules without which it cannot run at all.
    minutes: about, tiny, on two quiet CPU cores. adds: it can keep parts of `Options.earlier`."""

    name: str
    title: str
    module: str
    minutes: float
    needs: tuple[str, ...] = ()
    adds: bool = False

    def missing(self) -> list[str]:
        """Modules it needs that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    def run(self, options: Options) -> Result:
        """Measure. The module is imported here: one entry's needs are not another's."""
        return importlib.import_module(self.module).run(options)


_ROS = ("rclpy", "uniref_ros")

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "table4_figure3",
            "Table 4 and Figure 3 of the paper: FPS and memory over 7,000 frames, ours and live peers",
            "benchmarks.efficiency.table4_figure3",
            7.6,
            ("torch", "matplotlib"),
        ),
        Entry(
            "table2_fusion",
            "Table 2: how words and masks are fused, parallel or one after the other",
            "benchmarks.accuracy.table2_fusion",
            3.0,
            ("torch", "matplotlib"),
        ),
        Entry(
            "table3_references",
            "Table 3: first frame, previous frame or both as references",
            "benchmarks.accuracy.table3_references",
            1.1,
            ("torch", "matplotlib"),
        ),
        Entry(
            "cpu_runtimes",
            "The shipped model on the runtimes of a CPU, alone and beside a busy program",
            "benchmarks.efficiency.cpu_runtimes",
            2.2,
            ("matplotlib",),
            adds=True,
        ),
        Entry(
            "network_work",
            "A frame of the network: arithmetic and time by graph, and what of it cannot be saved",
            "benchmarks.efficiency.network_work",
            0.7,
            ("onnx", "matplotlib"),
        ),
        Entry(
            "authors_order",
            "The authors' order of work beside ours by graph, and what of either cannot be saved",
            "benchmarks.efficiency.authors_order",
            1.7,
            ("torch", "timm", "onnx", "openvino", "matplotlib"),
        ),
        Entry(
            "known_objects",
            "Known objects: what looking for them and following them costs, beside words",
            "benchmarks.efficiency.known_objects",
            0.7,
            ("matplotlib",),
        ),
        Entry(
            "host_work",
            "The work beside the network, at 480p, 720p and 1080p, one to eight objects",
            "benchmarks.efficiency.host_work",
            0.5,
            ("matplotlib",),
        ),
        Entry(
            "gpu",
            "What a GPU is worth, part by part: stages against the roofline, host work, 7,000 frames",
            "benchmarks.efficiency.gpu",
            4.0,
            ("torch", "matplotlib"),
        ),
        Entry(
            "node_latency",
            "The ROS node: camera-to-mask latency by step, CPU and memory",
            "benchmarks.node.latency",
            1.5,
            (*_ROS, "matplotlib"),
            adds=True,
        ),
        Entry(
            "soak",
            "The ROS node under a camera, prompts, faults and life-cycle changes for an hour",
            "benchmarks.node.soak",
            1.1,
            (*_ROS, "matplotlib"),
        ),
        Entry(
            "console",
            "What browsers that look at the console cost the tracker: none, one, twenty",
            "benchmarks.node.console",
            3.0,
            (*_ROS, "matplotlib", "uvicorn", "websockets"),
        ),
        Entry(
            "respawn",
            "The ROS node killed with SIGKILL under a respawning supervisor",
            "benchmarks.node.respawn",
            0.4,
            (*_ROS, "matplotlib"),
        ),
        Entry(
            "follow_me",
            "A simulated robot follows a walking target for two minutes, loses it and finds it",
            "benchmarks.follow.follow_me",
            2.5,
            (*_ROS, "matplotlib"),
        ),
        Entry(
            "label_bags",
            "uniref label over many bags: two workers against one, processes and Ray; memory of a long run",
            "benchmarks.labelling.many_bags",
            3.0,
            ("rosbags", "pycocotools", "matplotlib"),
        ),
    )
}
