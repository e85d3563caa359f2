"""Render rooms into a sprite pack: `add_rooms` while a pack is built, `extend_pack` for one that exists."""

from __future__ import annotations

import contextlib
import logging
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..packs.sprites import PackWriter, SpritePack, held_out
from ..things import turntable
from .layout import FLOOR, TABLE, Entry, Layout, choose, entries, lay_out
from .render import Body, Part, RoomRenderer

log = logging.getLogger(__name__)

ROOMS = 600
_LEAST = 0.004  # of the picture: what is smaller does not count as seen
_TRIES = 8


@dataclass(frozen=True)
class Rendered:
    """images RGB uint8 [3,h,w,3]; labels uint8 [3,h,w]; nouns of the labels 1.., of which the first `count`
    may be meant; whole int [n,3]: pixels of each if nothing hid it."""

    images: np.ndarray
    labels: np.ndarray
    nouns: list[str]
    count: int
    whole: np.ndarray


def render(renderer: RoomRenderer, layout: Layout, parts: Sequence[Sequence[Part]]) -> Rendered:
    """The three views of a layout; parts: of each of its stands."""
    images, labels, whole = [], [], []
    for t, eye in enumerate(layout.eyes):
        standing = [
            Body(made, stand.place(t), number)
            for number, (stand, made) in enumerate(zip(layout.stands, parts, strict=True), 1)
        ]
        everything = [*layout.around, *standing]
        images.append(renderer.picture(everything, eye, layout.sun))
        labels.append(renderer.labels(everything, eye))
        counted = [*standing, *(body for body in layout.around if body.number)]
        whole.append([renderer.whole(body, eye) for body in counted])
    renderer.forget(layout.around)
    nouns = [stand.entry.noun for stand in layout.stands]
    count = len(nouns)
    if layout.table:
        nouns.append("table")
    return Rendered(np.stack(images), np.stack(labels), nouns, count, np.array(whole).T)


class RoomMaker:
    """Makes rooms of a furniture package's catalogues. `room(number)` depends on nothing but the number, the
    models and the photographs.

    catalogues: their open files by name; photos: RGB uint8 [h,w,3] by key, to hang on walls. Models and
    photographs of the held-out tenth are in rooms of the held-out tenth only. Raises what RoomRenderer does.
    """

    def __init__(
        self, catalogues: dict[str, zipfile.ZipFile], photos: dict[str, Callable[[], np.ndarray]]
    ) -> None:
        self._renderer = RoomRenderer()
        self._entries: dict[str, list[Entry]] = {FLOOR: [], TABLE: []}
        for name, archive in catalogues.items():
            for where, found in entries(archive, name).items():
                self._entries[where] += found
        self._photos = photos
        self._parts: dict[str, list[Part] | None] = {}

    def room(self, number: int) -> Rendered | None:
        """Room `number`, or None where nothing worth seeing came of it."""
        rng = np.random.default_rng((7, number))
        validation = held_out(room_key(number))
        table = bool(rng.random() < 0.5)
        among = [e for e in self._entries[TABLE if table else FLOOR] if held_out(e.key) == validation]
        keys = [key for key in sorted(self._photos) if held_out(key) == validation]
        for _ in range(_TRIES if among else 0):
            chosen = choose(rng, among, int(rng.integers(3, 7)))
            chosen = [entry for entry in chosen if self._read(entry) is not None]
            if len(chosen) < 2:
                continue
            photos = [self._photos[str(key)]() for key in (rng.choice(keys, 2) if keys else ())]
            made = render(
                self._renderer,
                lay_out(rng, chosen, table, photos),
                [self._read(entry) or [] for entry in chosen],
            )
            seen = np.bincount(made.labels[-1].ravel(), minlength=made.count + 1)[1 : made.count + 1]
            if (seen > _LEAST * made.labels[-1].size).sum() >= 2:
                return made
        return None

    def _read(self, entry: Entry) -> list[Part] | None:
        """The entry's parts, read once; None if it cannot be read."""
        if entry.key not in self._parts:
            try:
                self._parts[entry.key] = entry.parts()
            except (ValueError, KeyError, IndexError) as error:
                log.debug("model %s cannot be read: %s", entry.key, error)
                self._parts[entry.key] = None
        return self._parts[entry.key]


def room_key(number: int) -> str:
    """By which a room belongs to training or to the held-out tenth."""
    return f"rooms/{number}"


def add_rooms(
    writer: PackWriter, folder: Path, count: int = ROOMS, progress: Callable[[str], None] = log.info
) -> int:
    """Render `count` rooms of the furniture package unpacked in `folder`, with the writer's backgrounds on
    their walls. Returns how many came out (0 without OpenGL)."""
    pack = writer.pack()
    photos = {b["key"]: lambda index=b["picture"]: pack.picture(index) for b in pack.backgrounds}
    before = len(writer.rooms)
    with contextlib.ExitStack() as stack:
        opened = {
            path.stem: stack.enter_context(zipfile.ZipFile(path)) for path in turntable.archives(folder)
        }
        try:
            maker = RoomMaker(opened, photos)
        except Exception as error:  # no moderngl, or whatever the OpenGL driver raises when there is none
            log.warning(
                "rooms are left out: cannot render (%s); they need the package moderngl and an EGL driver",
                error,
            )
            return 0
        for number in range(count):
            made = maker.room(number)
            if made is not None:
                writer.add_room(
                    made.images, made.labels, made.nouns, made.count, made.whole, room_key(number)
                )
            if (number + 1) % 50 == 0:
                progress(f"rooms: {number + 1} of {count}")
    return len(writer.rooms) - before


def extend_pack(
    old: Path, new: Path, folder: Path, count: int = ROOMS, progress: Callable[[str], None] = log.info
) -> int:
    """Write the pack `old` with rooms in place of any it has to `new`. Returns how many came out. Raises
    what `SpritePack.load` does."""
    writer = PackWriter.of(SpritePack.load(old))
    made = add_rooms(writer, folder, count, progress)
    writer.save(new)
    return made
