"""The one-slot mailbox and the thread that serves it. ROS is not needed."""

from __future__ import annotations

import threading

import pytest

from uniref_ros.rolling import Rate, Rolling
from uniref_ros.worker import Mailbox, Worker


class Consumer:
    """Notes what it processed; waits at the gate while it is shut."""

    def __init__(self, condition: threading.Condition, delay: float = 0.0) -> None:
        self.mailbox: Mailbox = Mailbox(condition)
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
def condition() -> threading.Condition:
    return threading.Condition()


@pytest.fixture
def run(condition):
    """Starts workers and stops them after the test; errors are kept."""
    started: list[Worker] = []

    def start(*consumers):
        errors: list = []
        worker = Worker(consumers, condition, lambda consumer, error: errors.append((consumer, str(error))))
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


def test_a_newer_item_replaces_one_that_waits(condition, run):
    consumer = Consumer(condition)
    consumer.gate.clear()
    run(consumer)
    consumer.mailbox.put(0)
    assert consumer.busy.wait(10)
    for item in range(1, 6):
        consumer.mailbox.put(item)
    assert consumer.mailbox.replaced == 4
    consumer.gate.set()
    wait_for(lambda: len(consumer.done) == 2)
    assert consumer.done == [0, 5]


def test_an_error_is_told_and_work_goes_on(condition, run):
    consumer = Consumer(condition)
    _, errors = run(consumer)
    consumer.mailbox.put("bad")
    wait_for(lambda: errors)
    consumer.mailbox.put("good")
    wait_for(lambda: consumer.done)
    assert errors == [(consumer, "bad item")] and consumer.done == ["good"]


def test_consumers_take_turns(condition, run):
    one, two = Consumer(condition), Consumer(condition)
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


def test_an_item_that_is_not_due_yet_is_processed_later(condition, run):
    consumer = Consumer(condition, delay=0.05)
    run(consumer)
    consumer.mailbox.put("item")
    wait_for(lambda: consumer.done)


def test_stopping_says_whether_the_thread_has_ended(condition, run):
    consumer = Consumer(condition)
    consumer.gate.clear()
    worker, _ = run(consumer)
    consumer.mailbox.put(1)
    assert consumer.busy.wait(10)
    assert worker.stop(0.01) is False
    consumer.gate.set()
    assert worker.stop(10) is True


class Angry(Consumer):
    """Cannot even say when it is ready."""

    def ready_in(self, now: float) -> float:
        raise OverflowError("no such time")


@pytest.mark.parametrize("delay", [1e11, float("inf"), 1e300])
def test_a_wait_that_is_longer_than_can_be_waited_ends_nothing(condition, run, delay):
    consumer, other = Consumer(condition, delay=delay), Consumer(condition)
    worker, errors = run(consumer, other)
    consumer.mailbox.put("late")
    other.mailbox.put("item")
    wait_for(lambda: other.done)
    assert not worker.dead and not errors


def test_a_consumer_that_raises_when_asked_is_told_of_and_served(condition, run):
    consumer = Angry(condition)
    worker, errors = run(consumer)
    consumer.mailbox.put("item")
    wait_for(lambda: consumer.done)
    assert errors == [(consumer, "no such time")] and not worker.dead


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
@pytest.mark.parametrize("told", [True, False], ids=["told", "on_error raises"])
def test_nothing_that_is_raised_ends_the_worker(condition, error, told):
    def on_error(consumer: Consumer, raised: BaseException) -> None:
        heard.append(type(raised))
        if not told:
            raise raised

    def fail(item: str) -> None:
        raise error(item)

    consumer, heard = Consumer(condition), []
    work, consumer.process = consumer.process, fail
    worker = Worker([consumer], condition, on_error)
    worker.start()
    consumer.mailbox.put("item")
    wait_for(lambda: heard == [error])
    consumer.process = work
    consumer.mailbox.put("next")
    wait_for(lambda: consumer.done == ["next"])
    assert not worker.dead
    assert worker.stop(5) and not worker.dead, "one that was stopped is not dead"


def test_a_worker_whose_thread_ended_is_dead(condition):
    worker = Worker([Consumer(condition)], condition, lambda *_: None)
    assert not worker.dead and worker.stop(0), "it never began"
    worker = Worker([Consumer(condition)], condition, lambda *_: None)
    worker._next = lambda: None
    worker.start()
    wait_for(lambda: worker.dead)


def test_what_is_in_hand_and_since_when(condition, run):
    consumer = Consumer(condition)
    consumer.gate.clear()
    worker, _ = run(consumer)
    assert worker.in_hand is None
    consumer.mailbox.put("item")
    assert consumer.busy.wait(10)
    wait_for(lambda: worker.in_hand is not None)
    assert worker.in_hand.consumer is consumer
    consumer.gate.set()
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
