"""A known object on disk: a folder with a small YAML, and a picture and a mask (both PNG) a view.

    mug/
      object.yaml       name, and of every view: number, files, when it was taught
      view_1.png        the picture
      view_1_mask.png   white on the object

object.yaml is written last and replaced whole: what it does not list is not there.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from ..errors import KnownObjectError, SourceError, UniRefError
from ..limits import MAX_VIEW_PIXELS, MAX_VIEWS, LimitError, quoted
from ..outputs import show, write_whole
from ..pictures import read_image, read_labels, write_png
from ..reading import read_text
from ..settings import build
from .names import check_known_name, name_key
from .views import as_kept

RECORD = "object.yaml"
_MOST_BYTES = 64 * 1024  # of a record
_PIXELS_READ = 16 * MAX_VIEW_PIXELS  # of a picture that a person put there by hand


@dataclass(frozen=True)
class View:
    """One view of a known object; its pictures stay on disk until they are read.

    number: counts from 1 under its name and is not used again. taught: when, ISO 8601 in UTC, or "". version:
    differs whenever the files do.
    """

    key: str
    number: int
    taught: str
    picture: Path
    mask: Path
    version: tuple[int, ...]

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """uint8 RGB [h,w,3] and bool [h,w]. Raises UniRefError for files that are gone or damaged."""
        image = read_image(self.picture, _PIXELS_READ)
        mask = read_labels(self.mask, _PIXELS_READ) > 0
        if mask.shape != image.shape[:2] or not mask.any():
            raise KnownObjectError(
                f"the mask {show(self.mask)} is {mask.shape}, {np.count_nonzero(mask)} pixels on the object; "
                f"its picture is {image.shape[:2]}"
            )
        return image, mask


@dataclass(frozen=True)
class KnownObject:
    """A name and its views, by number. key: what all spellings of the name have in common."""

    name: str
    key: str
    views: tuple[View, ...]


@dataclass(frozen=True)
class ViewRecord:
    """A view as the YAML says."""

    number: int
    picture: str
    mask: str
    taught: str = ""


@dataclass(frozen=True)
class Record:
    """An object.yaml. next: the number of the view that is taught next."""

    name: str
    next: int
    views: tuple[ViewRecord, ...]


def read_record(folder: Path) -> Record:
    """A folder's record, checked. Raises KnownObjectError saying what is wrong, FileNotFoundError where the
    folder is gone."""
    try:
        record = build(Record, yaml.safe_load(read_text(folder / RECORD, _MOST_BYTES, ordinary=True)))
    except FileNotFoundError:
        if not folder.is_dir():
            raise
        raise KnownObjectError(f"it has no {RECORD}") from None
    except OSError as error:
        raise KnownObjectError(f"{RECORD} cannot be read: {error.strerror or error}") from error
    except (LimitError, SourceError) as error:
        raise KnownObjectError(str(error)) from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise KnownObjectError(f"{RECORD}: {_first_line(error)}") from error
    _check(record, folder)
    return record


def _check(record: Record, folder: Path) -> None:
    check_known_name(record.name)
    if name_key(record.name) != folder.name:
        raise KnownObjectError(f"{RECORD} names {quoted(record.name)}, which belongs in another folder")
    numbers = [view.number for view in record.views]
    if not 1 <= len(numbers) <= MAX_VIEWS:
        raise KnownObjectError(f"{RECORD} lists {len(numbers)} views, expected 1 to {MAX_VIEWS}")
    if len(set(numbers)) < len(numbers) or min(numbers) < 1 or max(numbers) >= record.next:
        raise KnownObjectError(
            f"{RECORD} numbers its views {numbers[:9]}, expected each once, under {record.next}"
        )
    for view in record.views:
        for name in (view.picture, view.mask):
            if name != os.path.basename(name) or name.startswith(".") or not name.endswith(".png"):
                raise KnownObjectError(f"{RECORD} names the file {quoted(name)}, expected a PNG beside it")


def read_object(folder: Path) -> tuple[KnownObject, dict[str, str]]:
    """The object in a folder, and what is wrong with the views that are left out, by their files. Raises as
    `read_record`; KnownObjectError too where no view is left."""
    record = read_record(folder)
    key = name_key(record.name)
    views, faults = [], {}
    for item in sorted(record.views, key=lambda item: item.number):
        picture, mask = folder / item.picture, folder / item.mask
        try:
            version = _version(picture) + _version(mask)
        except OSError as error:
            faults[f"{folder.name}/{item.picture}"] = error.strerror or str(error)
            continue
        views.append(View(key, item.number, item.taught, picture, mask, version))
    if not views:
        raise KnownObjectError("none of its pictures can be read")
    return KnownObject(record.name, key, tuple(views)), faults


def write_view(folder: Path, number: int, taught: str, image: np.ndarray, mask: np.ndarray) -> ViewRecord:
    """Write a view's two files. It is not there until a record lists it. Raises SourceError."""
    picture, white = as_kept(image, mask)
    record = ViewRecord(number, f"view_{number}.png", f"view_{number}_mask.png", taught)
    write_png(folder / record.picture, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), durable=True)
    write_png(folder / record.mask, white, durable=True)
    return record


def write_record(folder: Path, record: Record) -> None:
    """Replace a folder's record: from here on it counts. Raises SourceError."""
    plain: dict[str, Any] = asdict(record) | {"views": [asdict(view) for view in record.views]}
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    write_whole(folder / RECORD, text, durable=True)


def sweep(folder: Path, record: Record) -> None:
    """Remove what writers left behind that were killed, and views that were dropped; a person's own files
    stay."""
    listed = {name for view in record.views for name in (view.picture, view.mask)}
    for path in list(folder.iterdir()):
        ours = path.name.startswith(("view_", ".view_", f".{Path(RECORD).stem}."))
        if ours and path.name not in listed and path.suffix in (".png", ".yaml"):
            with contextlib.suppress(OSError):
                path.unlink()


def _version(path: Path) -> tuple[int, ...]:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        raise OSError(0, "it is empty" if stat.S_ISREG(status.st_mode) else "it is no ordinary file")
    return status.st_ino, status.st_mtime_ns, status.st_size


def _first_line(error: BaseException) -> str:
    return quoted(str(error).partition("\n")[0], 200) if not isinstance(error, UniRefError) else str(error)
