"""Writes the tables of docs/reference.md from the code: `python -m uniref_ros.reference`, in the sources."""

from __future__ import annotations

import ast
import os
import re
import runpy
from collections.abc import Iterable
from pathlib import Path

from uniref_ros import parameters, video_player, voice_command
from uniref_ros.console import options as console
from uniref_ros.parameter_rules import Option

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference.md"
FOLLOWER = ROOT / "examples" / "follow_object.py"
_WHEN = {"running": "any time", "configure": "when configured", "start": "at start"}
_TABLE = re.compile(r"(<!-- table: (\S+) -->\n)(.*?)(<!-- end -->)", re.S)


def parameter_table(options: Iterable[Option]) -> str:
    """A Markdown table of a node's parameters."""
    rows = ["| name | default | changes | meaning |", "|---|---|---|---|"]
    for option in options:
        limits = ""
        if option.choices:
            limits = f" ({', '.join(option.choices)})"
        elif option.limits:
            limits = " ({} to {})".format(*option.limits)
        meaning = f"{option.description}{limits}"
        rows.append(f"| {option.name} | `{option.default!r}` | {_WHEN[option.when]} | {meaning} |")
    return "\n".join(rows) + "\n"


def launch_arguments(name: str) -> dict[str, tuple]:
    """ARGUMENTS of a launch file, read without importing launch: (default, description, choices) by name."""
    tree = ast.parse((ROOT / "launch" / f"{name}.launch.py").read_text(encoding="utf-8"))
    wanted: list[ast.stmt] = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("PASSED", "ARGUMENTS")
    ]
    values: dict = {"os": os, "SHARE": "share/uniref_ros"}
    exec(compile(ast.Module(wanted, []), name, "exec"), values)
    return values["ARGUMENTS"]


def launch_table(name: str) -> str:
    """A Markdown table of a launch file's arguments."""
    rows = ["| argument | default | meaning |", "|---|---|---|"]
    for argument, (default, description, *choices) in launch_arguments(name).items():
        values = ", ".join(filter(None, choices[0])) if choices else ""
        shown = f"`{default}`" if default else ""
        rows.append(f"| {argument} | {shown} | {description}{f' ({values})' if values else ''} |")
    return "\n".join(rows) + "\n"


def tables() -> dict[str, str]:
    """Every table of the page by the name that its marker gives it."""
    return {
        "tracker": parameter_table(parameters.OPTIONS),
        "voice_command": parameter_table(voice_command.OPTIONS),
        "console": parameter_table(console.OPTIONS),
        "video_player": parameter_table(video_player.OPTIONS),
        "follow_object.py": parameter_table(runpy.run_path(str(FOLLOWER))["OPTIONS"]),
        "tracker.launch.py": launch_table("tracker"),
        "demo.launch.py": launch_table("demo"),
    }


def filled(page: str) -> str:
    """The page with its tables as the code has them."""
    known = tables()
    return _TABLE.sub(lambda found: found[1] + known[found[2]] + found[4], page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
