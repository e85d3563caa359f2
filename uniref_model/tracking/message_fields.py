"""A tracker's answer as the plain fields of our messages (msg/*.msg), whatever library makes the messages:
the node and a written bag say the same."""

from __future__ import annotations

from typing import Any

from .types import TrackedObject, TrackState

STATES = {TrackState.SEARCHING: 1, TrackState.TRACKED: 2, TrackState.LOST: 3}
"""The constants of TrackedObject.msg."""

STATE_NAMES = {number: state.value for state, number in STATES.items()}
"""Words for them."""


def object_fields(item: TrackedObject) -> dict[str, Any]:
    """The fields of a TrackedObject message that are numbers and texts, by name."""
    return {
        "state": STATES[item.state],
        "id": item.id,
        "slot": item.slot,
        "label": item.label,
        "prompt": item.prompt,
        "score": float(item.score),
        "area": int(item.area),
        "frames_tracked": item.frames_tracked,
        "frames_since_seen": item.frames_since_seen,
        "known": item.known,
        "found_by": item.found.by,
        "found_view": item.found.view,
        "looks_new": item.looks_new,
    }


def box_fields(item: TrackedObject) -> dict[str, int]:
    """The fields of the object's sensor_msgs/RegionOfInterest, all 0 when nothing of it is visible."""
    x, y, width, height = (int(value) for value in item.box or (0, 0, 0, 0))
    return {"x_offset": x, "y_offset": y, "width": width, "height": height}
