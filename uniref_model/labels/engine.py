"""Who does a job's tasks: processes here, or a Ray cluster (`cluster`). Both yield the same events."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from ..errors import UniRefError
from ..offline.model import ModelChoice
from ..runtime import Runtime
from .job import Task
from .store import Store
from .task import run_task

Unit = tuple[Task, ...]
"""Tasks to be done one after the other by one worker; see `job.plan`."""


@dataclass(frozen=True)
class Frames:
    """A task has come so far."""

    task: str
    count: int


@dataclass(frozen=True)
class Done:
    """A task's results are in the store. frames: how many it had."""

    task: str
    frames: int


@dataclass(frozen=True)
class Failed:
    """A task that cannot be done, and why."""

    task: str
    reason: str


@dataclass(frozen=True)
class Retried:
    """A worker died; what it was doing is done again."""

    task: str
    reason: str


Event = Frames | Done | Failed | Retried


class Engine(Protocol):
    """See `Processes` and `cluster.Cluster`."""

    def run(self, units: Sequence[Unit], store: Store) -> Iterator[Event]:
        """Do all units; a unit that fails stops no other."""


@lru_cache(maxsize=1)
def _runtime(model: ModelChoice) -> Runtime:
    """The model, loaded once a process; by the same runtime in every one, so that results do not depend on
    who made them, or when."""
    return model.load(timed=False)


def do_unit(unit: Unit, store: Store, on_event: Callable[[Event], None], threads: int | None = None) -> None:
    """Do a unit's tasks here. When one fails so do those that would begin where it ends. threads: of a model
    for which none are chosen. Nothing but a stop by a person is raised."""
    failed = ""
    for task in unit:
        if failed:
            on_event(_behind(failed, task))
            continue
        model = task.model if task.model.threads is not None else replace(task.model, threads=threads)
        try:
            result = run_task(task, store, _runtime(model), partial(_say_frames, on_event, task.name))
        except Exception as error:  # whatever is wrong with one recording, the others are done
            expected = isinstance(error, UniRefError)
            on_event(Failed(task.name, str(error) if expected else f"{type(error).__name__}: {error}"))
            failed = task.name
        else:
            on_event(Done(task.name, result["frames"]))


def _say_frames(on_event: Callable[[Event], None], task: str, count: int) -> None:
    on_event(Frames(task, count))


class Processes:
    """Several processes on this machine. One that dies (memory, a decoder's crash, a signal) is replaced, and
    what it did is done again, at most `retries` times. They end when this process does, however it ends."""

    def __init__(self, count: int, retries: int = 2) -> None:
        self._count, self._retries = count, retries
        self._threads = max(1, (os.cpu_count() or 1) // count)

    def run(self, units: Sequence[Unit], store: Store) -> Iterator[Event]:
        """See `Engine`."""
        waiting = deque((unit, 0) for unit in units)
        crew = [_Worker(store, self._threads) for _ in range(min(self._count, len(units)))]
        try:
            while waiting or any(worker.unit for worker in crew):
                for worker in crew:
                    if not worker.unit and waiting:
                        worker.begin(*waiting.popleft())
                busy = {worker.connection: worker for worker in crew if worker.unit}
                ready = wait(list(busy))
                for connection in [one for one in busy if one in ready]:
                    worker = busy[connection]
                    try:
                        event: Event = connection.recv()
                    except (EOFError, OSError):
                        reason = f"its worker died ({worker.end()})"
                        crew[crew.index(worker)] = _Worker(store, self._threads)
                        if worker.tries < self._retries:
                            waiting.append((worker.unit, worker.tries + 1))
                            yield Retried(worker.unit[0].name, reason)
                        else:
                            yield from _given_up(worker.unit, f"{reason}, {worker.tries + 1} times")
                        continue
                    worker.take(event)
                    yield event
        finally:
            for worker in crew:
                worker.end()


def _given_up(unit: Unit, reason: str) -> Iterator[Failed]:
    yield Failed(unit[0].name, reason)
    yield from (_behind(unit[0].name, task) for task in unit[1:])


def _behind(failed: str, task: Task) -> Failed:
    return Failed(task.name, f"the slice before it, {failed}, failed")


class _Worker:
    """A process and what it is doing."""

    def __init__(self, store: Store, threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # threads of libraries do not survive a fork
        self.connection, theirs = context.Pipe()
        self.unit: Unit = ()
        self.tries = 0
        self._process = context.Process(target=_serve, args=(theirs, store, threads), daemon=True)
        self._process.start()
        theirs.close()

    def begin(self, unit: Unit, tries: int) -> None:
        self.unit, self.tries = unit, tries
        with contextlib.suppress(OSError):  # it is dead, as the next `recv` says
            self.connection.send(unit)

    def take(self, event: Event) -> None:
        if isinstance(event, Done | Failed):
            self.unit = tuple(task for task in self.unit if task.name != event.task)

    def end(self) -> str:
        """End the process, if it has not ended; how it did, for people."""
        self._process.join(0.5 if self.unit else 0)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
        self.connection.close()
        return "ended by us" if code is None else f"signal {-code}" if code < 0 else f"exit status {code}"


def _serve(connection: Connection, store: Store, threads: int) -> None:
    """A worker process: units in, events out, until the other end closes."""
    parent: Any = multiprocessing.parent_process()

    def leave() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()
    while True:
        try:
            unit = connection.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            do_unit(unit, store, connection.send, threads)
        except (OSError, KeyboardInterrupt):
            return
