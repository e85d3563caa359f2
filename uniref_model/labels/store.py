"""Where a job's results are: a folder, or an address that fsspec knows. A task's results are there whole,
with their `result.json`, or not at all, whenever anything dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ..errors import SourceError, UniRefError
from ..limits import quoted
from ..outputs import make_folder, show, told, write_whole
from ..reading import parse_json, read_bytes
from .datasets import FORMATS

_TASKS, _WORK, _RESULT = "tasks", ".work", "result.json"
_MARK = ".lock"
"""Says that a place is a job's: what it writes there replaces what has the same name."""
_WRITTEN = (_TASKS, *FORMATS, "summary.json", "index.html")
_TRIES = 3
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class Store(ABC):
    """Every method raises SourceError, which says what could not be read or written."""

    def check_apart(self, sources: Collection[str]) -> None:
        """Refuse results that would be a part of a recording. Raises SourceError."""
        return None

    @abstractmethod
    def results(self) -> dict[str, dict[str, Any]]:
        """What `result.json` says of every finished task, by its name."""

    @abstractmethod
    def result(self, name: str) -> dict[str, Any] | None:
        """The same of one task, None as long as it is not finished."""

    @abstractmethod
    def workplace(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """An empty folder on this machine for a task's work, gone afterwards."""

    @abstractmethod
    def publish(self, name: str, folder: Path) -> None:
        """Make a workplace's content the task's results, in place of earlier ones."""

    @abstractmethod
    def fetch(self, name: str) -> Path:
        """A finished task's folder on this machine."""

    @abstractmethod
    def withdraw(self, name: str) -> None:
        """Take a task's results away."""

    @abstractmethod
    def write(self, name: str, data: str) -> None:
        """A file beside the tasks."""

    @abstractmethod
    def place(self, name: str, folder: Path) -> None:
        """A folder beside the tasks, in place of an earlier one."""

    @abstractmethod
    def held(self) -> contextlib.AbstractContextManager[None]:
        """Keep others from running the job meanwhile; remains of runs that were killed are swept. Raises
        SourceError for a place that holds something of a name that a job writes, and was no job's."""

    @abstractmethod
    def _there(self, name: str) -> bool:
        """Whether there is a file or folder of this name."""

    def _check_own(self, place: object) -> None:
        if self._there(_MARK) or self.results():
            return
        foreign = [name for name in _WRITTEN if self._there(name)]
        if foreign:
            raise SourceError(
                f"{show(str(place))} holds {', '.join(foreign)}, and no labelling job of before: a job would "
                "replace it, choose another folder"
            )


def open_store(out: str, folder: Path) -> Store:
    """out: a folder, relative to `folder`, or an address such as s3://bucket/labels. Raises SourceError."""
    if _ADDRESS.match(out):
        return RemoteStore(out)
    return FolderStore((folder / os.path.expanduser(out)).resolve())


class FolderStore(Store):
    """A folder, shared by all workers."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def check_apart(self, sources: Collection[str]) -> None:
        for source in sources:
            folder = Path(source).resolve()
            if folder == self.root or folder in self.root.parents:
                raise SourceError(
                    f"the results' folder {show(self.root)} lies in the recording {show(source)}: choose "
                    "another, for a recording that changes is labelled again"
                )

    def results(self) -> dict[str, dict[str, Any]]:
        found = {}
        with told(self.root):
            folders = sorted((self.root / _TASKS).iterdir()) if (self.root / _TASKS).is_dir() else []
        for folder in folders:
            if (result := self.result(folder.name)) is not None:
                found[folder.name] = result
        return found

    def result(self, name: str) -> dict[str, Any] | None:
        with contextlib.suppress(OSError, ValueError, UniRefError):  # no result is one that has to be made
            return _as_result(read_bytes(self.root / _TASKS / name / _RESULT, ordinary=True))
        return None

    @contextlib.contextmanager
    def workplace(self, name: str) -> Iterator[Path]:
        make_folder(self.root / _WORK)
        with told(self.root):
            folder = Path(tempfile.mkdtemp(prefix=f"{name[:100]}.", dir=self.root / _WORK))
            os.chmod(folder, 0o755)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, name: str, folder: Path) -> None:
        make_folder(self.root / _TASKS)
        self._swap(folder, self.root / _TASKS / name)

    def fetch(self, name: str) -> Path:
        return self.root / _TASKS / name

    def withdraw(self, name: str) -> None:
        if (self.root / _TASKS / name).exists():
            with self.workplace(name) as grave, told(self.root):
                os.rename(self.root / _TASKS / name, grave / "old")

    def write(self, name: str, data: str) -> None:
        write_whole(self.root / name, data)

    def place(self, name: str, folder: Path) -> None:
        self._swap(folder, self.root / name)

    def _swap(self, folder: Path, target: Path) -> None:
        """`folder` becomes `target`; a killed process leaves the old one, the new one, or none of them."""
        with told(target), self.workplace("old") as grave:
            for number in range(_TRIES):  # a worker that was given up for dead may publish the same task
                if target.exists():
                    os.rename(target, grave / str(number))
                with contextlib.suppress(OSError) if number < _TRIES - 1 else contextlib.nullcontext():
                    os.rename(folder, target)
                    return

    def _there(self, name: str) -> bool:
        return os.path.lexists(self.root / name)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        make_folder(self.root)
        self._check_own(self.root)
        with told(self.root), (self.root / _MARK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise SourceError(
                    f"another run works in {show(self.root)}: wait for it, or end it"
                ) from error
            shutil.rmtree(self.root / _WORK, ignore_errors=True)
            try:
                yield
            finally:
                shutil.rmtree(self.root / _WORK, ignore_errors=True)


class RemoteStore(Store):
    """An address: workers work in their own temporary folders; `result.json` is uploaded last."""

    def __init__(self, address: str) -> None:
        try:
            import fsspec
        except ImportError as error:
            raise SourceError(f"results at an address need fsspec ({error}): pip install fsspec") from error
        self._address = address.rstrip("/")
        with self._told():
            self._files, self._root = fsspec.core.url_to_fs(self._address)
        self._fetched: tempfile.TemporaryDirectory | None = None

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return RemoteStore, (self._address,)

    def results(self) -> dict[str, dict[str, Any]]:
        found = {}
        with self._told():
            self._files.invalidate_cache()
            if not self._files.exists(self._at(_TASKS)):
                return {}
            for path in sorted(self._files.glob(self._at(_TASKS, "*", _RESULT))):
                name = path.split("/")[-2]
                if (result := self.result(name)) is not None:
                    found[name] = result
        return found

    def result(self, name: str) -> dict[str, Any] | None:
        with self._told(), contextlib.suppress(FileNotFoundError, ValueError):
            return _as_result(self._files.cat_file(self._at(_TASKS, name, _RESULT)))
        return None

    @contextlib.contextmanager
    def workplace(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="uniref-") as folder:
            yield Path(folder)

    def publish(self, name: str, folder: Path) -> None:
        self.withdraw(name)
        with self._told():
            for path in sorted(folder.rglob("*")):
                if path.is_file() and path != folder / _RESULT:
                    self._put(path, self._at(_TASKS, name, path.relative_to(folder).as_posix()))
            self._put(folder / _RESULT, self._at(_TASKS, name, _RESULT))

    def fetch(self, name: str) -> Path:
        self._fetched = self._fetched or tempfile.TemporaryDirectory(prefix="uniref-")
        target = Path(self._fetched.name) / name
        with self._told():
            root = self._at(_TASKS, name)
            for path in self._files.find(root) if not target.exists() else ():
                local = target / path[len(self._files._strip_protocol(root)) + 1 :]
                local.parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(path, str(local))
        return target

    def withdraw(self, name: str) -> None:
        with self._told():
            result = self._at(_TASKS, name, _RESULT)
            if self._files.exists(result):  # first: without it the rest counts for nothing
                self._files.rm_file(result)
            if self._files.exists(self._at(_TASKS, name)):
                self._files.rm(self._at(_TASKS, name), recursive=True)

    def write(self, name: str, data: str) -> None:
        with self._told():
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(self._at(name), data.encode("utf-8"))

    def place(self, name: str, folder: Path) -> None:
        with self._told():
            if self._files.exists(self._at(name)):
                self._files.rm(self._at(name), recursive=True)
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    self._put(path, self._at(name, path.relative_to(folder).as_posix()))

    def _there(self, name: str) -> bool:
        with self._told():
            return bool(self._files.exists(self._at(name)))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        self._check_own(self._address)
        self.write(_MARK, "")
        try:
            yield
        finally:
            if self._fetched is not None:
                self._fetched.cleanup()
                self._fetched = None

    def _put(self, path: Path, target: str) -> None:
        self._files.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        self._files.put_file(str(path), target)

    def _at(self, *parts: str) -> str:
        return "/".join((self._root, *parts))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except UniRefError:
            raise
        except Exception as error:  # of any of fsspec's libraries
            raise SourceError(f"{show(self._address)}: {quoted(error, 200)}") from error


def _as_result(data: bytes) -> dict[str, Any]:
    result = parse_json(data)
    if not isinstance(result, dict) or "fingerprint" not in result:
        raise ValueError("no result")
    return result
