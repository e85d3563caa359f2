"""The benchmarks of the node run, and what they watch for is seen when it happens."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import replace

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (make test installs it)")

from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from benchmarks.node import latency
from benchmarks.node.camera import frame_id, from_seconds
from benchmarks.node.listener import wrong_headers
from benchmarks.node.processes import Supervisor
from benchmarks.node.scene import Actor, overlap
from benchmarks.registry import ENTRIES, Options
from uniref_ros.msg import TrackedObject, TrackedObjectArray

SMOKE = Options(smoke=True, threads=1)


def result(camera="left", stamp=(5, 7), mask_stamp=(5, 7), name="left") -> TrackedObjectArray:
    """A result whose header, or whose mask's header, may be another image's."""
    own, other = Time(sec=stamp[0], nanosec=stamp[1]), Time(sec=mask_stamp[0], nanosec=mask_stamp[1])
    mask = Image(header=Header(stamp=other, frame_id=frame_id(name, own)), data=[255])
    return TrackedObjectArray(
        header=Header(stamp=own, frame_id=frame_id(name, own)),
        camera=camera,
        objects=[TrackedObject(id="1", mask=mask)],
    )


def test_a_header_that_is_not_the_images_is_seen():
    assert wrong_headers(result()) == []
    assert "frame_id" in wrong_headers(result(camera="right"))[0]
    assert "object 1" in wrong_headers(result(mask_stamp=(5, 8)))[0]
    stale = result()
    stale.header.frame_id = frame_id("left", Time(sec=4, nanosec=7))
    assert wrong_headers(stale)


def test_a_stamp_keeps_its_time():
    stamp = from_seconds(1234.5)
    assert (stamp.sec, stamp.nanosec) == (1234, 500_000_000)


def test_an_actor_leaves_and_returns():
    actor = Actor("red", "ball", 0.5, 0.0, period=10.0, away=(0.5, 0.7))
    assert actor.box(4.9, (480, 640)) and actor.box(7.1, (480, 640)) and actor.box(14.0, (480, 640))
    assert actor.box(5.1, (480, 640)) is None and actor.box(16.9, (480, 640)) is None
    assert overlap((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(1 / 3)


def test_the_supervisor_starts_anew_what_was_killed_and_not_what_it_stops(tmp_path):
    with Supervisor([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path) as supervisor:
        supervisor.now.send(signal.SIGKILL)
        deadline = time.monotonic() + 20
        while len(supervisor.lives) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(supervisor.lives) == 2 and supervisor.lives[1].running
        assert supervisor.lives[0].status == -signal.SIGKILL
    assert len(supervisor.lives) == 2 and not supervisor.lives[1].running


def test_cases_join_an_earlier_result_and_each_says_when_it_was_measured():
    first, second, third = (case.title for case in latency.TINY[:3])
    earlier = {
        "date": "2026-01-02",
        "machine": {"commit": "abc"},
        "run": {"quiet": True},
        "data": {
            "cases": [{"title": second, "p": 1}, {"title": first, "p": 1}],
            "inside_track_ms": {"a": {"prepare": 1.0}, "b": {"prepare": 1.0}},
        },
    }
    new = [{"title": third, "p": 2, "measured": {"date": "2026-01-03"}}]
    new.append({"title": first, "p": 2, "measured": {"date": "2026-01-03"}})
    rows, inside = latency.joined(earlier, new, {"b": {"prepare": 2.0}})
    assert [(row["title"], row["p"], row["measured"]["date"]) for row in rows] == [
        (first, 2, "2026-01-03"),
        (second, 1, "2026-01-02"),
        (third, 2, "2026-01-03"),
    ]
    assert rows[1]["measured"] == {"date": "2026-01-02", "machine": {"commit": "abc"}, "quiet": True}
    assert inside == {"a": {"prepare": 1.0}, "b": {"prepare": 2.0}}
    again, _ = latency.joined(earlier | {"data": {"cases": rows, "inside_track_ms": inside}}, [], {})
    assert again == rows, "what was kept once keeps its own machine"


@pytest.fixture
def without_rclpy(monkeypatch):
    """The benchmarks start and end rclpy themselves; a session's own has to be out of the way meanwhile."""
    import rclpy

    running = rclpy.ok()
    if running:
        rclpy.shutdown()
    yield
    if running:
        rclpy.init(args=[])


def test_latency_is_measured_by_step(without_rclpy):
    case = ENTRIES["node_latency"].run(SMOKE).data["cases"][0]
    timings = case["timings_ms"]
    assert case["results"] > 0 and case["latency_ms"]["p50"] > 0
    assert set(timings) == {"transport in", "wait", "convert", "track", "publish"}
    assert timings["track"]["p50"] < case["latency_ms"]["p99"]
    assert case["memory_mb"] > 50 and case["cpu_cores"] > 0


def test_a_killed_node_comes_back(without_rclpy):
    found = ENTRIES["respawn"].run(SMOKE).data
    assert len(found["starts"]) == len(found["after_kill"]) == 1 and found["statuses"] == [-signal.SIGKILL]


@pytest.mark.slow
def test_what_browsers_cost_is_measured_in_turn(without_rclpy):
    for needed in ("uvicorn", "websockets"):
        pytest.importorskip(needed, reason=f"{needed} is not installed (pip install '.[console]' has it)")
    found = ENTRIES["console"].run(SMOKE).data
    assert [one["browsers"] for one in found["measured"]] == [0, 1, 20]
    assert found["measured"][2]["seen"]["pictures_per_s"]["least"] > 0


@pytest.mark.slow
def test_the_soak_finds_nothing_lost_or_mixed_up(without_rclpy):
    found = ENTRIES["soak"].run(replace(SMOKE, threads=2))
    assert [check.claim for check in found.checks if not check.passed] == []
    assert found.data["counts"]["life cycles"] >= 1 and found.data["sent"]["malformed"] > 0
