"""`uniref`: the tracker for people without ROS, and the tools round it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from . import __version__
from .commands import bench as bench_commands
from .commands import data as data_commands
from .commands import eval as eval_commands
from .commands import export as export_commands
from .commands import known as known_commands
from .commands import label as label_commands
from .commands import model as model_commands
from .commands.options import (
    INSTALL_TRAIN,
    MASK_REFERENCES,
    Device,
    Fusion,
    KnownFolder,
    Model,
    Precision,
    RuntimeName,
    Size,
    Threads,
)
from .errors import UniRefError
from .limits import MAX_PIXELS, printable
from .stopping import stopped_as_by_a_person

app = typer.Typer(
    name="uniref",
    help="Follow what you name, click or mask through video.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def track(
    source: Annotated[
        str,
        typer.Argument(help="A video file, a folder of images, one image, a camera index, or a ROS 2 bag."),
    ],
    prompt: Annotated[
        list[str], typer.Option("--prompt", "-p", help='Words, such as "the yellow box". One object each.')
    ] = [],  # noqa: B006 - typer copies defaults
    mask: Annotated[
        Path | None,
        typer.Option(
            help="Label image of the first frame: every value but 0 is one object (255 beside others: none). "
            "Or one object: black and white, or a cut-out."
        ),
    ] = None,
    mask_form: Annotated[
        str, typer.Option(help="labels, object (one; half white or half opaque counts), or auto.")
    ] = "auto",
    click: Annotated[
        list[str],
        typer.Option(metavar="X,Y", help="A pixel of the object in the first frame. One object each."),
    ] = [],  # noqa: B006
    box: Annotated[
        list[str],
        typer.Option(metavar="X,Y,W,H", help="A box round the object in the first frame. One object each."),
    ] = [],  # noqa: B006
    topic: Annotated[
        list[str],
        typer.Option(help="Images of a bag, or camera=topic; left out, the only topic with images."),
    ] = [],  # noqa: B006
    start: Annotated[
        float | None, typer.Option(min=0, help="Begin so many seconds after the beginning.")
    ] = None,
    end: Annotated[float | None, typer.Option(min=0, help="End so many seconds after the beginning.")] = None,
    stride: Annotated[int, typer.Option(min=1, help="Take the first of so many frames.")] = 1,
    replay_prompts: Annotated[
        bool,
        typer.Option(
            "--replay-prompts", help="Obey what was recorded on ~/prompt and ~/command, at its time."
        ),
    ] = False,
    node: Annotated[
        str, typer.Option(help="Whose recorded prompts: the tracker's name, with its namespace.")
    ] = "/tracker",
    out: Annotated[
        Path | None, typer.Option(help="Write a video with the objects drawn (.mp4 or .avi).")
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder for one 8-bit label PNG a frame, named like the image or by frame index."),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Write id, prompt, state, score and box of every frame.")
    ] = None,
    bag: Annotated[
        Path | None,
        typer.Option(help="Write a bag: the node's objects and label_image, under the source's stamps."),
    ] = None,
    export: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            metavar="coco|yolo|davis DIR", help="Write a data set, with a sheet of doubtful frames to review."
        ),
    ] = None,
    export_every: Annotated[
        int, typer.Option(min=1, help="Of the frames, the data set takes the first of so many.")
    ] = 1,
    export_change: Annotated[
        float, typer.Option(min=0, max=1, help="... and only those that differ so much from the last taken.")
    ] = 0.0,
    export_score: Annotated[
        float, typer.Option(min=0, max=1, help="... and none in which a visible object scores less.")
    ] = 0.0,
    known: KnownFolder = None,
    model: Model = "uniref_nano",
    size: Size = None,
    runtime: RuntimeName = "auto",
    device: Device = "auto",
    threads: Threads = None,
    precision: Precision = "auto",
    references: Annotated[str, typer.Option(help=MASK_REFERENCES)] = "first+previous",
    fusion: Fusion = None,
    protocol: Annotated[
        str, typer.Option(help="streaming, or authors: the video rules behind the authors' numbers.")
    ] = "streaming",
    contours: Annotated[
        str, typer.Option(help="network, colour (they follow the image's colours), or model: its choice.")
    ] = "model",
    mask_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Score above which what is followed counts as seen.")
    ] = None,
    language_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Score above which words alone find an object.")
    ] = None,
    view_threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Score above which a known object is found by a view."),
    ] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Refuse frames and masks that state more pixels.")
    ] = MAX_PIXELS,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")] = False,
) -> None:
    """Follow objects through a video and write what was seen."""
    from .commands.track import track as follow
    from .known_objects import KnownObjects
    from .offline.model import ModelChoice
    from .offline.wanted import References
    from .offline.writers import Outputs
    from .tracking import TrackerConfig
    from .video import Selection

    data_set = None
    if export is not None:
        from .labels.choice import FrameChoice
        from .labels.writer import Export

        data_set = Export(*export, FrameChoice(export_every, export_change, export_score))
    given = References(tuple(prompt), mask, mask_form, tuple(click), tuple(box))
    try:
        config = TrackerConfig(
            references=references,
            reference_protocol=protocol,
            contours=contours,
            mask_threshold=mask_threshold,
            language_threshold=language_threshold,
            view_threshold=view_threshold,
        )
    except ValueError as error:
        raise UniRefError(str(error)) from error
    follow(
        source,
        given,
        Outputs(out, masks, json, bag),
        ModelChoice(model, size, runtime, device, threads, fusion, precision),
        config,
        topics=topic,
        selection=Selection(start, end, stride),
        export=data_set,
        known=KnownObjects.existing(known),
        replayed="/" + node.strip("/") if replay_prompts else None,
        max_frames=max_frames,
        quiet=quiet,
        max_pixels=max_pixels,
    )


@app.command()
def info(
    what: Annotated[
        str | None, typer.Argument(help="A model's name or folder, an .onnx or a .safetensors file.")
    ] = None,
) -> None:
    """Describe a model or a file; without one, the models installed."""
    from .commands.doctor import info as describe

    describe(what)


@app.command()
def doctor() -> None:
    """Say what is installed, which runtimes work, and why not."""
    from .commands.doctor import doctor as examine

    if not examine():
        raise typer.Exit(1)


for _commands in (
    known_commands,
    label_commands,
    bench_commands,
    model_commands,
    export_commands,
    data_commands,
    eval_commands,
):
    _commands.register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: 0, 1 for an error that was explained, 2 for a wrong command
    line."""
    for stream in (sys.stdout, sys.stderr):  # file names need not be UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with stopped_as_by_a_person():
            app(args=arguments)
    except UniRefError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"error: this needs what is not installed ({error}): {INSTALL_TRAIN}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `uniref … | head`: whoever read has enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - Python flushes it at the end
        return 1
    except OSError as error:  # no room, no permission: whatever no command explained itself
        where = f" {error.filename!r}" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        return 1
    except SystemExit as stop:  # how typer ends, well or with a message of its own
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
