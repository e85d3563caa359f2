"""Scores a tracker on small hand-made clips: `frames/`, `masks/`, `meta.json` in one folder per clip.

meta.json: {"name", "kind": "video" | "image", "ignore_label": 255, "objects": [{"id": 1, "expressions": ["the
box"]}]}. masks/<stem>.png: 8-bit label images (0 background, object ids, the ignore label). frames/<stem>.jpg
or .png. With a video file in place of `frames/`, every frame of it is tracked and <stem> is the frame's
index; only frames with a mask are scored. Needs numpy and OpenCV only, so that the shipped ONNX model can be
scored without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import cv2
import numpy as np

from ..datasets.errors import DatasetError, laid_out
from ..datasets.evaluation.base import list_annotations, read_json, said
from ..datasets.names import as_dataset_error
from ..datasets.pngs import read_labels
from ..errors import SourceError
from ..known_objects import KnownObjects
from ..limits import shown
from ..pictures import IMAGE_SUFFIXES, list_images, read_image
from ..runtime.base import Runtime
from ..tracking import TrackedFrame, Tracker, TrackerConfig
from ..video import open_source
from .metrics import Score, mean_score, score_mask

REFERENCES = ("words", "mask", "click", "box", "words+mask")
DEFAULT_REFERENCES = ("words", "mask", "click", "box")


@dataclass(frozen=True)
class ClipObject:
    """One annotated object: its label value in the masks and the phrases that mean it."""

    id: int
    expressions: tuple[str, ...]


@dataclass(frozen=True)
class Clip:
    """A clip on disk. `masks` maps frame stems to label images, in order of time."""

    name: str
    folder: Path
    objects: tuple[ClipObject, ...]
    masks: dict[str, Path]
    ignore_label: int = 255
    video: Path | None = None

    def frames(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every frame as (stem, uint8 RGB [h,w,3]), in order. Raises DatasetError for one that cannot be
        read."""
        if self.video is not None:
            return video_frames(self.video)
        return ((path.stem, _read_image(path)) for path in _frame_files(self.folder))

    def labels(self, stem: str) -> np.ndarray:
        """The label image of an annotated frame, uint8 [h,w]."""
        return read_labels(self.masks[stem])


@dataclass(frozen=True)
class Reference:
    """How one object is pointed at in one run; `expression` is set for runs that use words."""

    kind: str
    object: ClipObject
    expression: str = ""

    @property
    def title(self) -> str:
        """File-name-safe title: kind, object and, where there are several, the number of the expression."""
        number = f"-expr{self.object.expressions.index(self.expression)}" if self.expression else ""
        return f"{self.kind.replace('+', '-')}-obj{self.object.id}{number}"


OnScored = Callable[[Reference, str, np.ndarray, np.ndarray, np.ndarray, Score], None]


class ClipTracker(Protocol):
    """The part of `Tracker` that evaluation uses."""

    def add_text(self, prompt: str) -> str: ...
    def add_mask(self, mask: np.ndarray, *, prompt: str | None = None) -> str: ...
    def add_points(self, points: Sequence[tuple[float, float]]) -> str: ...
    def add_box(self, box: tuple[float, float, float, float]) -> str: ...
    def step(self, image: np.ndarray) -> TrackedFrame: ...


def load_clip(folder: Path, video: Path | None = None) -> Clip:
    """Read and check one clip's folder. Raises DatasetError naming the file at fault."""
    folder = Path(folder)
    meta = _read_meta(folder / "meta.json")
    with laid_out(folder / "meta.json", '"objects", a list of {"id": 1, "expressions": ["the box"]}'):
        objects, ignored = tuple(map(_object, meta["objects"])), int(meta.get("ignore_label", 255))
    masks = list_annotations(folder / "masks")
    if video is None:
        stems = {path.stem for path in _frame_files(folder)}
        missing = sorted(set(masks) - stems)
        if missing:
            raise DatasetError(
                f"{masks[missing[0]]} has no frame: expected {folder / 'frames' / missing[0]} with one of "
                f"{', '.join(IMAGE_SUFFIXES)}"
            )
    elif not Path(video).is_file():
        raise DatasetError(f"no video file at {video}")
    return Clip(
        name=str(meta.get("name", folder.name)),
        folder=folder,
        objects=objects,
        masks=masks,
        ignore_label=ignored,
        video=None if video is None else Path(video),
    )


def _object(facts: dict[str, Any]) -> ClipObject:
    return ClipObject(int(facts["id"]), phrases_of(facts, "expressions"))


def phrases_of(facts: dict[str, Any], key: str) -> tuple[str, ...]:
    """A list of phrases out of a description, () where there is none. Raises TypeError for anything else."""
    phrases = facts.get(key, [])
    if not isinstance(phrases, list):
        raise TypeError(f"{key} are {shown(phrases)}")
    return tuple(map(said, phrases))


def find_clips(root: Path) -> list[Path]:
    """Clip folders at or directly under `root`. Raises DatasetError when there is none."""
    root = Path(root)
    if (root / "meta.json").is_file():
        return [root]
    found = sorted(path.parent for path in root.glob("*/meta.json"))
    if not found:
        raise DatasetError(f"no clip at {root}: expected meta.json there or in its subfolders")
    return found


def evaluate_clip(
    runtime: Runtime,
    folder: Path,
    *,
    video: Path | None = None,
    references: Sequence[str] = DEFAULT_REFERENCES,
    config: TrackerConfig | None = None,
    known: KnownObjects | None = None,
    on_run: Callable[[Reference], None] | None = None,
    on_scored: OnScored | None = None,
) -> dict[str, Any]:
    """Track every object of a clip from every kind of reference, each in a tracker of its own, and score it.

    Args:
        video: a video file to track in full instead of `frames/`; masks are then named by 5-digit frame
        index.
        references: any of REFERENCES. "mask", "click" and "box" are taken from the first mask that shows the
        object
            (innermost point, tight box); "mask" runs leave that frame out of the score, and need a second
            one.
        known: objects that expressions may call by name.
        on_run: called after each run. on_scored: called with (reference, stem, image, predicted
        bool mask,
            label image, score) for each scored frame.
    Returns: {"clip", "model", "frames", "runs": [{"reference", "object", "expression", "J", "F", "J&F",
    "step_ms",
        "frames": [...]}], "means": {kind: {"J", "F", "J&F", "runs"}}}.
    Raises: DatasetError, and what the tracker raises for a bad reference.
    """
    clip = load_clip(folder, video)
    result = evaluate_references(
        clip, lambda: Tracker(runtime, config, known=known), references, on_run=on_run, on_scored=on_scored
    )
    return {"clip": clip.name, "model": runtime.describe(), **result}


def evaluate_references(
    clip: Clip,
    make_tracker: Callable[[], ClipTracker],
    references: Sequence[str] = DEFAULT_REFERENCES,
    *,
    on_run: Callable[[Reference], None] | None = None,
    on_scored: OnScored | None = None,
) -> dict[str, Any]:
    """`evaluate_clip` for any maker of trackers."""
    runs = []
    for reference in list_runs(clip, references):
        runs.append(_run(clip, make_tracker(), reference, on_scored))
        if on_run is not None:
            on_run(reference)
    means = {}
    for kind in references:
        scores = [Score(run["J"], run["F"]) for run in runs if run["reference"] == kind]
        if scores:
            means[kind] = {**_as_dict(mean_score(scores)), "runs": len(scores)}
    return {"scored_frames": len(clip.masks), "runs": runs, "means": means}


def list_runs(clip: Clip, references: Sequence[str]) -> list[Reference]:
    """The runs a clip allows: those that leave at least one annotated frame to score (a still's mask cannot
    be both given and scored).

    Raises ValueError for an unknown kind of reference, DatasetError for an object that no mask shows.
    """
    unknown = sorted(set(references) - set(REFERENCES))
    if unknown:
        raise ValueError(f"unknown reference {unknown[0]!r}, expected any of {', '.join(REFERENCES)}")
    runs = []
    for kind in references:
        for item in clip.objects:
            phrases = item.expressions if "words" in kind else ("",)
            runs += [Reference(kind, item, phrase) for phrase in phrases]
    return [run for run in runs if _scored(clip, run)]


def innermost_point(mask: np.ndarray) -> tuple[int, int]:
    """The (x, y) of a bool [h,w] mask farthest from its edge and from the image border: where a person would
    click."""
    distance = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    y, x = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return int(x) - 1, int(y) - 1


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(x, y, width, height) of a non-empty bool [h,w] mask."""
    return tuple(cv2.boundingRect(mask.astype(np.uint8)))  # type: ignore[return-value]


def _run(
    clip: Clip, tracker: ClipTracker, reference: Reference, on_scored: OnScored | None
) -> dict[str, Any]:
    """One object, one reference, the whole clip."""
    start = first_visible(clip, reference.object.id)
    expected = _scored(clip, reference)
    object_id = tracker.add_text(reference.expression) if reference.kind == "words" else None
    records, times = [], []
    for stem, image in clip.frames():
        if object_id is None:
            if stem != start:
                continue
            object_id = _point_at(tracker, reference, _truth(clip, stem, image) == reference.object.id)
        frame = tracker.step(image)
        times.append(frame.timings.get("total", 0.0))
        if stem not in expected:
            continue
        labels = _truth(clip, stem, image)
        predicted, score, record = _score_frame(clip, labels, frame, object_id, reference.object.id)
        records.append({"frame": stem, **record})
        if on_scored is not None:
            on_scored(reference, stem, image, predicted, labels, score)
    if len(records) < len(expected):
        unreached = min(expected - {record["frame"] for record in records})
        raise DatasetError(
            f"{clip.video or clip.folder / 'frames'} ended before frame {unreached}, which has a mask"
        )
    total = mean_score(Score(r["J"], r["F"]) for r in records)
    return {
        "reference": reference.kind,
        "object": reference.object.id,
        "expression": reference.expression,
        **_as_dict(total),
        "step_ms": round(median(times), 2),
        "steps": len(times),
        "frames": records,
    }


def _point_at(tracker: ClipTracker, reference: Reference, mask: np.ndarray) -> str:
    """Give the reference made from the object's true mask; returns the tracker's id."""
    if reference.kind == "click":
        return tracker.add_points([innermost_point(mask)])
    if reference.kind == "box":
        return tracker.add_box(tight_box(mask))
    return tracker.add_mask(mask, prompt=reference.expression or None)


def _scored(clip: Clip, reference: Reference) -> set[str]:
    """Annotated frames a run answers for: all for words, else those from its reference on, without a given
    mask."""
    if reference.kind == "words":
        return set(clip.masks)
    start = first_visible(clip, reference.object.id)
    stems = list(clip.masks)  # in order of time, which is not always that of the letters: 2, 10
    first = stems.index(start) + ("mask" in reference.kind)
    return set(stems[first:])


def _score_frame(
    clip: Clip, labels: np.ndarray, frame: TrackedFrame, object_id: str, label: int
) -> tuple[np.ndarray, Score, dict[str, Any]]:
    """The predicted bool mask of a frame, its score, and both as a record for the report."""
    item = frame.object(object_id)
    predicted = frame.label_image == item.slot if item is not None else np.zeros(labels.shape, bool)
    score = score_mask(predicted, labels == label, labels == clip.ignore_label)
    record = {**_as_dict(score), "score": 0.0, "state": "absent", "area": int(predicted.sum())}
    if item is not None:
        record |= {"score": round(float(item.score), 4), "state": item.state.value}
    return predicted, score, record


def first_visible(clip: Clip, label: int) -> str:
    """Stem of the first mask that shows an object. Raises DatasetError when none does."""
    for stem in clip.masks:
        if (clip.labels(stem) == label).any():
            return stem
    raise DatasetError(f"{clip.folder / 'meta.json'} names object {label}, but none of its masks shows it")


def _truth(clip: Clip, stem: str, image: np.ndarray) -> np.ndarray:
    labels = clip.labels(stem)
    if labels.shape != image.shape[:2]:
        raise DatasetError(f"{clip.masks[stem]} is {labels.shape} pixels, its frame is {image.shape[:2]}")
    return labels


def _as_dict(score: Score) -> dict[str, float]:
    return {"J": round(score.j, 4), "F": round(score.f, 4), "J&F": round(score.jf, 4)}


def _read_meta(path: Path) -> dict[str, Any]:
    expected = 'a clip\'s description with "objects", a list of {"id": 1, "expressions": [...]}'
    meta = read_json(path, expected)
    objects = meta.get("objects") if isinstance(meta, dict) else None
    if not isinstance(objects, list) or not objects:
        raise DatasetError(f"{path}: expected {expected}")
    return meta


def _frame_files(folder: Path) -> list[Path]:
    frames = folder / "frames"
    files = list_images(frames) if frames.is_dir() else []
    if not files:
        raise DatasetError(f"no frames in {frames}: expected images ({', '.join(IMAGE_SUFFIXES)})")
    return files


def video_frames(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Names and BGR images of a video. Raises DatasetError where it cannot be read."""
    try:
        source = open_source(str(path))
    except SourceError as error:
        raise DatasetError(str(error)) from error
    try:
        for frame in source:
            yield f"{frame.index:05d}", frame.image
    finally:
        source.close()


def _read_image(path: Path) -> np.ndarray:
    with as_dataset_error():
        return read_image(path)
