"""What the console knows of the tracker, its cameras and the voice node, from their topics alone; as JSON for
browsers."""

from __future__ import annotations

import base64
import json
import math
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import CompressedImage

from uniref_model.tracking.message_fields import STATE_NAMES
from uniref_model.tracking.overlay import slot_colour
from uniref_ros.console.sight import Sight
from uniref_ros.msg import KnownObjectArray, TrackedObject, TrackedObjectArray
from uniref_ros.rolling import Rate

_CURVE = 60  # points, one a second
_GONE_AFTER = 5.0  # s without a word from the tracker, when it reports once a second
_REPORTS = 3.0  # reports that may be missed when it reports less often
_UNANSWERED = ("prompt", "command", "reference", "prompt lost", "command lost")
_LEVELS = {
    DiagnosticStatus.OK: "ok",
    DiagnosticStatus.WARN: "warn",
    DiagnosticStatus.ERROR: "error",
    DiagnosticStatus.STALE: "stale",
}


class CameraScene:
    """One camera: its last result, its figures, and where its objects were."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sight = Sight()
        self._last: TrackedObjectArray | None = None
        self._at = 0.0
        self._rate = Rate(2.0)
        self._seen: dict[str, float] = {}
        self._curve: deque[tuple[float, float]] = deque(maxlen=_CURVE)

    def add(self, message: TrackedObjectArray, now: float) -> None:
        """Take a result. now: time.monotonic()."""
        self._last, self._at = message, now
        self._rate.tick(now)
        self.sight.add(message)
        self._seen = {
            item.id: now if item.frames_since_seen == 0 else self._seen.get(item.id, math.nan)
            for item in message.objects
        }

    def ids(self) -> dict[str, str]:
        """The prompts of the objects that are followed, by id."""
        return {item.id: item.prompt for item in self._last.objects} if self._last is not None else {}

    def note_figures(self, now: float) -> None:
        """Append the rate and the latency of now to the curve."""
        self._curve.append((round(self._rate.hertz(now), 1), round(self._latency(), 1)))

    @property
    def curve(self) -> list[tuple[float, float]]:
        """(images a second, ms) once a second, the last minute."""
        return list(self._curve)

    def as_dict(self, now: float) -> dict[str, Any]:
        """Plain data for a browser."""
        last = self._last
        return {
            "name": self.name,
            "size": [last.width, last.height] if last is not None else None,
            "rate": round(self._rate.hertz(now), 1),
            "latency_ms": round(self._latency(), 1),
            "silent_s": round(now - self._at, 1) if last is not None else None,
            "objects": [self._object(item, now) for item in last.objects] if last is not None else [],
        }

    def _latency(self) -> float:
        """From the image's stamp to its result, in ms; from its reception where the stamp tells nothing."""
        if self._last is None:
            return 0.0
        return self._last.age_ms if self._last.age_ms >= 0 else self._last.total_ms

    def _object(self, item: TrackedObject, now: float) -> dict[str, Any]:
        box, since = item.box, now - self._seen[item.id]
        return {
            "id": item.id,
            "colour": "rgb({},{},{})".format(*slot_colour(item.slot)),
            "label": item.label,
            "prompt": item.prompt,
            "state": STATE_NAMES.get(item.state, "unknown"),
            "score": _number(item.score, 2),
            "box": [box.x_offset, box.y_offset, box.width, box.height] if box.width else None,
            "images": item.frames_tracked,
            "since_seen_s": _number(since, 1),
            "position": _position(item),
        }


class Scene:
    """All of it. For the executor's thread; others read `cameras`, which is replaced and never changed."""

    def __init__(self) -> None:
        self.cameras: dict[str, CameraScene] = {}
        self.held_images = 0
        """Images that the tracker keeps for clicks; 0 while it has not said."""
        self.tracker_serves = self.tracker_teaches = False
        self.voice_hears = False
        """Whether a node takes the audio that a browser sends."""
        self._status: dict[str, Any] = {}
        self._reported = self._period = 0.0
        self._errors: dict[str, int] | None = None

    def keep_cameras(self, names: Iterable[str]) -> bool:
        """Have a scene for each of these cameras, in this order; whether that changed any."""
        names = list(names)
        if names == list(self.cameras):
            return False
        self.cameras = {name: self.cameras.get(name) or CameraScene(name) for name in names}
        return True

    def ids(self) -> dict[str, str]:
        """The prompts of all objects that are followed, by id."""
        return {key: words for camera in self.cameras.values() for key, words in camera.ids().items()}

    def report(self, status: DiagnosticStatus, now: float) -> str:
        """Take the tracker's own diagnostic status. Returns its words when, since the last one, it refused
        something that came by a topic, so that nobody was answered; else ""."""
        values = {pair.key: pair.value for pair in status.values}
        self._period = max(now - self._reported, 0.0) if self._reported else 0.0
        self._reported = now
        self._status = {
            "state": values.get("state", ""),
            "enabled": values.get("enabled") != "False",
            "level": _LEVELS.get(status.level, "ok"),
            "message": status.message,
        }
        before, counts = self._errors, _error_counts(values)
        self._errors = counts
        last = values.get("last error", "")
        kind = last.partition(":")[0]
        fresh = before is not None and counts.get(kind, 0) > before.get(kind, 0)
        return last if fresh and kind in _UNANSWERED else ""

    def as_text(self) -> str:
        """The state of everything, as JSON."""
        now = time.monotonic()
        silence = now - self._reported
        there = bool(self._reported) and silence < max(_GONE_AFTER, _REPORTS * self._period)
        state = {
            "type": "state",
            "tracker": {
                "there": there or self.tracker_serves,
                "teaches": self.tracker_teaches,
                "held": self.held_images,
                **self._status,
            },
            "voice": {"hears": self.voice_hears},
            "cameras": [camera.as_dict(now) for camera in self.cameras.values()],
        }
        return json.dumps(state)

    def curve_text(self) -> str:
        """Note the figures of this second, and the curves of the last minute as JSON."""
        now = time.monotonic()
        for camera in self.cameras.values():
            camera.note_figures(now)
        return json.dumps(
            {"type": "curves", "curves": {name: camera.curve for name, camera in self.cameras.items()}}
        )


def known_text(message: KnownObjectArray) -> str:
    """What can be called by name, as JSON; pictures as data URLs."""
    objects = [
        {"name": item.name, "views": len(item.views), "picture": _data_url(item.picture)}
        for item in message.objects
    ]
    return json.dumps({"type": "known", "objects": objects, "damaged": list(message.damaged)})


def _data_url(picture: CompressedImage) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(bytes(picture.data)).decode()}" if picture.data else ""


def _position(item: TrackedObject) -> list[float] | None:
    """x, y, z in metres, None without a position."""
    place = [item.centroid.x, item.centroid.y, item.centroid.z]
    known = item.has_position and all(map(math.isfinite, place))
    return [round(value, 3) for value in place] if known else None


def _error_counts(values: dict[str, str]) -> dict[str, int]:
    prefix = "errors: "
    found = {key[len(prefix) :]: value for key, value in values.items() if key.startswith(prefix)}
    return {kind: int(value) for kind, value in found.items() if value.isdecimal()}


def _number(value: float, digits: int) -> float | None:
    # JSON has no not-a-number, and a browser's parser refuses a message that holds one
    return round(float(value), digits) if math.isfinite(value) else None
