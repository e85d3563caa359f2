"""A runtime that is closed gives its memory back to the system, and so does a pause."""

from __future__ import annotations

import subprocess
import sys

import pytest

from uniref_model.runtime.files import WEIGHTS

pytestmark = pytest.mark.skipif(
    not (WEIGHTS / "uniref_nano" / "model.json").is_file(), reason="the shipped weights are not here"
)

# In a process of its own: what other tests left in this one's heap would decide.
SCRIPT = """
from uniref_model.runtime import load_runtime
from uniref_model.runtime.memory import resident_mb

def use(runtime):
    runtime.prepare([1, 2])
    runtime.encode_text("the red box")

first = load_runtime("uniref_nano", "192x320", "onnxruntime")
use(first)
open_mb = resident_mb()
first.trim()
paused = resident_mb()
use(first)
first.close()
closed = [resident_mb()]
for _ in range(3):
    with load_runtime("uniref_nano", "192x320", "onnxruntime") as runtime:
        use(runtime)
    closed.append(resident_mb())
print(open_mb, paused, *closed)
"""


def test_memory_comes_back_after_a_trim_and_after_closing(request):
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=request.config.rootpath, capture_output=True, text=True, check=True)
    opened, paused, *closed = (float(word) for word in done.stdout.split())
    # Between 27 and 80 MB, by how many graphs happened to need theirs at the same time.
    assert paused < opened - 15, "what the graphs needed while they ran is free"
    assert closed[0] < paused - 40, "and the weights too, when they are gone"
    assert closed[-1] < closed[0] + 8, f"nothing is left behind each time: {closed}"
