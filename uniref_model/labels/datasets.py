"""Parts as one data set: COCO, YOLO (segmentation) or DAVIS; whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import SourceError
from ..label_pngs import davis_palette, pillow, write_labels
from ..outputs import cannot_write, show, temporary_folder, told, writing
from .part import Part, decode
from .polygons import one_polygon

FORMATS = ("coco", "yolo", "davis")


def write_dataset(form: str, parts: Sequence[Part], folder: Path) -> int:
    """Write parts as a data set. form: of FORMATS. Returns the number of its images.

    The classes are the objects' labels in the order of the alphabet. Pictures are linked where the disk
    allows it, else copied. Raises SourceError; nothing is then left at `folder`, which must not be there yet.
    """
    check_format(form, folder)
    write = {"coco": _write_coco, "yolo": _write_yolo, "davis": _write_davis}[form]
    built = temporary_folder(folder)
    try:
        with told(folder):
            os.chmod(built, 0o755)
            count = write(parts, _classes(parts), built)
            if folder.is_dir():
                folder.rmdir()
            built.rename(folder)
    finally:
        shutil.rmtree(built, ignore_errors=True)
    return count


def check_format(form: str, folder: Path) -> None:
    """Raise SourceError for a format that is none, or needs what is not installed, or a folder that holds
    something."""
    if form not in FORMATS:
        raise SourceError(f"the data set's format is {form!r}, expected one of {', '.join(FORMATS)}")
    if form == "davis":
        pillow()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SourceError(f"{show(folder)} is there already: data sets are not written over")


def _classes(parts: Iterable[Part]) -> list[str]:
    return sorted({item["label"] for part in parts for entry in part.frames() for item in entry["objects"]})


# ---- COCO ----


def _write_coco(parts: Sequence[Part], classes: list[str], folder: Path) -> int:
    """images/<video>/<frame>.jpg and annotations/instances.json with "videos", `video_id` and `track_id`."""
    videos: dict[str, int] = {}
    tracks: dict[tuple[str, str], int] = {}
    numbers = {name: index for index, name in enumerate(classes, 1)}

    def images() -> Iterator[dict[str, Any]]:
        for number, (part, entry) in enumerate(_entries(parts), 1):
            file = f"{entry['video']}/{entry['name']}.jpg"
            _place(part, entry, folder / "images" / file)
            yield {
                "id": number,
                "file_name": file,
                "width": entry["size"][0],
                "height": entry["size"][1],
                "video_id": videos.setdefault(entry["video"], len(videos) + 1),
                "frame_index": entry["index"],
                "stamp_ns": entry["stamp_ns"],
            }

    def annotations() -> Iterator[dict[str, Any]]:
        count = 0
        for number, (_, entry) in enumerate(_entries(parts), 1):
            for item in entry["objects"]:
                count += 1
                track = entry["video"], item["id"]
                yield {
                    "id": count,
                    "image_id": number,
                    "video_id": videos[entry["video"]],
                    "track_id": tracks.setdefault(track, len(tracks) + 1),
                    "category_id": numbers[item["label"]],
                    "bbox": item["box"],
                    "area": item["area"],
                    "segmentation": {"size": entry["size"][::-1], "counts": item["rle"]},
                    "iscrowd": 0,
                    "score": item["score"],
                    "object": item["id"],
                }

    with writing(folder / "annotations" / "instances.json") as file:
        file.write('{"info": {"description": "labelled by uniref", "version": "1.0"},\n"licenses": [],\n')
        categories = [{"id": number, "name": name, "supercategory": ""} for name, number in numbers.items()]
        file.write(f'"categories": {json.dumps(categories)},\n')
        count = _write_list(file, "images", images())
        _write_list(file, "annotations", annotations())
        named = [{"id": number, "name": name} for name, number in videos.items()]
        file.write(f'"videos": {json.dumps(named)}}}\n')
    return count


def _write_list(file: Any, name: str, items: Iterator[dict[str, Any]]) -> int:
    file.write(f'"{name}": [')
    count = 0
    for count, item in enumerate(items, 1):
        file.write(f"{',' if count > 1 else ''}\n{json.dumps(item)}")
    file.write("],\n")
    return count


# ---- YOLO ----


def _write_yolo(parts: Sequence[Part], classes: list[str], folder: Path) -> int:
    """images/train/<video>/<frame>.jpg, labels/train/<the same>.txt with a class and one polygon a line, and
    data.yaml."""
    import yaml

    count = 0
    for part, entry in _entries(parts):
        name = f"{entry['video']}/{entry['name']}"
        _place(part, entry, folder / "images" / "train" / f"{name}.jpg")
        width, height = entry["size"]
        lines = []
        for item in entry["objects"]:
            points = (one_polygon(decode(item["rle"], entry["size"])) + 0.5) / (width, height)
            numbers = " ".join(f"{value:.6f}" for value in points.ravel())
            lines.append(f"{classes.index(item['label'])} {numbers}\n")
        target = folder / "labels" / "train" / f"{name}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("".join(lines), encoding="utf-8")
        count += 1
    (folder / "images" / "train").mkdir(parents=True, exist_ok=True)
    described = {
        "path": ".",
        "train": "images/train",
        "val": "images/train",
        "names": dict(enumerate(classes)),
    }
    text = "# Nothing is set aside for validation: split by recording, not by frame.\n"
    text += yaml.safe_dump(described, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")
    return count


# ---- DAVIS ----


def _write_davis(parts: Sequence[Part], classes: list[str], folder: Path) -> int:
    """DAVIS 2017's layout. A video begins with the first frame that shows an object, as the layout needs."""
    videos: dict[str, dict[str, Any]] = {}
    palette, count = davis_palette(), 0
    for part, entry in _entries(parts):
        name = entry["video"]
        if name not in videos and not entry["objects"]:
            continue
        objects = videos.setdefault(name, {})
        objects.update(
            {item["value"]: {"id": item["id"], "label": item["label"]} for item in entry["objects"]}
        )
        _place(part, entry, folder / "JPEGImages" / "480p" / name / f"{entry['name']}.jpg")
        annotations = folder / "Annotations" / "480p" / name
        annotations.mkdir(parents=True, exist_ok=True)
        write_labels(annotations / f"{entry['name']}.png", part.label_image(entry), palette)
        count += 1
    lists = folder / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("".join(f"{name}\n" for name in videos), encoding="utf-8")
    (folder / "objects.json").write_text(json.dumps(videos, indent=1) + "\n", encoding="utf-8")
    return count


# ---- for all ----


def _entries(parts: Sequence[Part]) -> Iterator[tuple[Part, dict[str, Any]]]:
    return ((part, entry) for part in parts for entry in part.frames())


def _place(part: Part, entry: dict[str, Any], target: Path) -> None:
    """Put a part's picture at its place in the data set."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = part.folder / entry["file"]
    with contextlib.suppress(OSError):  # other disks, and file systems without links
        os.link(source, target)
        return
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise cannot_write(target, error) from error
