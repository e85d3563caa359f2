"""Known objects on real pictures: shown in one or three pictures, and looked for in another one of the same
thing, and where there is another thing instead."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.plain import Annotation, Picture, mask_of
from ..errors import UniRefError
from ..known_objects import KnownObjects
from ..prompts import Prompt
from ..runtime.base import Runtime
from ..synth.stills import names_of
from ..tracking import Tracker, TrackState
from .metrics import mean, score_mask
from .pack.questions import number_of

VIEWS = (1, 3)
RIGHT_IOU = 0.5
UNKNOWN_NAME = "part A7"
"""A name that means nothing to the network, as a team's own names do."""

_Shown = tuple[Picture, Annotation]


@dataclass(frozen=True)
class Row:
    """One picture asked once. way: by what; there: whether the thing is in it."""

    way: str
    there: bool
    answered: bool
    right: bool


def run_known(
    runtime: Runtime,
    pictures: Sequence[Picture],
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    complain: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Ask every picture whose object has a group (the same thing in several pictures).

    By words alone (the annotated name), and by views from other pictures of the group together with that
    name, and with UNKNOWN_NAME; "not there": the views and the name of a thing of another group, of which the
    picture has none. A picture is shown as many times as there are views, and once more. Returns {way:
    {"asked", "right", "wrong", "not there", "answered"}}; shares are 0..1.
    """
    grouped = [(picture, item) for picture in pictures for item in picture.objects if item.group]
    rows: list[Row] = []
    for done, (picture, item) in enumerate(grouped):
        on_progress(done, len(grouped))
        same = [(p, i) for p, i in grouped if i.group == item.group and p is not picture]
        try:
            rows += _ask_all(runtime, (picture, item), same, there=True)
            rows += _ask_all(runtime, (picture, item), _another(picture, item, grouped), there=False)
        except UniRefError as error:
            complain(f"{picture.key}: {error}")
    on_progress(len(grouped), len(grouped))
    return {
        way: _summary([row for row in rows if row.way == way]) for way in dict.fromkeys(r.way for r in rows)
    }


def _another(picture: Picture, item: Annotation, grouped: Sequence[_Shown]) -> list[_Shown]:
    """All pictures of another thing, of which this picture has none."""
    names = frozenset().union(*(names_of(other).own for other in picture.objects))
    groups = sorted({i.group for _, i in grouped if i.group != item.group and not names_of(i).own & names})
    if not groups:
        return []
    chosen = groups[number_of(picture.key) % len(groups)]
    return [(p, i) for p, i in grouped if i.group == chosen]


def _ask_all(runtime: Runtime, asked: _Shown, shown: Sequence[_Shown], *, there: bool) -> list[Row]:
    if not shown:
        return []
    picture, item = asked
    image, labels = picture.read()
    truth = mask_of(labels, item)
    order = sorted(shown, key=lambda one: number_of(one[0].key + picture.key))
    name = f"the {order[0][1].name}"
    rows = [_ask(Tracker(runtime), "words alone", name, image, truth, 1, there)]
    for count in VIEWS:
        if len(order) < count:
            continue
        for spoken, what in ((name, "its name"), (UNKNOWN_NAME, "an unknown name")):
            with tempfile.TemporaryDirectory() as folder:
                known = _teach(Path(folder), spoken, order[:count])
                way = f"{count} view{'s' * (count > 1)} and {what}"
                tracker = Tracker(runtime, known=known)
                rows.append(_ask(tracker, way, spoken, image, truth, count + 1, there))
    return rows


def _teach(folder: Path, name: str, shown: Sequence[_Shown]) -> KnownObjects:
    known = KnownObjects(folder)
    for picture, item in shown:
        image, labels = picture.read()
        known.teach(name, image, mask_of(labels, item))
    return known


def _ask(
    tracker: Tracker, way: str, name: str, image: np.ndarray, truth: np.ndarray, times: int, there: bool
) -> Row:
    tracker.add(Prompt(text=name))
    for _ in range(times):
        frame = tracker.step(image)
    answered = frame.objects[0].state is TrackState.TRACKED
    j = score_mask(frame.label_image > 0, truth).j if answered else 0.0
    return Row(way, there, answered, there and j > RIGHT_IOU)


def _summary(rows: Sequence[Row]) -> dict[str, float]:
    there, away = [row for row in rows if row.there], [row for row in rows if not row.there]
    return {
        "asked": len(there),
        "right": round(mean(row.right for row in there), 4),
        "wrong": round(mean(row.answered and not row.right for row in there), 4),
        "not there": len(away),
        "answered": round(mean(row.answered for row in away), 4),
    }
