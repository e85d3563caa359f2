"""The model card's real pictures, by one call: two videos, still photographs, and what is not there.

`media/eval` holds the masks. Videos: by words, by first-frame mask, by click, by box; prompts for things that
are not in them; and the camera turning away and back. Stills: nouns, clicks and boxes on single photographs,
fetched from the packages that carry them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..datasets.errors import DatasetError, laid_out
from ..datasets.evaluation.base import read_json, said
from ..datasets.names import inside, plain_name
from ..datasets.pngs import read_labels
from ..picture_size import check_picture
from ..reading import read_bytes
from ..runtime.base import Runtime
from ..tracking import Tracker, TrackerConfig
from .clips import evaluate_clip, innermost_point, phrases_of, tight_box, video_frames
from .metrics import Score, mean, score_mask
from .sheets import ContactSheet, SheetWriter

RIGHT_IOU = 0.5
PAN_FRAMES, AWAY_FRAMES, BACK_FRAMES = 12, 30, 60
SEEN_BEFORE = 60
"""Of the test of re-acquisition: frames before the camera turns, while it turns, away, and after."""

_log = logging.getLogger(__name__)
Told = Callable[[str], None]


@dataclass(frozen=True)
class Picture:
    """A still photograph, its label image, and what is and is not in it."""

    name: str
    image: np.ndarray
    labels: np.ndarray
    objects: dict[int, tuple[str, ...]]
    absent: tuple[str, ...]


@dataclass(frozen=True)
class _Described:
    """What a clip's meta.json says: its video, its name, words for its first object, and prompts for what is
    not in it."""

    video: Path
    name: str
    words: str
    absent: tuple[str, ...]


def run_suite(
    runtime: Runtime,
    media: Path,
    out: Path,
    pictures: Sequence[Picture],
    config: TrackerConfig | None = None,
    told: Told = _log.info,
) -> dict[str, Any]:
    """Everything, in {"model", "videos", "absent", "reacquired", "stills", "still_absent"}; sheets in `out`.

    media: folder with the videos and `eval/`. told: called with a line before each part. Raises DatasetError,
    SourceError for files that are missing or malformed.
    """
    folders = [path.parent for path in sorted((media / "eval").glob("*/meta.json"))]
    if not folders:
        raise DatasetError(f"no clip in {media / 'eval'}: expected <name>/meta.json and <name>/masks")
    clips = {folder: _description(folder / "meta.json", media) for folder in folders}
    videos, absent = [], []
    for folder, clip in clips.items():
        told(f"{folder.name}: words, mask, click, box")
        sheets = SheetWriter(out / "sheets", folder.name)
        videos.append(evaluate_clip(runtime, folder, video=clip.video, config=config, on_scored=sheets.add))
        sheets.save()
        told(f"{folder.name}: what is not there")
        absent += absent_in_video(Tracker(runtime, config), clip.video, clip.name, clip.absent)
    told("turned away and back")
    returned = []
    for clip in clips.values():
        others = [other for other in clips.values() if other is not clip]
        if others:
            frames = turned_away(clip.video, others[0].video)
            returned.append({"clip": clip.name, **reacquired(Tracker(runtime, config), frames, clip.words)})
    told("stills")
    stills, still_absent = score_stills(lambda: Tracker(runtime, config), pictures, out / "sheets")
    return {
        "model": runtime.describe(),
        "videos": videos,
        "absent": absent,
        "reacquired": returned,
        "stills": stills,
        "still_absent": still_absent,
    }


def absent_in_video(tracker: Tracker, video: Path, clip: str, prompts: Sequence[str]) -> list[dict[str, Any]]:
    """How often each prompt, none of which is in the video, is answered: {"clip", "prompt", "frames",
    "answered", "rate"}. All are asked of one tracker, as a robot would."""
    names = [tracker.add_text(prompt) for prompt in prompts]
    answered, frames = dict.fromkeys(names, 0), 0
    for _, image in video_frames(video):
        frame = tracker.step(image)
        frames += 1
        for name in names:
            item = frame.object(name)
            answered[name] += bool(item is not None and item.area)
    return [
        {
            "clip": clip,
            "prompt": prompt,
            "frames": frames,
            "answered": answered[name],
            "rate": round(answered[name] / max(frames, 1), 4),
        }
        for name, prompt in zip(names, prompts, strict=True)
    ]


def turned_away(here: Path, there: Path) -> Iterator[tuple[np.ndarray, float]]:
    """A camera that sees `here`, pans to `there` beside it, stays, and pans back: (frame, share of `here`).

    Both videos go on playing; the second is scaled to the first's size.
    """
    first, second = ((image for _, image in video_frames(path)) for path in (here, there))
    pan = [i / PAN_FRAMES for i in range(1, PAN_FRAMES)]
    shares = [
        *([1.0] * SEEN_BEFORE),
        *(1 - share for share in pan),
        *([0.0] * AWAY_FRAMES),
        *pan,
        *([1.0] * BACK_FRAMES),
    ]
    for share in shares:
        image, other = next(first, None), next(second, None)
        if image is None or other is None:
            return
        height, width = image.shape[:2]
        wide = np.hstack((image, cv2.resize(other, (width, height), interpolation=cv2.INTER_AREA)))
        start = round((1 - share) * width)
        yield np.ascontiguousarray(wide[:, start : start + width]), share


def reacquired(tracker: Tracker, frames: Iterable[tuple[np.ndarray, float]], words: str) -> dict[str, Any]:
    """Follow words through `turned_away`. {"words", "seen_before": share of frames before the turn,
    "answered_away": of those without the object, "back_after": frames until seen again once it is wholly in
    view (None: not), "seen_back": share of frames after that}."""
    name = tracker.add_text(words)
    before, away, back = [], [], []
    for image, share in frames:
        item = tracker.step(image).object(name)
        seen = bool(item is not None and item.area)
        if share == 0:
            away.append(seen)
        elif share == 1:
            (back if away else before).append(seen)
    found = back.index(True) if True in back else None
    return {
        "words": words,
        "seen_before": round(mean(before), 4),
        "answered_away": round(mean(away), 4),
        "back_after": found,
        "seen_back": round(mean(back), 4),
    }


def score_stills(
    make: Callable[[], Tracker], pictures: Sequence[Picture], sheets: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """By words, click and box on single pictures, and prompts for what is not there; one sheet a kind."""
    rows: list[dict[str, Any]] = []
    absent: list[dict[str, Any]] = []
    sheet = {kind: ContactSheet(f"stills, {kind}") for kind in ("words", "click", "box")}
    for picture in pictures:
        for number, phrases in picture.objects.items():
            truth = picture.labels == number
            for kind, words in (*(("words", phrase) for phrase in phrases), ("click", ""), ("box", "")):
                tracker = make()
                name = _point_at(tracker, kind, words, truth)
                mask, score = _answer(tracker, name, picture.image)
                marks = score_mask(mask, truth)
                rows.append(
                    {
                        "picture": picture.name,
                        "object": number,
                        "reference": kind,
                        "words": words,
                        "J": round(marks.j, 4),
                        "score": score,
                        "right": marks.j > RIGHT_IOU,
                    }
                )
                title = f"{picture.name} {words or ' '.join(phrases[:1])}"
                sheet[kind].add(title, picture.image, mask, truth, Score(marks.j, marks.f))
        for words in picture.absent:
            tracker = make()
            mask, score = _answer(tracker, tracker.add_text(words), picture.image)
            absent.append(
                {"picture": picture.name, "words": words, "answered": bool(mask.any()), "score": score}
            )
    if pictures:
        for kind, one in sheet.items():
            one.save(sheets / f"stills-{kind}.png")
    return rows, absent


def _description(path: Path, media: Path) -> _Described:
    expected = 'a clip\'s "video", "name", "objects" with "expressions", and "absent"'
    meta = read_json(path, expected)
    with laid_out(path, expected):
        video, name = inside(media, meta["video"], f"the video of {path}"), said(meta["name"])
        return _Described(video, name, phrases_of(meta["objects"][0], "expressions")[0], _absent(meta))


def _absent(facts: dict[str, Any]) -> tuple[str, ...]:
    return phrases_of({"absent": facts["absent"]}, "absent")


def load_pictures(
    folder: Path, find: Callable[[dict[str, Any]], Path | None]
) -> tuple[list[Picture], list[str]]:
    """Read `pictures.json` and its masks. find: an entry's file, or None where its package cannot be had.

    Returns the pictures, and names of those left out. Raises DatasetError where a file is another version.
    """
    listed = folder / "pictures.json"
    expected = '"pictures", of "name", "client", "package", "file", "sha256", "objects" and "absent"'
    with laid_out(listed, expected):
        entries = list(read_json(listed, expected)["pictures"])
    pictures, missing = [], []
    for entry in entries:
        with laid_out(listed, expected):
            name, digest = plain_name(entry["name"], f"a name of {listed}"), said(entry["sha256"])
            objects = {int(item["id"]): phrases_of(item, "expressions") for item in entry["objects"]}
            absent = _absent(entry)
            path = find(entry)
        if path is None:
            missing.append(name)
            continue
        data = read_bytes(path)
        if hashlib.sha256(data).hexdigest() != digest:
            raise DatasetError(f"{path} is not the picture that {name} was annotated on")
        check_picture(data, str(path))
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        mask = folder / "masks" / f"{name}.png"
        labels = read_labels(mask)
        if image is None or labels.shape != image.shape[:2]:
            raise DatasetError(f"{mask} does not fit {path}")
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        pictures.append(Picture(name, rgb, labels, objects, absent))
    return pictures, missing


def _point_at(tracker: Tracker, kind: str, words: str, truth: np.ndarray) -> str:
    if kind == "words":
        return tracker.add_text(words)
    if kind == "click":
        return tracker.add_points([innermost_point(truth)])
    return tracker.add_box(tight_box(truth))


def _answer(tracker: Tracker, name: str, image: np.ndarray) -> tuple[np.ndarray, float]:
    """bool [h,w] and score; an empty mask where nothing is seen or the reference was of no use."""
    frame = tracker.step(image)
    item = frame.object(name)
    if item is None:
        return np.zeros(image.shape[:2], bool), 0.0
    return frame.label_image == item.slot, round(float(item.score), 4)
