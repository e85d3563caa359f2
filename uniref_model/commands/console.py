"""Where commands write: results to stdout, everything else to stderr. Text is shown as it is: square brackets
in people's prompts, names and paths are no markup."""

from __future__ import annotations

from rich.console import Console

output = Console(soft_wrap=True, markup=False, emoji=False)
status = Console(stderr=True, soft_wrap=True, markup=False, emoji=False)
