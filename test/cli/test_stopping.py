"""What is asked to end by systemd, docker or a closed terminal ends as by ^C: its files are finished, nothing
is left lying about."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from uniref_model.stopping import stopped_as_by_a_person
from uniref_model.video import open_source

ROOT = Path(__file__).resolve().parents[2]
REQUESTS = [signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def handlers():
    before = {one: signal.getsignal(one) for one in REQUESTS}
    for one in REQUESTS:
        signal.signal(one, signal.SIG_DFL)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize("request_to_end", REQUESTS)
def test_a_request_to_end_is_a_keyboard_interrupt_once(request_to_end):
    with pytest.raises(KeyboardInterrupt, match=request_to_end.name), stopped_as_by_a_person():
        os.kill(os.getpid(), request_to_end)
        time.sleep(5)
    with pytest.raises(KeyboardInterrupt), stopped_as_by_a_person():
        try:
            signal.raise_signal(request_to_end)
        finally:
            assert [signal.getsignal(one) for one in REQUESTS] == [signal.SIG_DFL] * 2, "a second one ends it"
    assert [signal.getsignal(one) for one in REQUESTS] == [signal.SIG_DFL] * 2


def test_what_is_ignored_or_answered_already_stays_so():
    heard: list[int] = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    with stopped_as_by_a_person():
        for one in REQUESTS:
            signal.raise_signal(one)
    assert heard == [signal.SIGTERM] and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_outside_the_main_thread_it_changes_nothing():
    seen: list[object] = []

    def look() -> None:
        with stopped_as_by_a_person():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


def test_what_was_tracked_until_then_is_kept_whole(tmp_path):
    command = [sys.executable, "-m", "uniref_model.cli", "track", str(ROOT / "media" / "box.mp4")]
    command += ["--prompt", "the yellow box", "--out", "a.mp4", "--json", "a.json"]
    program = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size > 10_000 for path in tmp_path.iterdir()):  # some frames are in it
            assert program.poll() is None and time.monotonic() < deadline, "waited for the first frames"
            time.sleep(0.05)
        program.terminate()
        assert program.wait(30) == 0
    finally:
        program.kill()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.mp4"]
    frames = json.loads((tmp_path / "a.json").read_text())["frames"]
    assert 0 < len(frames) < 455 and open_source(str(tmp_path / "a.mp4")).length == len(frames)
