"""`uniref label` with a labelled double for the model, in workers too, that takes its time over each frame:
labeller.py ARGUMENTS. For tests that kill it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from fake_runtime import FakeColourRuntime  # noqa: E402

from uniref_model import video  # noqa: E402
from uniref_model.offline import model as model_choice  # noqa: E402

SECONDS_A_FRAME = 0.02


def slow_double(*_: object, **__: object) -> FakeColourRuntime:
    """Stands in for `load_runtime`."""
    runtime = FakeColourRuntime()
    runtime.before_segment = lambda: time.sleep(SECONDS_A_FRAME)
    return runtime


def read_or_crash(path: Path, *arguments: object, **options: object) -> object:
    """Stands in for `read_image`: a folder called crash ends the process, as a fault in a decoder would."""
    if path.parent.name == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    return read_image(path, *arguments, **options)


model_choice.load_runtime = slow_double
read_image, video.read_image = video.read_image, read_or_crash

if __name__ == "__main__":  # a worker imports this file for what stands above
    from uniref_model.cli import main

    sys.exit(main(["label", *sys.argv[1:]]))
