"""UniRef without ROS: the network, its runtimes, and a tracker that follows words, masks, clicks and boxes
through video.

    from uniref_model import Tracker, load_runtime

    tracker = Tracker(load_runtime())  # the shipped model, on the best runtime there is
    tracker.add_text("the white box")
    frame = tracker.step(image)  # uint8 RGB [h,w,3] -> TrackedFrame
    frame.label_image  # uint16 [h,w]: 0 nothing, else the slot of the object there

Start with `help(Tracker)`, `help(load_runtime)` and `help(TrackedFrame)`. What the package raises on purpose
derives from `UniRefError`. Names are loaded when first used: importing this package loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .errors import (
        AudioError,
        CapacityError,
        ImageError,
        KnownObjectError,
        MaskError,
        ModelFileError,
        NetworkError,
        ObjectIdError,
        PromptError,
        RuntimeUnavailable,
        SourceError,
        UniRefError,
    )
    from .known_objects import KnownObjects
    from .prompts import Prompt
    from .runtime import load_runtime
    from .tracking import FrameNote, TrackedFrame, TrackedObject, Tracker, TrackerConfig, TrackState

__all__ = [
    "AudioError",
    "CapacityError",
    "FrameNote",
    "ImageError",
    "KnownObjectError",
    "KnownObjects",
    "MaskError",
    "ModelFileError",
    "NetworkError",
    "ObjectIdError",
    "Prompt",
    "PromptError",
    "RuntimeUnavailable",
    "SourceError",
    "TrackState",
    "TrackedFrame",
    "TrackedObject",
    "Tracker",
    "TrackerConfig",
    "UniRefError",
    "load_runtime",
]

_TRACKING = {"FrameNote", "TrackState", "TrackedFrame", "TrackedObject", "Tracker", "TrackerConfig"}
_ELSEWHERE = {"KnownObjects": "known_objects", "Prompt": "prompts", "load_runtime": "runtime"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "tracking" if name in _TRACKING else _ELSEWHERE.get(name, "errors")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
