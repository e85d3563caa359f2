"""Where commands write: results to stdout, everything else to stderr. Text is shown as it is: square brackets
in people's prompts, names and paths are no markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

output = Console(soft_wrap=True, markup=False, emoji=False)
status = Console(stderr=True, soft_wrap=True, markup=False, emoji=False)


def progress(*, transient: bool = False) -> Progress:
    """A bar of how many of how many are done. transient: gone when it has ended."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    title = TextColumn("{task.description}", markup=False)
    columns = title, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=status, transient=transient)
