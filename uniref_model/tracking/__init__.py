"""References, object life cycle and multi-object merging. `Tracker.step(image)` is the one verb."""

from __future__ import annotations

from .config import TrackerConfig
from .tracker import Tracker
from .types import FrameNote, TrackedFrame, TrackedObject, TrackState

__all__ = ["FrameNote", "TrackState", "TrackedFrame", "TrackedObject", "Tracker", "TrackerConfig"]
