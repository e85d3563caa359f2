"""A lab's own pictures into the plain layout (`plain.py`): COCO-style json as labelling tools write it, or a
set that is in that layout already.

COCO-style: a json file with "images", "annotations" (polygons or RLE) and "categories", its pictures beside
it, in `images/`, or where `pictures` says. Names are the categories', with their supercategory as the wider
name. A tenth of the pictures becomes `val`, chosen by a hash of its name: the same whenever it is done again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from ..label_pngs import davis_palette, write_labels
from ..limits import LimitError, quoted, shown
from ..outputs import make_folder, show, told, write_whole, writing
from .errors import DatasetError, laid_out
from .evaluation.base import read_json
from .outlines import decode_segmentation
from .plain import INDEX, USES, Picture, file_of, path_inside, read_pack, read_picture, read_rows

T = TypeVar("T")

MOST_OBJECTS = 255  # of one picture: the largest; a label PNG has no more values
JPEG_QUALITY = 92
_NO_KIND = ("", "none", "object", "objects", "thing", "things")  # supercategories that say nothing


@dataclass(frozen=True)
class ImportOptions:
    """How a set is written.

    size: longest side of a stored picture, pixels. share: of pictures kept for validation. licence: written
    to every row. complete: whether everything of the categories is outlined in every picture; None: unknown.
    """

    size: int = 480
    share: float = 0.1
    licence: str = ""
    complete: bool | None = None


@dataclass
class Imported:
    """What an import made. names: objects by name. left_out: what was refused, and why."""

    pictures: int = 0
    objects: int = 0
    validation: int = 0
    names: dict[str, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Still:
    """One picture to be written: its stated size, its outlines, and their rows but for place and size."""

    path: Path
    key: str
    size: tuple[int, int] | None
    rows: list[dict[str, Any]]
    outlines: list[Any]


def import_set(
    source: Path, out: Path, options: ImportOptions = ImportOptions(), pictures: Path | None = None
) -> Imported:
    """Write the set `out` from a COCO-style json file, a folder that holds some, or a plain set.

    A picture or outline that cannot be used is left out and named in the result.

    Raises:
        DatasetError: `source` holds nothing that can be read, `out` exists already, or nothing could be used.
        SourceError: the set cannot be written. What was made of it is taken away then.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"{show(out)} is there and not empty: a set is written to a new folder")
    folders = [out / name for name in ("images", "masks")]
    for folder in folders:
        make_folder(folder)
    try:
        return _fill(out, source, options, pictures)
    except BaseException:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _fill(out: Path, source: Path, options: ImportOptions, pictures: Path | None) -> Imported:
    done = Imported()
    plain = (source / INDEX).is_file()
    found = _copied(source, out, options, done) if plain else _written(source, out, options, pictures, done)
    with writing(out / INDEX) as index:
        for rows in found:
            index.writelines(_line(row) + "\n" for row in rows)
            _count(done, rows)
    if not done.pictures:
        raise DatasetError(
            f"no picture of {source} could be used: {'; '.join(done.left_out[:3]) or 'no outlines'}"
        )
    return done


def _line(row: dict[str, Any]) -> str:
    """A row as people read it; halves of characters, which no file of text can hold, as JSON escapes them."""
    text = json.dumps(row, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(row)


def _copied(
    source: Path, out: Path, options: ImportOptions, done: Imported
) -> Iterator[list[dict[str, Any]]]:
    """Rows and files of a plain set as they are, once they were read without complaint."""
    pictures = read_pack(source, uses=USES, complain=done.left_out.append)
    good = {picture.file: picture for picture in pictures if _reads(picture, done)}
    held = _held_out(list(good), options.share)
    found: dict[str, list[dict[str, Any]]] = {}
    for _, row in read_rows(source, lambda _: None):
        try:
            file = file_of(row)
        except (DatasetError, ValueError):
            continue  # told above
        if file in good:
            row.setdefault("split", "val" if file in held else "train")
            found.setdefault(file, []).append(row)
    for file, rows in found.items():
        for path in (file, good[file].mask):
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, out / path)
        yield rows


def _reads(picture: Picture, done: Imported) -> bool:
    try:
        picture.read()
    except (DatasetError, LimitError) as error:
        done.left_out.append(str(error))
        return False
    return True


def _written(
    source: Path, out: Path, options: ImportOptions, pictures: Path | None, done: Imported
) -> Iterator[list[dict[str, Any]]]:
    """Rows of COCO-style pictures, once they and their labels are stored."""
    files = [source] if source.is_file() else [p for p in sorted(source.glob("**/*.json")) if _is_coco(p)]
    if not files:
        raise DatasetError(
            f'{source}: expected a json file with "images", "annotations" and "categories", '
            f"a folder with such files, or a set with {INDEX}"
        )
    stills = [still for path in files for still in _coco(path, source, pictures, options, done)]
    held = _held_out([still.key for still in stills], options.share)
    for still in stills:
        try:
            yield _write(still, out, options, "val" if still.key in held else "train")
        except (DatasetError, LimitError) as error:
            done.left_out.append(f"{show(still.path)}: {error}")


def _is_coco(path: Path) -> bool:
    try:
        data = read_json(path, "COCO instances")
    except DatasetError:
        return False
    return isinstance(data, dict) and {"images", "annotations", "categories"} <= set(data)


def _coco(
    path: Path, source: Path, pictures: Path | None, options: ImportOptions, done: Imported
) -> Iterator[_Still]:
    data = read_json(path, 'COCO instances with "images", "annotations" and "categories"')
    needed = (
        '"images" with "id" and "file_name", "annotations" with "image_id", "category_id" and '
        '"segmentation", "categories" with "id" and "name"'
    )
    with laid_out(path, needed):
        kinds = _by_id(data["categories"], _names)
        images = _by_id(data["images"], lambda item: (str(item["file_name"]), _stated(item)))
        found: dict[Any, list[dict[str, Any]]] = {}
        for note in data["annotations"]:
            found.setdefault(note["image_id"], []).append(note)
            hash(note.get("category_id"))  # a list is none
    lost = [shown(number) for number in found if number not in images]
    if lost:
        some = ", ".join(lost[:3]) + (", …" if len(lost) > 3 else "")
        done.left_out.append(f"annotations of {len(lost)} images that {show(path)} does not list: {some}")
    folders = [pictures] if pictures else [path.parent, path.parent / "images", source, source / "images"]
    for number, (file, size) in images.items():
        here = next((folder / file for folder in folders if _is_picture(folder, file)), None)
        if here is None:
            done.left_out.append(f"{quoted(file)}: no such picture in {', '.join(map(show, folders))}")
            continue
        notes = [note for note in found.get(number, []) if _usable(note, kinds, file, done)]
        if not notes:
            continue
        # where a crowd is outlined as one, nobody knows how many of the kind are there
        crowd = any(note.get("iscrowd") for note in found[number])
        said = {
            "complete": False if crowd else options.complete,
            "licence": options.licence or None,
            "masks_by": "people",
        }
        said = {key: value for key, value in said.items() if value is not None}
        rows = []
        for note in notes:
            names = kinds[note["category_id"]]
            rows.append({"name": names[0], "names": list(names), **said})
        yield _Still(here, f"{path.parent.name}/{file}", size, rows, [n["segmentation"] for n in notes])


def _by_id(items: Sequence[dict[str, Any]], read: Callable[[dict[str, Any]], T]) -> dict[Any, T]:
    """What is read of each entry, by its id. Raises ValueError for an id that two different ones have."""
    found: dict[Any, T] = {}
    for item in items:
        value = read(item)
        if found.setdefault(item["id"], value) != value:
            raise ValueError(f"id {shown(item['id'])} is there twice")
    return found


def _stated(image: dict[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    return (int(height), int(width)) if height and width else None


def _is_picture(folder: Path, file: str) -> bool:
    try:
        return (folder / path_inside(file)).is_file()
    except DatasetError:
        return False


def _names(category: dict[str, Any]) -> tuple[str, ...]:
    """A category's names: lower case, spaces for underscores; the wider one of its supercategory."""
    said = [str(category["name"]), str(category.get("supercategory") or "")]
    usual, wider = (" ".join(name.replace("_", " ").split()).lower() for name in said)
    if not usual or not usual.isprintable():
        raise DatasetError(f"a category's name must be printable text, found {quoted(category['name'])}")
    return (usual,) if wider in (*_NO_KIND, usual) else (usual, wider)


def _usable(note: dict[str, Any], kinds: dict[Any, tuple[str, ...]], file: str, done: Imported) -> bool:
    """Whether an annotation is one outlined object; what is neither that nor a crowd is told."""
    if note.get("iscrowd"):
        return False
    reason = ""
    if note.get("category_id") not in kinds:
        reason = f"no category {quoted(note.get('category_id'))}"
    elif not note.get("segmentation"):
        reason = "no outline, a box alone"
    if reason:
        done.left_out.append(f"{quoted(file)}: an annotation has {reason}")
    return not reason


def _held_out(keys: Sequence[str], share: float) -> frozenset[str]:
    """The keys that validate: a share of them, one at least, those with the smallest hashes."""
    ordered = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    count = max(round(share * len(ordered)), 1) if share > 0 and len(ordered) > 1 else 0
    return frozenset(ordered[:count])


def _write(still: _Still, out: Path, options: ImportOptions, split: str) -> list[dict[str, Any]]:
    """Store a picture and its labels; its rows."""
    image = read_picture(still.path, still.size)
    masks = [decode_segmentation(outline, image.shape[:2]) for outline in still.outlines]
    scale = min(1.0, options.size / max(image.shape[:2]))
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    labels, order = _labels(masks, image.shape[:2])
    stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in still.key.rsplit(".", 1)[0])[-120:]
    place = {"file": f"images/{stem}.jpg", "mask": f"masks/{stem}.png", "split": split}
    rows = [
        {**still.rows[index], **place, "value": value, **_extent(labels == value)}
        for value, index in enumerate(order, 1)
        if (labels == value).any()
    ]
    if not rows:
        raise DatasetError("its outlines cover no pixel")
    if (out / place["file"]).exists():
        raise DatasetError(f"another picture is stored as {place['file']} already")
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    write_whole(out / place["file"], data.tobytes())
    with told(out / place["mask"]):
        write_labels(out / place["mask"], labels, davis_palette())
    return rows


def _labels(masks: Sequence[np.ndarray], size: tuple[int, int]) -> tuple[np.ndarray, list[int]]:
    """Labels uint8 of `size`, and whose label 1, 2, … is: large ones first, what lies on them after."""
    small = [cv2.resize(m.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) for m in masks]
    order = sorted(range(len(small)), key=lambda i: -int(small[i].sum()))[:MOST_OBJECTS]
    labels = np.zeros(size, np.uint8)
    for value, index in enumerate(order, 1):
        labels[small[index] > 0] = value
    return labels, order


def _extent(mask: np.ndarray) -> dict[str, Any]:
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    height, width = mask.shape
    return {"width": width, "height": height, "box": [x, y, x + w, y + h], "area": int(mask.sum())}


def _count(done: Imported, rows: Sequence[dict[str, Any]]) -> None:
    done.pictures += 1
    done.objects += len(rows)
    done.validation += rows[0]["split"] == "val"
    for row in rows:
        done.names[row["name"]] = done.names.get(row["name"], 0) + 1
