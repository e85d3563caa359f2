"""The real tracker node, its network replaced by the double that sees colours; the tests run this as a
process.

DOUBLE_DELAY: seconds the double takes for each image. DOUBLE_LOAD: seconds it takes to load. DOUBLE_DRAW:
seconds that drawing an overlay takes.
DOUBLE_TROUBLE: "STEP:WHAT", while the file DOUBLE_WHEN is there: in the runtime's verb STEP (encode_text,
encode_image, encode_reference, segment) it hangs, raises, exits (SystemExit) or answers with not-a-number.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE.parent)]

from fake_runtime import FakeColourRuntime  # noqa: E402

from uniref_ros import publishers, tracker_node  # noqa: E402


class TroubledRuntime(FakeColourRuntime):
    """The double, in trouble in one of its verbs while a file is there."""

    def __init__(self, step: str, what: str, when: Path, **options: Any) -> None:
        super().__init__(**options)
        self._step, self._what, self._when = step, what, when
        if what == "nan":
            self.score = lambda _, found: float("nan") if when.exists() else 0.9 if found else 0.05

    def _pass(self, step: str) -> None:
        if step != self._step or not self._when.exists():
            return
        if self._what == "raises":
            raise RuntimeError("the device fell off\nthe bus")
        if self._what == "exits":
            sys.exit(3)
        while self._what == "hangs" and self._when.exists():
            time.sleep(0.01)

    def encode_text(self, text: str) -> Any:
        self._pass("encode_text")
        return super().encode_text(text)

    def encode_image(self, image: Any) -> Any:
        self._pass("encode_image")
        return super().encode_image(image)

    def encode_reference(self, frame: Any, masks: Any) -> Any:
        self._pass("encode_reference")
        return super().encode_reference(frame, masks)

    def segment(self, frame: Any, objects: Any) -> Any:
        self._pass("segment")
        return super().segment(frame, objects)


def make_double() -> FakeColourRuntime:
    """The double, troubled if the environment says so."""
    if "DOUBLE_TROUBLE" not in os.environ:
        return FakeColourRuntime(interactive=True)
    step, what = os.environ["DOUBLE_TROUBLE"].split(":")
    return TroubledRuntime(step, what, Path(os.environ["DOUBLE_WHEN"]), interactive=True)


def load_double(*_: object, progress: Callable[[str], None], **__: object) -> FakeColourRuntime:
    """Stands for `load_runtime`."""
    progress("building an engine")
    time.sleep(float(os.environ.get("DOUBLE_LOAD", "0")))
    runtime = make_double()
    runtime.asked = deque(maxlen=1)  # its record must not grow in the memory test
    runtime.before_segment = lambda: time.sleep(float(os.environ.get("DOUBLE_DELAY", "0")))
    return runtime


def draw_slowly(*args: Any, draw: Callable[..., Any] = publishers.draw_overlay, **options: Any) -> Any:
    """Stands for `draw_overlay`."""
    time.sleep(float(os.environ["DOUBLE_DRAW"]))
    return draw(*args, **options)


if __name__ == "__main__":
    if "DOUBLE_DRAW" in os.environ:
        publishers.draw_overlay = draw_slowly
    tracker_node.load_runtime = load_double
    sys.exit(tracker_node.main())
