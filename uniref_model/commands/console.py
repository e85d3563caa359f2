"""Where commands write: results to stdout, everything else to stderr."""

from __future__ import annotations

from rich.console import Console

output = Console(soft_wrap=True)
status = Console(stderr=True, soft_wrap=True)
