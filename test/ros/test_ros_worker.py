"""The one-slot mailbox and the thread that serves it. ROS is not needed."""

from __future__ import annotations

import threading

import pytest

from uniref_ros.rolling import Rate, Rolling
from uniref_ros.worker import Mailbox, Worker


class Station:
    """Notes what it processed; waits at the gate while it is shut."""

    def __init__(self, bell: threading.Condition, delay: float = 0.0) -> None:
        self.mailbox: Mailbox = Mailbox(bell)
        self.done: list = []
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Event()
        self.delay = delay

    def ready_in(self, now: float) -> float:
        delay, self.delay = self.delay, 0.0
        return delay

    def process(self, item) -> None:
        self.busy.set()
        assert self.gate.wait(10)
        if item == "bad":
            raise ValueError("bad item")
        self.done.append(item)


@pytest.fixture
def bell() -> threading.Condition:
    return threading.Condition()


@pytest.fixture
def run(bell):
    """Starts workers and stops them after the test; errors are kept."""
    started: list[Worker] = []

    def start(*stations):
        errors: list = []
        worker = Worker(stations, bell, lambda station, error: errors.append((station, str(error))))
        worker.start()
        started.append(worker)
        return worker, errors

    yield start
    for worker in started:
        worker.stop(5)


def wait_for(condition) -> None:
    waiter = threading.Event()
    for _ in range(1000):
        if condition():
            return
        waiter.wait(0.01)
    raise AssertionError("waited 10 s")


def test_a_newer_item_replaces_one_that_waits(bell, run):
    station = Station(bell)
    station.gate.clear()
    run(station)
    station.mailbox.put(0)
    assert station.busy.wait(10)
    for item in range(1, 6):
        station.mailbox.put(item)
    assert station.mailbox.replaced == 4
    station.gate.set()
    wait_for(lambda: len(station.done) == 2)
    assert station.done == [0, 5]


def test_an_error_is_told_and_work_goes_on(bell, run):
    station = Station(bell)
    _, errors = run(station)
    station.mailbox.put("bad")
    wait_for(lambda: errors)
    station.mailbox.put("good")
    wait_for(lambda: station.done)
    assert errors == [(station, "bad item")] and station.done == ["good"]


def test_stations_take_turns(bell, run):
    one, two = Station(bell), Station(bell)
    one.gate.clear()
    run(one, two)
    one.mailbox.put("first")
    assert one.busy.wait(10)
    one.mailbox.put("second")
    two.mailbox.put("other")
    order: list = []
    one.process = two.process = order.append
    one.gate.set()
    wait_for(lambda: len(order) == 2)
    assert order == ["other", "second"], "the one just served waits for the other"


def test_an_item_that_is_not_due_yet_is_processed_later(bell, run):
    station = Station(bell, delay=0.05)
    run(station)
    station.mailbox.put("item")
    wait_for(lambda: station.done)


def test_stopping_says_whether_the_thread_has_ended(bell, run):
    station = Station(bell)
    station.gate.clear()
    worker, _ = run(station)
    station.mailbox.put(1)
    assert station.busy.wait(10)
    assert worker.stop(0.01) is False
    station.gate.set()
    assert worker.stop(10) is True


class Angry(Station):
    """Cannot even say when it is ready."""

    def ready_in(self, now: float) -> float:
        raise OverflowError("no such time")


@pytest.mark.parametrize("delay", [1e11, float("inf"), 1e300])
def test_a_wait_that_is_longer_than_can_be_waited_ends_nothing(bell, run, delay):
    station, other = Station(bell, delay=delay), Station(bell)
    worker, errors = run(station, other)
    station.mailbox.put("late")
    other.mailbox.put("item")
    wait_for(lambda: other.done)
    assert not worker.dead and not errors


def test_a_station_that_raises_when_asked_is_told_of_and_served(bell, run):
    station = Angry(bell)
    worker, errors = run(station)
    station.mailbox.put("item")
    wait_for(lambda: station.done)
    assert errors == [(station, "no such time")] and not worker.dead


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
@pytest.mark.parametrize("told", [True, False], ids=["told", "on_error raises"])
def test_nothing_that_is_raised_ends_the_worker(bell, error, told):
    def on_error(station: Station, raised: BaseException) -> None:
        heard.append(type(raised))
        if not told:
            raise raised

    def fail(item: str) -> None:
        raise error(item)

    station, heard = Station(bell), []
    work, station.process = station.process, fail
    worker = Worker([station], bell, on_error)
    worker.start()
    station.mailbox.put("item")
    wait_for(lambda: heard == [error])
    station.process = work
    station.mailbox.put("next")
    wait_for(lambda: station.done == ["next"])
    assert not worker.dead
    assert worker.stop(5) and not worker.dead, "one that was stopped is not dead"


def test_a_worker_whose_thread_ended_is_dead(bell):
    worker = Worker([Station(bell)], bell, lambda *_: None)
    assert not worker.dead and worker.stop(0), "it never began"
    worker = Worker([Station(bell)], bell, lambda *_: None)
    worker._next = lambda: None
    worker.start()
    wait_for(lambda: worker.dead)


def test_what_is_in_hand_and_since_when(bell, run):
    station = Station(bell)
    station.gate.clear()
    worker, _ = run(station)
    assert worker.in_hand is None
    station.mailbox.put("item")
    assert station.busy.wait(10)
    wait_for(lambda: worker.in_hand is not None)
    assert worker.in_hand.station is station
    station.gate.set()
    wait_for(lambda: worker.in_hand is None)


def test_percentiles_of_the_last_values():
    rolling = Rolling(size=4)
    assert all(value != value for value in rolling.percentiles(50, 95)), "nothing yet: not a number"
    for value in (1000.0, 1.0, 2.0, 3.0, 4.0):
        rolling.add(value)
    assert rolling.percentiles(0, 100) == (1.0, 4.0)


def test_rate_counts_the_window_only():
    rate = Rate(window=5.0)
    assert rate.hertz(0.0) == 0.0 and rate.since_last(0.0) is None
    for index in range(11):
        rate.tick(index * 0.1)
    assert rate.hertz(1.0) == pytest.approx(10.0)
    assert rate.since_last(3.0) == pytest.approx(2.0)
    assert rate.hertz(100.0) == 0.0
