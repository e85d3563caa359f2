"""Scores of predictions on disk, one function for each benchmark's published rule.

Every function reads label PNGs of one video from a folder, as a submission holds them, so that a resumed run,
a run of another program and a fresh one are scored alike. Rules follow the official toolkits:
davis2017-evaluation (semi-supervised and unsupervised), lvos-evaluation, and for YouTube-VOS, whose server's
code is not public, its paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.errors import DatasetError
from ..datasets.evaluation import Video
from ..datasets.evaluation.davis import VOID
from ..datasets.pngs import read_labels
from .metrics import Score, best_assignment, mean, mean_score, score_mask, youtube_vos_g


@dataclass(frozen=True)
class ObjectScore:
    """One object's mean over its frames. name: "<video>/<object>". group: "seen", "unseen", an annotator, or
    "".
    v: LVOS's stability, the standard deviation of J&F over frames; NaN elsewhere."""

    name: str
    score: Score
    group: str = ""
    v: float = math.nan


def score_davis(video: Video, folder: Path) -> list[ObjectScore]:
    """Semi-supervised DAVIS: all frames but the first and the last; void pixels are background."""
    frames = _inner_frames(video)
    return [
        ObjectScore(f"{video.id}/{item.id}", mean_score(_object_scores(video, folder, item.id, frames)))
        for item in video.objects
    ]


def score_davis_words(video: Video, folder: Path) -> list[ObjectScore]:
    """DAVIS 2016 by words: each phrase on the frames that `score_davis` takes, so that the ways to point at
    the object compare."""
    frames = _inner_frames(video)
    return [
        ObjectScore(
            f"{video.id}/{item.id}",
            mean_score(_object_scores(video, folder / item.id, item.object_id, frames)),
        )
        for item in video.expressions
    ]


def score_youtube_vos(video: Video, folder: Path, seen_categories: Sequence[str]) -> list[ObjectScore]:
    """YouTube-VOS: each object on its listed frames after the one that gave its mask.

    Returns [] for a video whose masks on those frames are not published (the usual valid split). An object
    that has no frame left is skipped.
    """
    scores = []
    for item in video.objects:
        wanted = item.scored_frames or tuple(video.annotations)
        before = video.frames[: video.frames.index(item.first_frame) + 1]
        frames = [stem for stem in wanted if stem not in before]
        if any(stem not in video.annotations for stem in frames):
            return []
        if frames:
            group = "" if not item.category else "seen" if item.category in seen_categories else "unseen"
            score = mean_score(_object_scores(video, folder, item.id, frames))
            scores.append(ObjectScore(f"{video.id}/{item.id}", score, group))
    return scores


def score_lvos(video: Video, folder: Path, unseen: bool) -> list[ObjectScore]:
    """LVOS: each object on its range of frames; V is the standard deviation of J&F over them."""
    results = []
    for item in video.objects:
        scores = _object_scores(video, folder, item.id, item.scored_frames)
        scores += [Score(0.0, 0.0)] * (item.frame_count - len(scores))
        total = mean_score(scores)
        spread = math.sqrt(mean((s.jf - total.jf) ** 2 for s in scores))
        results.append(ObjectScore(f"{video.id}/{item.id}", total, "unseen" if unseen else "seen", spread))
    return results


def score_ref_davis(video: Video, folder: Path, group: str) -> list[ObjectScore]:
    """Ref-DAVIS17, one annotator's label images: all frames, void pixels ignored, predictions assigned to
    objects so that the sum of J&F is highest.

    The published numbers come from the toolkit's *unsupervised* task, which assigns freely: masks that name
    the wrong object of a video are not punished. `score_ref_davis_by_id` is the rule that does.
    """
    pairs = _label_pairs(video, folder)
    found = sorted({i for _, predicted, _ in pairs for i in np.unique(predicted).tolist()} - {0, VOID})
    ids = sorted({item.id for item in video.objects})
    labels = found + [
        -1 - i for i in range(len(ids) - len(found))
    ]  # labels that no pixel has: empty predictions
    table = [[mean_score(_pair_scores(pairs, label, i)) for i in ids] for label in labels]
    chosen = best_assignment(np.array([[score.jf for score in row] for row in table]))
    return [ObjectScore(f"{video.id}/{ids[column]}", table[row][column], group) for row, column in chosen]


def score_ref_davis_by_id(video: Video, folder: Path, group: str) -> list[ObjectScore]:
    """As `score_ref_davis`, but each phrase is scored against the object it was written for."""
    pairs = _label_pairs(video, folder)
    return [
        ObjectScore(f"{video.id}/{item.id}", mean_score(_pair_scores(pairs, item.id, item.id)), group)
        for item in video.objects
    ]


def score_expression(video: Video, folder: Path, object_id: int) -> Score:
    """Ref-YouTube-VOS, one phrase: 0/255 masks against its object in every annotated frame of the list."""
    frames = [stem for stem in video.frames if stem in video.annotations]
    return mean_score(score_mask(_read(folder, stem) > 0, video.labels(stem) == object_id) for stem in frames)


def summarise(scores: Sequence[ObjectScore]) -> dict[str, float]:
    """J&F, J, F: the mean over objects."""
    total = mean_score(item.score for item in scores)
    return {"J&F": total.jf, "J": total.j, "F": total.f}


def summarise_groups(scores: Sequence[ObjectScore]) -> dict[str, float]:
    """YouTube-VOS's G with its four parts; without categories (MOSE) just J&F."""
    if all(not item.group for item in scores):
        return summarise(scores)
    seen, unseen = (_in_group(scores, group) for group in ("seen", "unseen"))
    return youtube_vos_g([item.score for item in seen], [item.score for item in unseen])


def summarise_lvos(scores: Sequence[ObjectScore]) -> dict[str, float]:
    """LVOS: J&F, J, F, V. With an unseen group each is the mean of both groups' means, as in the toolkit."""
    groups = [group for group in (_in_group(scores, "seen"), _in_group(scores, "unseen")) if group]
    parts = [{**summarise(group), "V": mean(item.v for item in group)} for group in groups]
    return {key: mean(part[key] for part in parts) for key in ("J&F", "J", "F", "V")}


def summarise_annotators(scores: Sequence[ObjectScore]) -> dict[str, float]:
    """Ref-DAVIS17: the mean of the annotators' results."""
    parts = [summarise(_in_group(scores, group)) for group in sorted({item.group for item in scores})]
    return {key: mean(part[key] for part in parts) for key in ("J&F", "J", "F")}


SUMMARIES: Mapping[str, Callable[[Sequence[ObjectScore]], dict[str, float]]] = {
    "davis": summarise,
    "davis_words": summarise,
    "youtube_vos": summarise_groups,
    "lvos": summarise_lvos,
    "ref_davis": summarise_annotators,
    "ref_youtube_vos": summarise,
}


def _in_group(scores: Sequence[ObjectScore], group: str) -> list[ObjectScore]:
    return [item for item in scores if item.group == group]


def _object_scores(video: Video, folder: Path, label: int, frames: Sequence[str]) -> list[Score]:
    pairs = ((_read(folder, stem), video.labels(stem)) for stem in frames)
    return [score_mask(p > 0 if video.binary else p == label, truth == label) for p, truth in pairs]


def _inner_frames(video: Video) -> list[str]:
    """DAVIS leaves out the first frame, which is given, and the last."""
    if len(video.annotations) < 3:
        raise DatasetError(f"{video.id} has {len(video.annotations)} masks, expected at least 3")
    return list(video.annotations)[1:-1]


def _label_pairs(video: Video, folder: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    return [(stem, _read(folder, stem), video.labels(stem)) for stem in video.annotations]


def _pair_scores(
    pairs: list[tuple[str, np.ndarray, np.ndarray]], label: int, truth_label: int
) -> list[Score]:
    return [
        score_mask(predicted == label, truth == truth_label, truth == VOID) for _, predicted, truth in pairs
    ]


def _read(folder: Path, stem: str) -> np.ndarray:
    path = folder / f"{stem}.png"
    if not path.is_file():
        raise DatasetError(f"missing prediction {path}: expected a mask for every scored frame")
    return read_labels(path)
