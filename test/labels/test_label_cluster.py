"""`uniref label --ray local` on a real Ray of two workers with the shipped model; one of them is killed in
the middle, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from label_jobs import contents, write_job

pytest.importorskip("ray", reason="ray is not installed here (pip install ray)")
pytest.importorskip("pycocotools", reason="pycocotools is not installed here")
pytest.importorskip("PIL", reason="Pillow is not installed here")

from uniref_model.cli import main
from uniref_model.runtime.files import WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
NANO = WEIGHTS / "uniref_nano" / "model.json"
pytestmark = pytest.mark.skipif(not NANO.is_file(), reason="the shipped weights are not here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Eight clips of box.mp4, ten frames each."""
    path = tmp_path_factory.mktemp("cluster")
    capture = cv2.VideoCapture(str(ROOT / "media" / "box.mp4"))
    for clip in range(8):
        (path / "clips" / f"clip{clip}").mkdir(parents=True)
        for index in range(10):
            cv2.imwrite(str(path / "clips" / f"clip{clip}" / f"{index:05d}.jpg"), capture.read()[1])
    return path


def make_job(folder: Path, name: str, out: str = "") -> Path:
    sources = [{"files": "clips/*", "prompts": ["the yellow box"]}]
    model = {"size": "192x320", "runtime": "onnxruntime", "threads": 1}
    return write_job(
        folder / f"{name}.yaml", out=out or name, write=["masks", "coco"], model=model, sources=sources
    )


def start(job: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "uniref_model.cli", "label", str(job), *options]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT
    )


def workers_of(driver: int) -> list[int]:
    """Ray's workers that do a unit now, of the Ray that this process started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and descends(int(entry.name), driver):
            title = (entry / "cmdline").read_bytes() if (entry / "cmdline").exists() else b""
            found += [int(entry.name)] if title.startswith(b"ray::_do") else []
    return found


def descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            return False
        if pid == ancestor:
            return True
    return False


@pytest.mark.slow
def test_a_worker_of_a_real_ray_dies_and_nothing_is_lost(folder):
    plain = start(make_job(folder, "plain"))
    output, _ = plain.communicate(timeout=300)
    assert plain.returncode == 0, output

    address = f"file://{folder / 'ray'}"  # what workers on several machines would share
    run = start(make_job(folder, "ray", address), "--ray", "local", "--workers", "2")
    end, victims = time.monotonic() + 240, []
    while not victims or not list((folder / "ray").glob("tasks/*")):  # in the middle: some are done
        assert time.monotonic() < end and run.poll() is None, run.communicate()[0]
        victims = workers_of(run.pid)
        time.sleep(0.02)
    busy = workers_of(run.pid)
    os.kill(busy[0], signal.SIGKILL)
    output, _ = run.communicate(timeout=300)
    assert run.returncode == 0, output
    assert "8 of 8 recordings" in output
    assert contents(folder / "ray") == contents(folder / "plain")


@pytest.mark.slow
def test_the_benchmark_of_labelling_runs():
    pytest.importorskip("rosbags", reason="rosbags is not installed here")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed here")
    from benchmarks.registry import ENTRIES, Options

    result = ENTRIES["label_bags"].run(Options(smoke=True))
    assert set(result.data["ratio_to_one_worker"]) == {"one worker", "two workers"}
    assert result.data["long"]["bags"] == 6 and result.data["long"]["memory_mb"] and result.figures


def test_a_cluster_that_is_not_there_is_an_error(folder, monkeypatch, capfd):
    import ray

    def refuse(**options: object) -> None:
        raise ConnectionError(f"nobody at {options['address']}")

    monkeypatch.setattr(ray, "init", refuse)
    assert main(["label", str(make_job(folder, "none")), "--ray", "10.0.0.1:6379"]) == 1
    assert "no Ray cluster at '10.0.0.1:6379': 'nobody at 10.0.0.1:6379'" in capfd.readouterr().err


def test_without_ray_the_error_says_what_to_install(folder, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["label", str(make_job(folder, "none")), "--ray", "local"]) == 1
    assert "pip install ray" in capfd.readouterr().err
