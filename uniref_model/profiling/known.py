"""What known objects cost: a frame in which they are looked for, and one in which they are followed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..known_objects import KnownObjects
from ..prompts import Prompt
from ..runtime import Runtime
from ..runtime.memory import resident_mb
from ..scene import boxes
from ..tracking import Tracker, TrackerConfig
from .figures import percentiles
from .latency import flatness
from .state import held_bytes

KNOWN, VIEWS, FOLLOWED = 10, 8, 3
BLOCK = 50
"""Frames in a row of one kind."""
CONTROL_EVERY = 5
WARM_UP = 50

_NEVER, _ALWAYS = 1.0, 0.0  # thresholds: looked for in every frame; seen in every frame


def run(
    runtime: Runtime,
    frames: int,
    shape: tuple[int, int],
    progress: Callable[[], None] = lambda: None,
    control_every: int = CONTROL_EVERY,
) -> dict[str, Any]:
    """FOLLOWED of KNOWN known objects of VIEWS views each, looked for in half of the frames and followed in
    the other half, turn by turn; beside them, in every `control_every`-th pair of blocks, the same objects by
    words alone, frame by frame in turn. Rows and times are of these blocks, so that whatever else the machine
    does meets both; how flat it is is of all frames.

    Returns: {"known", "views", "followed", "view_bytes", "frames", "rows": {kind: mean}, "ms": {kind:
    {p50, p95, p99}}, "flatness"}; kinds are "views, looked for", "views, followed" and the same of "words".
    """
    with tempfile.TemporaryDirectory() as folder, _counted(runtime) as rows:
        known = _teach(Path(folder), shape)
        trackers = {
            (name, state): _tracker(runtime, store, threshold)
            for name, store in (("views", known), ("words", None))
            for state, threshold in (("looked for", _NEVER), ("followed", _ALWAYS))
        }
        pictures, _ = boxes(FOLLOWED, shape)
        for tracker in trackers.values():
            for index in range(WARM_UP):
                tracker.step(pictures[index % len(pictures)])
        table = {name: np.zeros(frames, np.float32) for name in ("frame", "memory")}
        times: dict[str, list[float]] = {", ".join(kind): [] for kind in trackers}
        counts: dict[str, list[int]] = {kind: [] for kind in times}

        def step(kind: tuple[str, str], picture: np.ndarray, counted: bool) -> float:
            rows.clear()
            taken = trackers[kind].step(picture).timings["total"]
            if counted:
                times[", ".join(kind)].append(taken)
                counts[", ".join(kind)].append(sum(rows))
            return taken

        for index in range(frames):
            block, picture = index // BLOCK, pictures[index % len(pictures)]
            state = ("looked for", "followed")[block % 2]
            paired = block // 2 % control_every == 0
            table["frame"][index] = step(("views", state), picture, paired)
            table["memory"][index] = resident_mb()
            if paired:
                step(("words", state), picture, paired)
            progress()
        held = [target.known for target in trackers["views", "followed"]._targets.values()]
        size = held_bytes(view.reference for item in held for view in item.views)
    return {
        "known": KNOWN,
        "views": VIEWS,
        "followed": FOLLOWED,
        "view_bytes": size // (FOLLOWED * VIEWS),
        "frames": frames,
        "rows": {kind: round(float(np.mean(found)), 2) for kind, found in counts.items()},
        "ms": {kind: percentiles(found) for kind, found in times.items()},
        "flatness": flatness(table),
    }


def _teach(folder: Path, shape: tuple[int, int]) -> KnownObjects:
    known = KnownObjects(folder, max_views=VIEWS)
    pictures, masks = boxes(FOLLOWED, shape)
    for number in range(KNOWN):
        for view in range(VIEWS):
            known.teach(f"thing {number}", pictures[view % len(pictures)], masks[number % len(masks)])
    return known


def _tracker(runtime: Runtime, known: KnownObjects | None, threshold: float) -> Tracker:
    config = TrackerConfig(
        mask_threshold=threshold, language_threshold=threshold, view_threshold=threshold, recheck_every=0
    )
    tracker = Tracker(runtime, config, known=known)
    for number in range(FOLLOWED):
        tracker.add(Prompt(text=f"thing {number}"))
    return tracker


@contextmanager
def _counted(runtime: Runtime) -> Iterator[list[int]]:
    """The rows of every call of `segment`, while the block runs."""
    rows: list[int] = []
    segment = runtime.segment

    def counted(frame: Any, objects: Any) -> Any:
        rows.append(len(objects))
        return segment(frame, objects)

    runtime.segment = counted  # type: ignore[method-assign]
    try:
        yield rows
    finally:
        del runtime.segment
