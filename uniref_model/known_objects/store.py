"""`KnownObjects`: a folder of names and views that several programs may read and write at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace as changed
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock
from types import MappingProxyType

import numpy as np

from ..errors import KnownObjectError, UniRefError
from ..limits import MAX_KNOWN_OBJECTS, MAX_VIEWS, quoted
from ..outputs import show, sync_folder, told
from .locking import locked
from .names import check_known_name, name_key
from .records import (
    RECORD,
    KnownObject,
    Record,
    View,
    read_object,
    read_record,
    sweep,
    write_record,
    write_view,
)
from .views import check_view

DEFAULT_VIEWS = 8
_NEW, _OLD = ".new-", ".old-"
_EVERYTHING = "everything"  # that is damaged, where the folder itself cannot be read
_ATTEMPTS = 3  # a reader may meet a writer, who is done in milliseconds

_Seen = tuple[tuple[int, ...], KnownObject | None, dict[str, str]]


def default_folder() -> Path:
    """Where known objects are kept unless somebody says otherwise: the user's data folder."""
    data = os.environ.get("XDG_DATA_HOME")
    return Path(data or Path.home() / ".local" / "share") / "uniref_ros" / "known_objects"


class KnownObjects:
    """Names, each with 1 to `max_views` views.

    A writer's change is there whole or not at all, whatever becomes of the writer, and writers in other
    threads and processes lose nothing by it. What is damaged is named in `damaged` and left out. Reading is
    lazy: pictures are read when asked for. Safe between threads.
    """

    def __init__(self, folder: Path | str | None = None, *, max_views: int = DEFAULT_VIEWS) -> None:
        """folder: `default_folder` for None; made when something is taught. Raises ValueError for
        max_views."""
        if not 1 <= max_views <= MAX_VIEWS:
            raise ValueError(f"max_views is {max_views}, expected 1 to {MAX_VIEWS}")
        self.folder = default_folder() if folder is None else Path(folder)
        self.max_views = max_views
        self._lock = Lock()
        self._seen: dict[str, _Seen] = {}  # by the name of the object's folder
        self._unreadable = ""  # why the folder cannot be looked into
        self._unread: dict[tuple[str, int], tuple[tuple[int, ...], str]] = {}  # views that could not be read
        self.refresh()

    @classmethod
    def existing(cls, folder: Path | str | None) -> KnownObjects:
        """The known objects of a folder that somebody names who wants to use them, not to teach. None: of
        `default_folder`, which need not be there. Raises KnownObjectError."""
        if folder is not None and not os.path.lexists(folder):
            raise KnownObjectError(
                f"known: there is no folder {show(folder)}; `uniref teach --known` makes it"
            )
        return cls(folder)

    @property
    def objects(self) -> tuple[KnownObject, ...]:
        """All that can be used, as of the last look at the folder, by name."""
        with self._lock:
            found = [item for _, item, _ in self._seen.values() if item is not None]
        return tuple(sorted(found, key=lambda item: item.key))

    @property
    def damaged(self) -> Mapping[str, str]:
        """What was left out, and why, by its path in the folder."""
        with self._lock:
            faults = {name: text for _, _, found in self._seen.values() for name, text in found.items()}
            faults |= {f"{key}/view {number}": text for (key, number), (_, text) in self._unread.items()}
        if self._unreadable:
            faults[_EVERYTHING] = self._unreadable
        return MappingProxyType(faults)

    def find(self, text: str) -> KnownObject | None:
        """The object of this name (case, article and punctuation aside), as it is on disk now; else None."""
        key = name_key(text)
        if not key:
            return None
        self.refresh()
        with self._lock:
            seen = self._seen.get(key)
        return None if seen is None else seen[1]

    def refresh(self) -> bool:
        """Look at the folder again; whether anything is different. Cheap while nothing is."""
        folders = self._folders()
        with self._lock:
            before = dict(self._seen)
        after = {
            path.name: seen
            for path in folders
            if (seen := self._look(path, before.get(path.name))) is not None
        }
        differs = {name: seen[0] for name, seen in before.items()} != {
            name: seen[0] for name, seen in after.items()
        }
        if differs:
            with self._lock:
                self._seen = after
                there = {
                    (view.key, view.number): view.version
                    for _, item, _ in after.values()
                    if item is not None
                    for view in item.views
                }
                self._unread = {k: v for k, v in self._unread.items() if there.get(k) == v[0]}
        return differs

    def read(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        """A view's picture, uint8 RGB [h,w,3], and mask, bool [h,w]. One that cannot be read is damaged from
        then on. Raises UniRefError."""
        try:
            return view.read()
        except UniRefError as error:
            with self._lock:
                self._unread[view.key, view.number] = (view.version, str(error))
            raise

    def teach(
        self,
        name: str,
        image: np.ndarray,
        mask: np.ndarray,
        *,
        replace: bool = False,
        drop: int | None = None,
    ) -> KnownObject:
        """Keep a view under a name. Returns the object as it is then.

        image: uint8 RGB [h,w,3]; mask: bool or uint8 [h,w]. replace: instead of the views there are. drop:
        the number of the view to give up where there are `max_views`; the oldest, if left out. Raises
        KnownObjectError (the name, what the view shows, damaged files, too many names), SourceError (no room,
        no permission), ImageError, MaskError; nothing has changed then.
        """
        name = check_known_name(name)
        check_view(image, mask)
        taught = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with locked(self.folder):
            folder = self.folder / name_key(name)
            before = self._record(folder)
            if before is None:
                self._make(folder, name, taught, image, mask)
            else:
                fresh = write_view(folder, before.next, taught, image, mask)
                kept = () if replace else _without(before.views, drop, self.max_views - 1)
                after = changed(before, next=before.next + 1, views=(*kept, fresh))
                if replace:
                    after = changed(after, name=name)
                write_record(folder, after)
                sweep(folder, after)
            self._sweep()
        self.refresh()
        return self._there(name)

    def forget(self, name: str) -> None:
        """Forget a name with all its views; a damaged one too. Raises KnownObjectError when there is none."""
        key = name_key(name)
        if name in self.damaged and name == os.path.basename(name):
            key = name  # a folder that a person has copied or renamed
        with locked(self.folder):
            folder = self.folder / key
            if not key or not os.path.lexists(folder):
                raise self.nobody(name)
            old = self.folder / f"{_OLD}{os.getpid()}-{os.urandom(4).hex()}"
            with told(folder):
                os.rename(folder, old)
            sync_folder(self.folder)
            self._sweep()
        self.refresh()

    def forget_view(self, name: str, number: int) -> None:
        """Forget one view of a name; the last one takes the name with it. Raises KnownObjectError."""
        key = name_key(name)
        with locked(self.folder):
            folder = self.folder / key
            before = self._record(folder) if key else None
            if before is None:
                raise self.nobody(name)
            kept = tuple(view for view in before.views if view.number != number)
            if len(kept) == len(before.views):
                numbers = ", ".join(str(view.number) for view in before.views)
                raise KnownObjectError(f"{quoted(before.name)} has no view {number}; there are {numbers}")
            if kept:
                write_record(folder, changed(before, views=kept))
                sweep(folder, changed(before, views=kept))
        if kept:
            self.refresh()
        else:
            self.forget(name)

    def _there(self, name: str) -> KnownObject:
        found = self.find(name)
        if found is None:
            raise KnownObjectError(f"{quoted(name)} was forgotten again by another program")
        return found

    def nobody(self, name: str) -> KnownObjectError:
        """The error that says that there is none of this name, and what there is."""
        known = ", ".join(item.name for item in self.objects[:20])
        there = f"; there are {known}" if known else "; there are none"
        return KnownObjectError(f"no known object has the name {quoted(name)}{there}")

    def _record(self, folder: Path) -> Record | None:
        """What is there to be added to; None for a new name. Raises KnownObjectError for what is damaged."""
        try:
            return read_record(folder)
        except FileNotFoundError:
            return None
        except KnownObjectError as error:
            raise KnownObjectError(f"{show(folder)} is damaged: {error}; forget it first") from error

    def _make(self, folder: Path, name: str, taught: str, image: np.ndarray, mask: np.ndarray) -> None:
        if len(self._folders()) >= MAX_KNOWN_OBJECTS:
            raise KnownObjectError(
                f"{MAX_KNOWN_OBJECTS} objects are known, the most allowed; forget one first"
            )
        with told(self.folder):
            part = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.folder))
            os.chmod(part, 0o755)
        try:
            write_record(part, Record(name, 2, (write_view(part, 1, taught, image, mask),)))
            with told(folder):
                os.rename(part, folder)
            sync_folder(self.folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _folders(self) -> list[Path]:
        try:
            found = [p for p in self.folder.iterdir() if not p.name.startswith(".") and p.is_dir()]
        except FileNotFoundError:  # nothing was taught yet
            found, self._unreadable = [], ""
        except OSError as error:
            found, self._unreadable = [], error.strerror or str(error)
        else:
            self._unreadable = ""
        return sorted(found)[: MAX_KNOWN_OBJECTS + 1]

    def _look(self, folder: Path, before: _Seen | None) -> _Seen | None:
        """What a folder holds; None when it is gone. `before`, where nothing has changed."""
        for attempt in range(_ATTEMPTS):
            try:
                version = _version(folder)
                if before is not None and before[0] == version:
                    return before
                item, faults = read_object(folder)
            except FileNotFoundError:
                return None
            except KnownObjectError as error:
                if attempt + 1 == _ATTEMPTS:
                    return version, None, {folder.name: str(error)}
                continue
            if not faults or attempt + 1 == _ATTEMPTS:
                return version, item, faults
        return None

    def _sweep(self) -> None:
        """Remove what killed writers left in the folder; under the lock, nobody is writing there."""
        for path in self.folder.iterdir():
            if path.name.startswith((_NEW, _OLD)):
                if path.is_symlink():
                    path.unlink(missing_ok=True)
                else:
                    shutil.rmtree(path, ignore_errors=True)


def _without(views: tuple, drop: int | None, room: int) -> tuple:
    """The views that stay, so that one more has room."""
    kept = sorted(views, key=lambda view: (view.number == drop, -view.number))
    return tuple(sorted(kept[: max(0, room)], key=lambda view: view.number))


def _version(folder: Path) -> tuple[int, ...]:
    """Differs whenever what a folder holds does. Raises FileNotFoundError."""
    status = folder.stat()
    with contextlib.suppress(OSError):
        record = (folder / RECORD).stat()
        return status.st_mtime_ns, status.st_ino, record.st_mtime_ns, record.st_ino
    return status.st_mtime_ns, status.st_ino
