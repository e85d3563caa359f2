"""Latency of whole frames through the tracker, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..runtime import Runtime
from ..runtime.memory import resident_mb
from ..scene import boxes
from ..tracking import Tracker, TrackerConfig
from .figures import peak_mb, percentiles
from .state import state_bytes
from .wrapped import Timed

WARM_UP = 10
"""Frames not counted: the first ones make sessions and fill caches."""

TIMINGS = ("prepare", "encode_image", "segment", "merge", "encode_reference")
APART = ("network", "host", "frame")
"""What the network takes, what everything else takes, and both."""


def run(
    runtime: Runtime,
    count: int,
    frames: int,
    shape: tuple[int, int],
    progress: Callable[[], None] = lambda: None,
    warm_up: int = WARM_UP,
) -> dict[str, np.ndarray]:
    """Milliseconds of every frame after the warm-up, by step, and what the network and the
    host take of them (`APART`); "memory" is resident MB after the frame, "seen" the objects seen.

    Thresholds are 0, so that every object is seen in every frame and renews its reference: the most expensive
    case there is.
    """
    config = TrackerConfig(max_objects=count, mask_threshold=0.0, language_threshold=0.0, recheck_every=0)
    timed = Timed(runtime)
    tracker = Tracker(timed, config)
    pictures, masks = boxes(count, shape)
    for index, mask in enumerate(masks):
        tracker.add_mask(mask, prompt=f"thing number {index}")
    names = (*TIMINGS, *APART, "memory", "seen")
    table = {name: np.zeros(frames, np.float32) for name in names}  # made beforehand: nothing grows
    for index in range(warm_up + frames):
        timed.take()
        found = tracker.step(pictures[index % len(pictures)])
        progress()
        row = index - warm_up
        if row < 0:
            continue
        for name in TIMINGS:
            table[name][row] = found.timings[name]
        table["network"][row], table["frame"][row] = timed.take(), found.timings["total"]
        table["host"][row] = table["frame"][row] - table["network"][row]
        table["memory"][row] = resident_mb()
        table["seen"][row] = sum(item.box is not None for item in found.objects)
    return table


def summary(
    runtime: Runtime, count: int, table: dict[str, np.ndarray], warm_up: int = WARM_UP
) -> dict[str, Any]:
    """What `run` measured, in numbers for people and JSON."""
    made, state = runtime.state, state_bytes(runtime)
    return {
        "objects": count,
        "frames": len(table["frame"]),
        "warm_up": warm_up,
        "ms": {name: percentiles(table[name]) for name in (*TIMINGS, *APART)},
        "frames_per_second": round(1000 / float(np.median(table["frame"])), 2),
        "network_frames_per_second": round(1000 / float(np.median(table["network"])), 2),
        "state_bytes": state.as_dict()
        | {"total_at_most": state.total(count), "made": sum(size for _, size in made.values())},
        "state_sets": {what: sets for what, (sets, _) in made.items()},
        "memory_mb": {
            "resident": round(float(table["memory"][-1]), 1),
            "growth": round(float(table["memory"][-1] - table["memory"][0]), 1),
            "peak": round(peak_mb(), 1),
        },
        "seen": round(float(table["seen"].mean()) / count, 3),
    }


def flatness(table: dict[str, np.ndarray], part: int = 1000) -> dict[str, float]:
    """How the last frames compare with the first: ratios of median latency and of median resident memory.

    part: frames at each end, at most a tenth of all.
    """
    part = max(1, min(part, len(table["frame"]) // 10))
    first, last = (
        {name: table[name][end] for name in ("frame", "memory")} for end in (slice(part), slice(-part, None))
    )
    numbers = {
        f"{name}_{place}": float(np.median(values[name]))
        for place, values in (("first", first), ("last", last))
        for name in ("frame", "memory")
    }
    return {
        "frames_at_each_end": part,
        "latency_ms_first": round(numbers["frame_first"], 3),
        "latency_ms_last": round(numbers["frame_last"], 3),
        "latency_ratio": round(numbers["frame_last"] / numbers["frame_first"], 4),
        "memory_mb_first": round(numbers["memory_first"], 2),
        "memory_mb_last": round(numbers["memory_last"], 2),
        "memory_ratio": round(numbers["memory_last"] / numbers["memory_first"], 4),
    }
