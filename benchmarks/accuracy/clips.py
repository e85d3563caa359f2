"""The clips the ablations are scored on, in the layout of `uniref eval folder`: generated and real ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from uniref_model.evaluation.clips import find_clips, load_clip

ROOT = Path(__file__).resolve().parents[2]
SEED = 1_000_001
"""Generated clips come from odd seeds, which training never draws from (`GeneratedExamples`)."""


@dataclass(frozen=True)
class ClipSet:
    """Clips scored together: "generated", or a real video's name."""

    name: str
    folders: tuple[Path, ...]


def generated(count: int, frames: int, size: tuple[int, int], folder: Path) -> ClipSet:
    """`count` clips of `frames` frames, from a seed that training never uses."""
    from .long_clips import long_clips

    folders = []
    for index, clip in zip(range(count), long_clips(size, frames, SEED), strict=False):
        seen = [number for number in range(1, len(clip.phrases) + 1) if (clip.labels[0] == number).any()]
        objects = [{"id": number, "expressions": [clip.phrases[number - 1]]} for number in seen]
        folders.append(folder / f"generated_{index:03d}")
        _write(folders[-1], clip.images, clip.labels, objects)
    return ClipSet("generated", tuple(folders))


def real(videos: Path, limit: int, stride: int, folder: Path) -> list[ClipSet]:
    """Annotated videos, thinned: the first `limit` frames, of which every `stride`-th and all annotated ones.

    videos: a clip folder or a folder of them; frames come from its `frames/`, or from the video of that name
    in media/. Returns nothing where there is no such folder.
    """
    if not videos.is_dir():
        return []
    sets = []
    for source in find_clips(videos):
        clip = load_clip(source, _video_of(source))
        stems = {stem for stem in clip.masks if int(stem) < limit} or set(list(clip.masks)[:2])
        place = folder / source.name
        for name in ("frames", "masks"):
            (place / name).mkdir(parents=True, exist_ok=True)
        for stem, image in clip.frames():
            if int(stem) >= limit and stems <= {path.stem for path in (place / "frames").glob("*.png")}:
                break
            if stem in stems or int(stem) % stride == 0:
                _save(place / "frames" / f"{stem}.png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        for stem in stems:
            _save(place / "masks" / f"{stem}.png", clip.labels(stem))
        objects = [{"id": item.id, "expressions": list(item.expressions[:1])} for item in clip.objects]
        _describe(place, objects, clip.ignore_label)
        sets.append(ClipSet(source.name, (place,)))
    return sets


def _video_of(folder: Path) -> Path | None:
    """The video whose frames a clip folder without frames/ annotates: named in meta.json, or like it."""
    if (folder / "frames").is_dir():
        return None
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    names = [meta.get("video"), f"{meta.get('name', folder.name)}.mp4", f"{folder.name}.mp4"]
    for place in (folder, folder.parent, ROOT / "media"):
        for name in filter(None, names):
            if (place / name).is_file():
                return place / name
    return None


def _write(place: Path, images: np.ndarray, labels: np.ndarray, objects: list[dict]) -> None:
    for name in ("frames", "masks"):
        (place / name).mkdir(parents=True, exist_ok=True)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        _save(place / "frames" / f"{index:05d}.png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        _save(place / "masks" / f"{index:05d}.png", label.astype(np.uint8))
    _describe(place, objects, 255)


def _describe(place: Path, objects: list[dict], ignore: int) -> None:
    meta = {"name": place.name, "kind": "video", "ignore_label": ignore, "objects": objects}
    (place / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def _save(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image):
        raise OSError(f"cannot write {path}")
