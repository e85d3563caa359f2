"""A session on disk: the objects that are followed, so that they outlive the process that follows them.

    session.yaml      of every camera its objects: id, label, words, and what they are anchored by
    1.png, 1_mask.png a picture and its mask (or, in session.yaml, the points or box in it)
    ids.txt           every id that was given out, one a line as JSON (chosen ones are texts), so that none is
                      given out again

session.yaml is written last and replaced whole, ids.txt before anything else: whoever dies in between leaves
the session as it was.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import yaml

from ..errors import UniRefError
from ..known_objects.locking import LOCK, hold
from ..known_objects.views import as_kept
from ..limits import MAX_CHOSEN_IDS, MAX_NAME, check_count
from ..outputs import show, told, write_whole
from ..pictures import read_image, read_labels, write_png
from ..prompts import Prompt
from ..reading import parse_json, read_text
from ..settings import build

RECORD, IDS = "session.yaml", "ids.txt"
_MOST_BYTES = 64 * 1024 * 1024  # of session.yaml: a thousand objects by a thousand clicks each
_MOST_ID_BYTES = 2 * MAX_CHOSEN_IDS * (6 * MAX_NAME + 4)


@dataclass(frozen=True)
class ObjectRecord:
    """An object. text: its words. known: the name it is known by. picture: the file of what it is anchored
    in, "" for none; with it a mask's file, or points and labels, or a box, in that picture's pixels."""

    id: str
    label: str
    text: str = ""
    known: str = ""
    picture: str = ""
    mask: str = ""
    points: tuple[tuple[float, ...], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, ...] = ()


@dataclass(frozen=True)
class CameraRecord:
    """A camera's objects, the last added last."""

    name: str
    objects: tuple[ObjectRecord, ...] = ()


@dataclass(frozen=True)
class Session:
    """All of it. enabled: whether images are processed. prompts: what was asked for from the start. next:
    the number of the next picture."""

    enabled: bool = True
    next: int = 1
    prompts: tuple[str, ...] = ()
    cameras: tuple[CameraRecord, ...] = ()


class SessionFolder:
    """A folder with one session, held by one process at a time."""

    def __init__(self, folder: Path | str) -> None:
        """Raises KnownObjectError when another process holds it, SourceError when it cannot be written."""
        self.folder = Path(folder)
        self._handle: int | None = hold(self.folder)
        self._ids: int | None = None

    def close(self) -> None:
        """Let others have it. Closing twice is allowed."""
        for handle in (self._handle, self._ids):
            if handle is not None:
                os.close(handle)
        self._handle = self._ids = None

    def load(self) -> tuple[Session | None, str]:
        """The session, None where there is none; and what is wrong with the one there was, which is then put
        aside."""
        path = self.folder / RECORD
        try:
            return build(Session, yaml.safe_load(read_text(path, _MOST_BYTES, ordinary=True))), ""
        except FileNotFoundError:
            return None, ""
        except (OSError, ValueError, UniRefError, yaml.YAMLError, RecursionError) as error:
            aside = path.with_name(f"{RECORD}.damaged")
            with contextlib.suppress(OSError):
                os.replace(path, aside)
            first_line = str(error).partition("\n")[0][:200]
            return None, f"{show(path)} is damaged ({first_line}); it was put aside as {aside.name}"

    def load_ids(self) -> list[str | int]:
        """Every id that was ever given out here, automatic ones as numbers. A line that was cut short stands
        for an id nobody got."""
        try:
            text = read_text(self.folder / IDS, _MOST_ID_BYTES, ordinary=True)
        except (OSError, ValueError, UniRefError):
            return []
        found: list[str | int] = []
        for line in text.splitlines():
            with contextlib.suppress(ValueError):
                if isinstance(name := parse_json(line), str | int):
                    found.append(name)
        return found

    def begin_ids(self, ids: Iterable[str | int]) -> None:
        """Write the list of ids anew, to be added to. Raises SourceError."""
        path = self.folder / IDS
        write_whole(path, "".join(f"{json.dumps(name)}\n" for name in ids), durable=True)
        with told(path):
            before, self._ids = self._ids, os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        if before is not None:
            os.close(before)

    def add_id(self, object_id: str | int) -> None:
        """Note an id for good, before anybody gets it. Raises SourceError."""
        if self._ids is None:
            return
        line = f"{json.dumps(object_id)}\n".encode()
        with told(self.folder / IDS):
            if os.write(self._ids, line) < len(line):  # as much as there was room for
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._ids)

    def write_anchor(self, number: int, prompt: Prompt) -> dict[str, Any]:
        """Write the picture of a prompt that has one, and its mask. Returns the fields of `ObjectRecord` that
        say so. Raises SourceError."""
        assert prompt.image is not None
        picture, fields = f"{number}.png", dict[str, Any]()
        image = prompt.image
        if prompt.mask is not None:
            image, mask = as_kept(image, prompt.mask)
            fields = {"mask": f"{number}_mask.png"}
            write_png(self.folder / f"{number}_mask.png", mask, durable=True)
        write_png(self.folder / picture, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), durable=True)
        if prompt.points is not None:
            fields = {"points": tuple(prompt.points), "labels": tuple(prompt.labels or ())}
        if prompt.box is not None:
            fields = {"box": tuple(prompt.box)}
        return {"picture": picture, **fields}

    def read_prompt(self, record: ObjectRecord) -> Prompt:
        """An object as it was asked for, anchored in its picture. Raises UniRefError when it has no words and
        its picture cannot be read."""
        if not record.picture:
            return Prompt(record.text or None)
        drawn: dict[str, Any] = {
            "mask": read_labels(self._inside(record.mask)) if record.mask else None,
            "points": record.points or None,
            "labels": record.labels or None,
            "box": record.box or None,
        }
        return Prompt(record.text or None, image=read_image(self._inside(record.picture)), **drawn)

    def save(self, session: Session) -> None:
        """Replace the session. Raises SourceError, LimitError for one that could not be read again; the one
        before it stays then."""
        text = yaml.safe_dump(_plain(asdict(session)), sort_keys=False, allow_unicode=True)
        check_count(len(text.encode()), f"bytes of {RECORD}", _MOST_BYTES)
        write_whole(self.folder / RECORD, text, durable=True)
        self._sweep(session)

    def _inside(self, name: str) -> Path:
        if name != os.path.basename(name) or name.startswith("."):
            raise UniRefError(f"{RECORD} names the file {name[:80]!r}, expected one beside it")
        return self.folder / name

    def _sweep(self, session: Session) -> None:
        objects = [item for camera in session.cameras for item in camera.objects]
        listed = {name for item in objects for name in (item.picture, item.mask)}
        for path in list(self.folder.iterdir()):
            temporary = path.name.startswith(".") and path.name != LOCK
            if temporary or (path.suffix == ".png" and path.name not in listed):
                with contextlib.suppress(OSError):
                    path.unlink()


def _plain(value: object) -> object:
    """Tuples as lists, as YAML writes them."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
