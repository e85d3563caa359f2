"""`uniref teach` and `uniref known`: things that are shown once and called by name from then on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..errors import SourceError, UniRefError
from ..limits import MAX_PIXELS
from ..outputs import keep_apart
from . import console
from .options import Device, KnownFolder, Model, RuntimeName, Size, Threads

if TYPE_CHECKING:
    import numpy as np

app = typer.Typer(no_args_is_help=True, help="Known objects: what was shown once and can be called by name.")


def register(parent: typer.Typer) -> None:
    """Add the commands to the program."""
    parent.command("teach")(teach_command)
    parent.add_typer(app, name="known")


def teach_command(
    name: Annotated[str, typer.Argument(help='What it is called from now on, such as "my mug".')],
    source: Annotated[str, typer.Argument(help="Where it is shown: an image, a folder, a video, a camera.")],
    mask: Annotated[
        Path | None, typer.Option(help="Its mask: one object, black and white or a cut-out.")
    ] = None,
    mask_form: Annotated[
        str, typer.Option(help="labels, object (half white or half opaque counts), or auto.")
    ] = "auto",
    click: Annotated[str | None, typer.Option(metavar="X,Y", help="A pixel of it.")] = None,
    box: Annotated[str | None, typer.Option(metavar="X,Y,W,H", help="A box round it.")] = None,
    frame: Annotated[int, typer.Option(min=0, help="In which frame of the source, counted from 0.")] = 0,
    known: KnownFolder = None,
    replace: Annotated[bool, typer.Option("--replace", help="Instead of the views it has.")] = False,
    model: Model = "uniref_nano",
    size: Size = None,
    runtime: RuntimeName = "auto",
    device: Device = "auto",
    threads: Threads = None,
    max_pixels: Annotated[int, typer.Option(min=1, help="Refuse pictures that state more.")] = MAX_PIXELS,
) -> None:
    """Show a thing once, in a picture or a frame, and call it by name from then on."""
    from ..known_objects import KnownObjects
    from ..offline.model import ModelChoice
    from ..offline.wanted import References, read_references
    from ..tracking.teaching import Teacher

    drawn = References((), mask, mask_form, (click,) if click else (), (box,) if box else ())
    wanted = read_references(drawn, max_pixels)
    if len(wanted) != 1:
        raise UniRefError(f"found {len(wanted)} things to teach, expected one: a --mask, --click or --box")
    image = _frame(source, frame, max_pixels)
    store = KnownObjects(known)
    with ModelChoice(model, size, runtime, device, threads).load() as loaded:
        item = Teacher(loaded, store).teach(name, image, wanted[0].prompt, replace=replace)
    count = f"{len(item.views)} view{'s' * (len(item.views) > 1)}"
    _print(f"{item.name}: {count} in {store.folder / item.key}")


@app.command("list")
def list_command(known: KnownFolder = None) -> None:
    """Every name with its views, and what is damaged."""
    from ..known_objects import KnownObjects

    store = KnownObjects(known)
    table = Table("name", "views", "newest", title=str(store.folder))
    for item in store.objects:
        table.add_row(item.name, str(len(item.views)), item.views[-1].taught)
    console.output.print(table)
    for name, reason in store.damaged.items():
        console.status.print(f"damaged: {name}: {reason}", highlight=False)


@app.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="Of a known object.")],
    out: Annotated[Path, typer.Option(help="Where to write the picture (.png).")] = Path("known.png"),
    known: KnownFolder = None,
) -> None:
    """Write one picture with all views of a known object, each cut out round it."""
    from ..known_objects import KnownObjects, contact_sheet

    store = KnownObjects(known)
    item = store.find(name)
    if item is None:
        raise store.nobody(name)
    keep_apart([out], store.folder.rglob("*"))
    contact_sheet([store.read(view) for view in item.views], out)
    for view in item.views:
        console.output.print(f"view {view.number}: {view.taught} {view.picture}", highlight=False)
    console.output.print(f"all of them: {out}", highlight=False)


@app.command("forget")
def forget_command(
    name: Annotated[str, typer.Argument(help="Of a known object.")],
    view: Annotated[int | None, typer.Option(min=1, help="Only this view.")] = None,
    known: KnownFolder = None,
) -> None:
    """Forget a known object, or one of its views."""
    from ..known_objects import KnownObjects

    store = KnownObjects(known)
    if view is None:
        store.forget(name)
    else:
        store.forget_view(name, view)
    _print(f"forgot {name}" + (f", view {view}" if view else ""))


def _print(text: str) -> None:
    console.output.print(text, highlight=False)


def _frame(source: str, index: int, max_pixels: int) -> np.ndarray:
    from ..offline.sources import open_frames

    frames = open_frames(source, max_pixels=max_pixels)
    try:
        for found in frames:
            if found.index == index:
                return found.image
    finally:
        frames.close()
    raise SourceError(f"the source {source!r} has no frame {index}")
