"""`python -m benchmarks list | run NAME… | all`."""

from __future__ import annotations

import os
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from . import machine, results
from .registry import ENTRIES, RESULTS, Entry, Options, Result

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Redraw the figures and tables of the documentation."
)
console = Console(width=None if sys.stdout.isatty() else 130)
"""Wide enough for the tables where it writes to a file."""


@app.command("list")
def list_command() -> None:
    """The figures there are, and what each lacks here."""
    table = Table("name", "minutes", "what", "missing here")
    for entry in ENTRIES.values():
        table.add_row(entry.name, f"{entry.minutes:.1f}", entry.title, ", ".join(entry.missing()))
    console.print(table)
    console.print("minutes: tiny size, on two quiet CPU cores")


@app.command("run")
def run_command(
    names: Annotated[list[str], typer.Argument(help="Entries (see `list`), or all.")],
    full: Annotated[bool, typer.Option("--full", help="The real size: hours on a CPU, a GPU helps.")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds; shows that it runs, no more.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda with --full where there is one.")] = (
        "auto"
    ),
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each network.")] = min(
        2, os.cpu_count() or 1
    ),
    only: Annotated[list[str], typer.Option(help="Only these parts of an entry; repeatable.")] = [],  # noqa: B006
    clips: Annotated[
        list[str], typer.Option(help="Annotated clips for the tables (as `uniref eval folder`); repeatable.")
    ] = [],  # noqa: B006
    add: Annotated[
        bool, typer.Option("--add", help="Keep what the last result has of other parts, where an entry can.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for JSON and pictures.")] = RESULTS,
) -> None:
    """Measure, check the promises, and write JSON, PNG and SVG."""
    wanted = list(ENTRIES) if names == ["all"] else names
    unknown = [name for name in wanted if name not in ENTRIES]
    if unknown:
        raise typer.BadParameter(f"no entry {unknown[0]!r}, expected all or some of {', '.join(ENTRIES)}")
    if full and smoke:
        raise typer.BadParameter("--full and --smoke exclude each other")
    if add and (alone := [name for name in wanted if not ENTRIES[name].adds]):
        able = ", ".join(name for name, entry in ENTRIES.items() if entry.adds)
        raise typer.BadParameter(f"--add: {alone[0]} is measured whole, expected some of {able}")
    if any("rclpy" in ENTRIES[name].needs and not ENTRIES[name].missing() for name in wanted):
        import rclpy  # noqa: F401 - the ROS wheels start the interpreter anew here: before any work is done
    options = Options(full, smoke, _device(device, full), threads, tuple(only), tuple(clips))
    failed = [name for name in wanted if not _run(ENTRIES[name], options, out, names == ["all"], add)]
    if failed:
        console.print(f"[red]not as promised: {', '.join(failed)}[/red]")
        raise typer.Exit(1)


def _run(entry: Entry, options: Options, out: Path, skip: bool, add: bool) -> bool:
    """Run one entry; whether it kept its promises. skip: what is not installed is no failure. add: to the
    last result."""
    missing = entry.missing()
    if missing:
        console.print(f"[yellow]{entry.name}: needs {', '.join(missing)}, which is not installed[/yellow]")
        return skip
    console.rule(f"{entry.name}: {entry.title}")
    facts: dict[str, Any] = {
        "command": _command(entry, options) + " --add" * add,
        "size": "full" if options.full else "smoke" if options.smoke else "tiny",
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.describe(options.device),
        "options": {**vars(options), "clips": [Path(name).name for name in options.clips], "earlier": add},
    }
    name = entry.name + ("_full" if options.full else "")
    try:
        if add:
            options = replace(options, earlier=results.read(name, out))
        with machine.Watch() as watch:
            result = entry.run(options)
        facts["run"] = watch.report()
        paths = results.write(name, result, facts, out)
    except Exception:  # the other entries are to run all the same
        console.print_exception()
        return False
    for path in paths:
        console.print(f"  {os.path.relpath(path)}", highlight=False)
    _show(result, facts)
    return all(check.passed for check in result.checks)


def _show(result: Result, facts: dict[str, Any]) -> None:
    for title, header, rows in result.tables:
        table = Table(*header, title=title)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for note in result.notes:
        console.print(f"- {note}", highlight=False, markup=False)
    for check in result.checks:
        colour, word = ("green", "kept  ") if check.passed else ("red", "BROKEN")
        console.print(f"[{colour}]{word}[/{colour}] {check.claim}: {check.found}", highlight=False)
    run = facts["run"]
    console.print(f"{run['seconds']:.0f} s; others used {100 * run['cpu_share_of_others']:.0f} % of the CPU")
    if not run["quiet"]:
        console.print("[yellow]this machine was not quiet: times are too long, compare ratios only[/yellow]")


def _device(wanted: str, full: bool) -> str:
    if wanted not in ("auto", "cpu", "cuda"):
        raise typer.BadParameter(f"device is {wanted!r}, expected auto, cpu or cuda")
    if wanted != "auto":
        return wanted
    if not full:
        return "cpu"
    try:
        import torch
    except ImportError:
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "cpu"


def _command(entry: Entry, options: Options) -> str:
    words = ["python -m benchmarks run", entry.name]
    words += ["--full"] * options.full + ["--smoke"] * options.smoke
    words += [f"--device {options.device} --threads {options.threads}"]
    words += [f"--only {shlex.quote(name)}" for name in options.only]
    return " ".join(words + [f"--clips {Path(name).name}" for name in options.clips])


if __name__ == "__main__":
    sys.exit(app())
