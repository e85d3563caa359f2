"""A whole job: what is done already stays, the rest is done, then data sets and the report are made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .datasets import FORMATS, write_dataset
from .engine import Engine, Event, Failed, Unit
from .job import Job, Task, plan
from .part import Part
from .report import report
from .store import Store
from .task import PART

_CHANGED = "it changed while it was labelled: run the job again"
_ELSEWHERE = "its results did not arrive: every worker must reach the place that `out` names"


@dataclass
class Outcome:
    """results: what `result.json` says, of every task that is done, in the job's order. failed: why, by
    task."""

    tasks: Sequence[Task]
    results: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def run_job(
    job: Job,
    folder: Path,
    store: Store,
    engine: Engine,
    on_plan: Callable[[int, int], None] = lambda total, done: None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Outcome:
    """Do a job, or what is left of it. folder: of its file. on_plan: told the number of tasks, and how many
    of them are done already. A recording that fails is told and in the report; it is tried again by the next
    run. Raises UniRefError for the job itself."""
    with store.held():
        units = plan(job, folder)
        tasks = [task for unit in units for task in unit]
        store.check_apart({task.source for task in tasks})
        done = _finished(tasks, store)
        on_plan(len(tasks), len(done))
        outcome = Outcome(tasks)
        for event in engine.run(_left(units, done), store):
            if isinstance(event, Failed):
                outcome.failed[event.task] = event.reason
            on_event(event)
        ready = _finished(tasks, store)
        for event in _missing(tasks, {*ready, *outcome.failed}, store):
            outcome.failed[event.task] = event.reason
            on_event(event)
        outcome.results = [ready[task.name] for task in tasks if task.name in ready]
        _make_datasets(job, outcome, store)
        report(job, outcome.tasks, outcome.results, outcome.failed, store)
    return outcome


def _finished(tasks: Sequence[Task], store: Store) -> dict[str, dict[str, Any]]:
    """The results that are there, of what is asked now, by task."""
    results = store.results()
    return {
        task.name: results[task.name]
        for task in tasks
        if task.name in results and results[task.name]["fingerprint"] == task.fingerprint()
    }


def _missing(tasks: Sequence[Task], told: Collection[str], store: Store) -> Iterator[Failed]:
    """What was done, as its worker said, and does not count."""
    for task in tasks:
        if task.name not in told:
            changed = store.result(task.name) is not None
            yield Failed(task.name, _CHANGED if changed else _ELSEWHERE)


def _left(units: Sequence[Unit], done: Collection[str]) -> list[Unit]:
    """What of each unit is to be done: all from the first task that is not done, since each begins with the
    end of the one before."""
    left = []
    for unit in units:
        first = next((index for index, task in enumerate(unit) if task.name not in done), len(unit))
        if first < len(unit):
            left.append(unit[first:])
    return left


def _make_datasets(job: Job, outcome: Outcome, store: Store) -> None:
    wanted = [form for form in FORMATS if form in job.write]
    if not wanted or not outcome.results:
        return
    parts = [Part(result["task"], store.fetch(result["task"]) / PART) for result in outcome.results]
    for form in wanted:
        with store.workplace(form) as place:
            write_dataset(form, parts, place / form)
            store.place(form, place / form)
