"""Follow-me in a simulated room: the real tracker with the shipped network, the example and a rendered robot,
which follows a walking target, loses it behind a wall and finds it again."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (make test installs it)")

import rclpy

from benchmarks.follow import follow_me, scenario
from benchmarks.registry import ENTRIES, Options


@pytest.fixture
def simulated(tmp_path, ros):
    return lambda scenario, **options: follow_me.running(scenario, tmp_path, **options)


def test_in_twenty_seconds_it_follows_loses_finds_and_stops_with_the_tracker(simulated):
    with simulated(scenario.SHORT, step=0.2, enable_stamped_cmd_vel=False) as (room, tracker, follower):
        moments = room.run(scenario.SHORT.seconds)
        numbers = follow_me.figures_of(moments)
        assert numbers["share of time followed"] > 0.5, numbers
        assert numbers["times out of the picture"] >= 1 and numbers["seconds searched"] > 1.0, numbers
        assert numbers["seconds until followed again"] <= 3.0, numbers
        assert numbers["fastest while not following"] == 0.0, numbers
        assert numbers["nearest to a wall or thing"] > scenario.RADIUS, numbers
        assert numbers["error of positions p50"] < 0.4, numbers
        assert moments[-1].word == "following" and moments[-1].speed > 0.1, moments[-1]
        tracker.send(signal.SIGKILL)
        tracker.wait()
        after = room.run(2.0, with_tracker=False)
        assert all(
            moment.speed == moment.turn == 0.0 for moment in after if moment.time > after[0].time + 0.7
        )
        assert follower.running
    assert follow_me.draw(scenario.SHORT, moments, room.pictures).axes


@pytest.mark.slow
def test_in_two_minutes_it_keeps_every_promise_of_its_benchmark(ros, monkeypatch):
    monkeypatch.setattr(rclpy, "init", lambda *_, **__: None)  # the session's own is running
    monkeypatch.setattr(rclpy, "try_shutdown", lambda *_, **__: None)
    result = ENTRIES["follow_me"].run(Options())
    assert result.data["numbers"]["seconds"] == pytest.approx(120.0)
    assert [check.claim for check in result.checks if not check.passed] == [], result.checks


@pytest.mark.slow
def test_in_a_room_whose_walls_are_taken_for_the_box_it_drives_after_none(simulated):
    for_good = scenario.SHORT.legs[:3]  # behind the wall, and not out again
    yellowish = replace(scenario.SHORT, legs=for_good, room=replace(scenario.ROOM, colour=(196, 190, 178)))
    with simulated(yellowish, step=0.2) as (room, _, _):
        moments = room.run(42.0)
    mistaken = [moment for moment in moments if moment.visible == 0 and moment.seen]
    if not mistaken:
        pytest.skip("the tracker mistook nothing for the box this time")
    # some, since what it saw before counts for max_age
    driven = sum(abs(moment.speed) for moment in mistaken) * 0.2
    assert driven < 0.3, f"{driven:.2f} m in {len(mistaken)} moments"
    assert moments[-1].speed == moments[-1].turn == 0.0 and "search_time" in moments[-1].state
