"""`make demo CONSOLE=1`: the tracker on a video that begins again, and the console, until ^C."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.request
from argparse import Namespace

from rich.console import Console

from uniref_model.errors import SourceError
from uniref_model.stopping import stopped_as_by_a_person
from uniref_ros.console.options import OPTIONS
from uniref_ros.demo.demo import make_parser
from uniref_ros.demo.processes import DemoError, Process, quoted
from uniref_ros.launching import SUITED_TO_CONSOLE
from uniref_ros.video_player import Video

_START_TIMEOUT = 120.0  # s for the tracker to load its model
_POLL = 0.3  # s
_PORT = next(option.default for option in OPTIONS if option.name == "port")
_ADDRESS = f"http://127.0.0.1:{_PORT}/"


def run(arguments: Namespace, console: Console) -> None:
    """Run until ^C. arguments: as for `demo.run`. Raises DemoError when a process ends,
    SourceError for a video that cannot be read."""
    Video(arguments.video).close()  # a bad source should be said before anything is started
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    tracker = [f"model:={arguments.model}", f"runtime:={arguments.runtime}"]
    tracker += [f"{name}:={value}" for name, value in SUITED_TO_CONSOLE["tracker"].items()]
    if arguments.size:
        tracker.append(f"size:={arguments.size}")
    if arguments.prompt:
        tracker.append(f"prompts:=[{quoted(arguments.prompt)}]")
    source = [f"source:={quoted(arguments.video)}", "loop:=true", "wait_for_subscribers:=1"]
    console.print(f"[4/5] starting the tracker node (model {arguments.model}) and the console", markup=False)
    with contextlib.ExitStack() as stack:
        children = []
        for name, module, parameters in (
            ("tracker", "uniref_ros.tracker_node", tracker),
            ("video_player", "uniref_ros.video_player", source),
            ("console", "uniref_ros.console.node", []),
        ):
            options = [part for text in parameters for part in ("-p", text)]
            children.append(Process(name, module, options, out))
            stack.callback(children[-1].stop)
        _wait_until_served(children)
        console.print(f"[5/5] open {_ADDRESS} in a browser; ^C ends the demo", markup=False, highlight=False)
        while True:
            _check(children)
            time.sleep(_POLL)


def _wait_until_served(children: list[Process]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not _is_served():
        _check(children)
        if time.monotonic() > deadline:
            raise DemoError(f"the console did not find the tracker in {_START_TIMEOUT:.0f} s")
        time.sleep(_POLL)


def _is_served() -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{_ADDRESS}health", timeout=5) as answer:
        return bool(json.load(answer)["tracker"])
    return False


def _check(children: list[Process]) -> None:
    for child in children:
        child.check()
        if not child.running:
            raise DemoError(f"the process {child.name} ended, see {child.log}")


def main(args: list[str] | None = None) -> int:
    """Serve until ^C; returns the exit status."""
    arguments = make_parser(__doc__).parse_args(args)
    console = Console()
    try:
        with stopped_as_by_a_person():
            run(arguments, console)
    except (DemoError, SourceError) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
