"""`uniref label`: a job of many recordings, by several workers, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import UniRefError
from ..limits import MAX_THREADS

if TYPE_CHECKING:
    from ..labels.engine import Engine, Event
    from ..labels.run import Outcome


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(label)


def label(
    job: Annotated[Path, typer.Argument(help="The job's YAML file, see docs/labelling.md.")],
    workers: Annotated[
        int, typer.Option(min=1, max=MAX_THREADS, help="Processes that label at the same time.")
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS|local", help="Label on a Ray cluster, or on one made here."),
    ] = None,
    cpus: Annotated[float, typer.Option(min=0, help="With --ray: CPUs that a recording needs.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="With --ray: GPUs that a recording needs.")] = 0,
    retries: Annotated[
        int, typer.Option(min=0, help="How often a recording whose worker died is tried again.")
    ] = 2,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")] = False,
) -> None:
    """Label many recordings: what a job's file says. Run again, it goes on where it was ended."""
    from ..labels.engine import Processes
    from ..labels.job import read_job
    from ..labels.run import run_job
    from ..labels.store import open_store

    wanted = read_job(job)
    store = open_store(wanted.out, job.parent)
    engine: Engine = Processes(workers, retries)
    if ray is not None:
        from ..labels.cluster import Cluster

        engine = Cluster(ray, workers=workers, cpus=cpus, gpus=gpus, retries=retries)
    with _Status(quiet) as status:
        outcome = run_job(wanted, job.parent, store, engine, status.plan, status.take)
    if not quiet:
        _tell(outcome, wanted.out)
    if outcome.failed:
        raise UniRefError(f"{len(outcome.failed)} of {len(outcome.tasks)} recordings could not be labelled")


class _Status:
    """A bar of the tasks, with the frames so far."""

    def __init__(self, quiet: bool) -> None:
        from . import console

        self._console = console.status
        self._quiet = quiet
        columns = (
            TextColumn("labelling"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[frames]} frames"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._shown = not quiet and self._console.is_terminal
        self._running: dict[str, int] = {}
        self._frames = 0

    def __enter__(self) -> _Status:
        if self._shown:
            self._progress.start()
            self._task = self._progress.add_task("", total=None, frames=0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._progress.stop()

    def plan(self, total: int, done: int) -> None:
        if done and not self._quiet:
            self._console.print(f"{done} of {total} recordings are done already")
        if self._shown:
            self._progress.update(self._task, total=total, completed=done)

    def take(self, event: Event) -> None:
        from ..labels.engine import Done, Failed, Frames, Retried

        match event:
            case Frames(task=task, count=count):
                self._running[task] = count
            case Done(task=task, frames=count):
                self._running.pop(task, None)
                self._frames += count
            case Failed(task=task, reason=reason) | Retried(task=task, reason=reason):
                self._running.pop(task, None)
                again = "again: " if isinstance(event, Retried) else ""
                if not self._quiet:
                    self._console.print(f"{again}{task}: {reason}")
        if self._shown:
            step = int(isinstance(event, Done | Failed))
            frames = self._frames + sum(self._running.values())
            self._progress.update(self._task, advance=step, frames=frames)


def _tell(outcome: Outcome, out: str) -> None:
    from . import console

    frames = sum(result["frames"] for result in outcome.results)
    console.output.print(
        f"{len(outcome.results)} of {len(outcome.tasks)} recordings, {frames} frames: {out}/index.html"
    )
