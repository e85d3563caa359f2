"""One object out of the tracker's results, checked before anything moves because of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from uniref_model.limits import quoted
from uniref_ros.msg import TrackedObject

Point3 = tuple[float, float, float]


class TargetError(Exception):
    """Why a result is nothing to move by; the text names the value and what was expected."""


class NoTarget(TargetError):
    """There is no one object that is meant."""


class MistakenTarget(TargetError):
    """What is seen cannot be the object."""


@dataclass(frozen=True)
class Demands:
    """What a result must fulfil. min_score: 0 to 1. min_depth_points: depth pixels. max_size: m, in any
    direction. The names are those of parameters, and stand in errors."""

    min_score: float
    min_depth_points: int
    max_size: float


def choose(objects: Sequence[TrackedObject], wanted: str) -> TrackedObject:
    """The object of this id, else the one with this label or prompt; "": the only one there is.

    Raises NoTarget.
    """
    named = [item for item in objects if not wanted or item.id == wanted]
    named = named or [item for item in objects if wanted in (item.label, item.prompt)]
    if len(named) == 1:
        return named[0]
    which = f"called {quoted(wanted)}" if wanted else "in the results"
    count = f"{len(named)} objects are" if named else "no object is"
    raise NoTarget(f"{count} {which}, expected one")


def is_seen(item: TrackedObject) -> bool:
    """Whether it is in this very image, and not only remembered."""
    return item.state == TrackedObject.TRACKED and item.frames_since_seen == 0


def place_of(item: TrackedObject, demands: Demands) -> Point3:
    """The centroid of an object that is seen, m, in the frame of its results.

    Raises TargetError, MistakenTarget for something too large.
    """
    place = item.centroid.x, item.centroid.y, item.centroid.z
    extent = item.extent.x, item.extent.y, item.extent.z
    if not item.score >= demands.min_score:  # NaN: neither
        raise TargetError(
            f"its score is {item.score:.2f}, expected at least {demands.min_score:g} (min_score)"
        )
    if not item.has_position:
        raise TargetError("it is seen without a position: the tracker's diagnostics say why, under depth")
    if item.depth_points < demands.min_depth_points:
        least = f"{demands.min_depth_points} (min_depth_points)"
        raise TargetError(f"{item.depth_points} depth pixels show it, expected at least {least}")
    if not all(math.isfinite(value) for value in place + extent):
        raise TargetError(f"its position is {place}, its size {extent}, expected finite numbers")
    if max(extent) > demands.max_size:
        most = f"{demands.max_size:g} (max_size)"
        raise MistakenTarget(
            f"what is seen is {max(extent):.1f} m large, expected at most {most}: it is not it"
        )
    return place
