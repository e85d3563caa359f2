"""The real tracker node, its network replaced by the double that sees colours; the tests run this as a
process.

DOUBLE_DELAY: seconds the double takes for each image. DOUBLE_LOAD: seconds it takes to load.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE.parent)]

from fake_runtime import FakeColourRuntime  # noqa: E402

from uniref_ros import tracker_node  # noqa: E402


def load_double(*_: object, progress: Callable[[str], None], **__: object) -> FakeColourRuntime:
    """Stands for `load_runtime`."""
    progress("building an engine")
    time.sleep(float(os.environ.get("DOUBLE_LOAD", "0")))
    runtime = FakeColourRuntime(interactive=True)
    runtime.asked = deque(maxlen=1)  # its record must not grow in the memory test
    runtime.before_segment = lambda: time.sleep(float(os.environ.get("DOUBLE_DELAY", "0")))
    return runtime


if __name__ == "__main__":
    tracker_node.load_runtime = load_double
    sys.exit(tracker_node.main())
