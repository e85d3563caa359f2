"""`uniref label` is killed, and its workers are: run again, the results are those of a run that nobody
disturbed, byte by byte. The processes are real; the model in them is a labelled double that takes time."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pytest
from label_jobs import children, contents, make_clips, start, write_job

pytest.importorskip("pycocotools", reason="pycocotools is not installed here")
pytest.importorskip("PIL", reason="Pillow is not installed here")
pytest.importorskip("rosbags", reason="rosbags is not installed here")

WRITE = ["masks", "json", "bag", "overlay", "coco", "yolo", "davis"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    return make_clips(folder / "clips", 8, frames=8).parent


def make_job(clips: Path, name: str) -> Path:
    sources = [{"files": "clips/*", "prompts": ["red", "blue"]}]
    return write_job(clips / f"{name}.yaml", out=name, write=WRITE, frames={"every": 3}, sources=sources)


@pytest.fixture(scope="module")
def undisturbed(clips) -> dict[str, str]:
    run = start(make_job(clips, "undisturbed"), "--workers", "2")
    assert run.wait(timeout=120) == 0, run.communicate()[0]
    return contents(clips / "undisturbed")


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def kill_and_go_on(clips: Path, undisturbed: dict[str, str], seed: int, times: int) -> None:
    random_moments = random.Random(seed)
    job = make_job(clips, f"killed{seed}")
    out = clips / f"killed{seed}"
    interrupted = 0
    for _ in range(times):
        run = start(job, "--workers", "2")
        before = len(list((out / "tasks").iterdir())) if (out / "tasks").is_dir() else 0
        if random_moments.random() < 0.8:  # else at any moment of its start
            wait_for(lambda run=run: (out / ".work").is_dir() or run.poll() is not None)
        time.sleep(random_moments.uniform(0.0, 0.8))
        workers = children(run.pid)
        run.send_signal(signal.SIGKILL)
        run.wait(timeout=30)
        run.stdout.close()
        interrupted += bool(list((out / ".work").glob("*")) if (out / ".work").is_dir() else [])
        wait_for(lambda workers=workers: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        done = [json.loads(path.read_text()) for path in out.glob("tasks/*/result.json")]
        assert len(done) == len(list(out.glob("tasks/*"))) >= before, "whole, and never fewer"
    assert interrupted >= times // 2, "killed in the middle of something"
    run = start(job, "--workers", "2")
    assert run.wait(timeout=120) == 0, run.communicate()[0]
    run.stdout.close()
    assert contents(out) == undisturbed


def test_killed_in_the_middle(clips, undisturbed):
    kill_and_go_on(clips, undisturbed, seed=1, times=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_killed_at_ten_random_moments(clips, undisturbed, seed):
    kill_and_go_on(clips, undisturbed, seed, times=10)


def test_a_worker_that_dies_loses_nothing(clips, undisturbed):
    job = make_job(clips, "worker")
    run = start(job, "--workers", "2")
    wait_for(lambda: (clips / "worker" / "tasks").is_dir())
    time.sleep(0.1)
    serving = [pid for pid in children(run.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(serving) == 2
    import os

    os.kill(serving[0], signal.SIGKILL)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0 and "its worker died (signal 9)" in output, output
    assert contents(clips / "worker") == undisturbed


def test_a_recording_that_kills_its_worker_each_time_is_told_and_stops_nothing(clips, undisturbed, tmp_path):
    """A picture whose name makes the double's process end as a crash in a decoder ends it."""
    make_clips(tmp_path / "clips", 3, frames=4)
    (tmp_path / "clips" / "clip01").rename(tmp_path / "clips" / "crash")
    sources = [{"files": "clips/*", "prompts": ["red"]}]
    job = write_job(tmp_path / "job.yaml", out="out", write=["masks"], sources=sources)
    run = start(job, "--workers", "2", "--retries", "1")
    output, _ = run.communicate(timeout=120)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert run.returncode == 1 and summary["done"] == 2, output
    assert [item["task"] for item in summary["failed"]] == ["clips_crash"]
    assert "its worker died (signal 11), 2 times" in summary["failed"][0]["reason"]
