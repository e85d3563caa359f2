"""What the voice node understood, and which object came of it."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from uniref_ros.msg import Heard

_KEPT = 5
_PATIENCE = 5.0  # s for an object to come of what was said


@dataclass
class Line:
    """One utterance, as in the message Heard. object_id: of the object that was added for it, "" for none."""

    number: int
    words: str
    prompt: str
    understood: bool
    reason: str
    confidence: float
    object_id: str = ""


class Hearing:
    """The last few utterances. An object that appears soon after one, with its very words, came of it."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque(maxlen=_KEPT)
        self._count = 0
        self._waiting: tuple[Line, set[str], float] | None = None

    def add(self, heard: Heard, ids: Mapping[str, str], now: float) -> None:
        """Take an utterance. ids: the prompts of the objects there are by now, by id."""
        self._count += 1
        confidence = round(heard.confidence, 2) if math.isfinite(heard.confidence) else 0.0
        line = Line(self._count, heard.words, heard.prompt, heard.understood, heard.reason, confidence)
        self._lines.append(line)
        self._waiting = (line, set(ids), now + _PATIENCE) if heard.understood else None

    def look(self, ids: Mapping[str, str], now: float) -> bool:
        """See whether the object has come; True when it has just been found."""
        if self._waiting is None:
            return False
        line, before, until = self._waiting
        if now > until:
            self._waiting = None
            return False
        new = [key for key, prompt in ids.items() if key not in before and _same(prompt, line.prompt)]
        if not new:
            return False
        line.object_id, self._waiting = new[-1], None
        return True

    def as_text(self) -> str:
        """The lines as JSON, the newest last."""
        return json.dumps({"type": "heard", "lines": [asdict(line) for line in self._lines]})


def _same(one: str, other: str) -> bool:
    return one.casefold().strip() == other.casefold().strip()
