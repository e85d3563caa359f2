"""Real pictures with masks and names, in a plain layout that anyone can make.

A set is a folder with `images/`, `masks/` (label PNGs) and `index.jsonl`, one JSON object a line, each about
one object of one picture:

    file, mask      paths of the picture and its label PNG, relative to the set
    value           the object's label in the mask; `values`: several, where its parts are objects too
    name, names     the usual name; all true names, wider ones too ("wrench", "tool")
    masks_by        people (outlines drawn), isnet or threshold (cut out by a program)
    group           the same thing, or the same kind of thing, in several pictures (optional)
    complete        true where everything of the set's vocabulary in the picture is annotated (optional)
    use             train | research-only | doubtful (optional: train)
    split           train | val (optional: train)

A pack is a folder of sets. Whatever is wrong is named and left out; nothing is read outside the set's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SourceError
from ..limits import MAX_ANNOTATION_BYTES, MAX_PIXELS, LimitError, check_name, quoted, shown
from ..pictures import read_image, read_labels
from ..reading import parse_json, read_text
from ..settings import build
from .errors import DatasetError
from .names import as_dataset_error, inside

INDEX = "index.jsonl"
MASKS_BY = ("people", "isnet", "threshold")
USES = ("train", "research-only", "doubtful")
SPLITS = ("train", "val")


@dataclass(frozen=True)
class Annotation:
    """One object of a picture. part_of: the name of what it is a part of, or ""."""

    name: str
    names: tuple[str, ...]
    values: tuple[int, ...]
    group: str = ""
    masks_by: str = "people"
    part_of: str = ""
    share: float = 1.0  # of the picture, where the row says its area and size


@dataclass(frozen=True)
class Picture:
    """One picture of a set, with all its objects."""

    folder: Path
    file: str
    mask: str
    objects: tuple[Annotation, ...]
    complete: bool | None = None  # None: not said
    use: str = "train"
    split: str = "train"

    @property
    def key(self) -> str:
        """Set and file: the same on every machine."""
        return f"{self.folder.name}/{self.file}"

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """RGB uint8 [h,w,3] and labels uint8 [h,w].

        Raises DatasetError for a missing, damaged or too large file, or a mask of another size.
        """
        image = read_picture(self.folder / self.file)
        with as_dataset_error():
            labels = read_labels(self.folder / self.mask)
        if labels.shape != image.shape[:2]:
            raise DatasetError(f"{self.key}: the mask is {labels.shape}, the picture {image.shape[:2]}")
        return image, labels


def read_picture(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """RGB uint8 [h,w,3]. size: (height, width) that somebody states of it.

    A camera's note of how it was held is followed, unless the stated size says that the outlines do not.
    Raises DatasetError: missing, damaged, too large, or of another size than stated.
    """
    with as_dataset_error():
        image = read_image(path)
        if size is not None and image.shape[:2] != size:
            image = read_image(path, turned=False)
    if size is not None and image.shape[:2] != size:
        (h, w), (height, width) = image.shape[:2], size
        raise DatasetError(f"{path} is {w}x{h}, but said to be {width}x{height}")
    return image


def mask_of(labels: np.ndarray, item: Annotation) -> np.ndarray:
    """Boolean mask [h,w] of an object in its picture's labels."""
    return np.isin(labels, item.values)


def read_pack(
    folder: Path,
    *,
    split: str | None = None,
    uses: Iterable[str] = ("train",),
    complain: Callable[[str], None] | None = None,
) -> list[Picture]:
    """The pictures of a set, or of every set in a folder, in order of name.

    split: only these; None: all. uses: only pictures that may be used so. complain: told each row that is
    left out; without it the first raises. Raises DatasetError where there is no set.
    """
    sets = [folder] if (folder / INDEX).is_file() else sorted(p.parent for p in folder.glob(f"*/{INDEX}"))
    if not sets:
        raise DatasetError(
            f"no {INDEX} in {folder}, nor in a folder of it: expected a set or a folder of sets"
        )
    wanted = frozenset(uses)
    found = [picture for path in sets for picture in _read_set(path, complain)]
    return [p for p in found if p.use in wanted and split in (None, p.split)]


@dataclass(frozen=True)
class _Row:
    """What is read of a line; it may say more."""

    file: str
    mask: str
    name: str
    value: int | None = None
    values: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    masks_by: str = "people"
    group: str | None = None
    part_of: str | None = None
    width: int = 0
    height: int = 0
    area: float | None = None
    complete: bool | None = None
    use: str = "train"
    split: str = "train"

    def __post_init__(self) -> None:
        choices = {"masks_by": MASKS_BY, "use": USES, "split": SPLITS}
        for key, allowed in choices.items():
            if getattr(self, key) not in allowed:
                raise ValueError(
                    f"{key} is {quoted(getattr(self, key))}, expected one of {', '.join(allowed)}"
                )
        for key in ("width", "height", "area"):
            if not 0 <= (getattr(self, key) or 0) <= MAX_PIXELS:  # NaN: neither
                raise ValueError(f"{key} is {shown(getattr(self, key))}, expected 0 to {MAX_PIXELS} pixels")
        if not all(0 < value < 256 for value in self.labels):
            raise ValueError(f"label {shown(self.labels)} is not within 1..255")

    @property
    def labels(self) -> tuple[int, ...]:
        """The values that the object has in its mask."""
        if not self.values and self.value is None:
            raise ValueError("'value' is missing")
        return self.values or (self.value,)


_KEYS = frozenset(item.name for item in fields(_Row))


@dataclass
class _Rows:
    """What the rows of one picture have said."""

    mask: str
    complete: bool | None
    use: str
    split: str
    objects: list[Annotation] = field(default_factory=list)


def _read_set(folder: Path, complain: Callable[[str], None] | None) -> Iterator[Picture]:
    pictures: dict[str, _Rows] = {}
    for number, row in read_rows(folder, complain):
        try:
            _add_row(pictures, row)
        except (DatasetError, ValueError) as error:
            _tell(f"{folder / INDEX}, line {number}: {quoted(error, 200)}", error, complain)
    for file, rows in sorted(pictures.items()):
        yield Picture(folder, file, rows.mask, tuple(rows.objects), rows.complete, rows.use, rows.split)


def read_rows(folder: Path, complain: Callable[[str], None] | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, row) of a set's index; not looked into. complain: as in `read_pack`."""
    for number, line in enumerate(_lines(folder / INDEX), 1):
        try:
            row = parse_json(line)
            if not isinstance(row, dict):
                raise ValueError(f"expected an object with keys, found {type(row).__name__}")
        except ValueError as error:
            _tell(f"{folder / INDEX}, line {number}: {quoted(error, 200)}", error, complain)
        else:
            yield number, row


def file_of(row: dict[str, Any]) -> str:
    """The picture that a row is about, a path below its set. Raises DatasetError or ValueError for a row that
    `read_pack` leaves out by itself."""
    about: dict[str, _Rows] = {}
    _add_row(about, row)
    return next(iter(about))


def _tell(message: str, error: Exception, complain: Callable[[str], None] | None) -> None:
    if complain is None:
        raise DatasetError(message) from error
    complain(message)


def _lines(path: Path) -> Iterator[str]:
    try:
        text = read_text(path, MAX_ANNOTATION_BYTES, ordinary=True)
        yield from (line for line in text.split("\n") if line.strip())
    except (OSError, UnicodeDecodeError, SourceError, LimitError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error


def _add_row(pictures: dict[str, _Rows], line: dict[str, Any]) -> None:
    row = build(_Row, {key: value for key, value in line.items() if key in _KEYS})
    file, mask = path_inside(row.file), path_inside(row.mask)
    item = _annotation(row)
    rows = pictures.setdefault(file, _Rows(mask, row.complete, row.use, row.split))
    if rows.mask != mask:
        raise ValueError(f"{quoted(file)} has two masks, {quoted(rows.mask)} and {quoted(mask)}")
    rows.objects.append(item)


def _annotation(row: _Row) -> Annotation:
    name = _word(row.name)
    names = tuple(dict.fromkeys([name, *map(_word, row.names)]))
    pixels = row.width * row.height
    share = row.area / pixels if row.area is not None and pixels > 0 else 1.0
    return Annotation(name, names, row.labels, row.group or "", row.masks_by, row.part_of or "", share)


def _word(name: str) -> str:
    """A name, which becomes what is asked for and what pictures and tables say."""
    check_name(name, "a name", DatasetError)
    if not name.strip() or not name.isprintable():
        raise ValueError(f"a name must be printable text, found {quoted(name)}")
    return name.strip().lower()


def path_inside(name: Any) -> str:
    """A relative path that stays below its folder. Raises DatasetError for any other."""
    return str(inside(Path(), name, "a file of the set"))
