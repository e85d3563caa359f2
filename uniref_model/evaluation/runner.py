"""Runs a predictor over a benchmark: submission files, resumable by video, then the scores.

Layout of the output folder: predictions/… as the benchmark's server or toolkit takes it, run.json (what was
run), and scores.json. A unit (a video, or a video and phrase) is written to a hidden folder and renamed when
complete, so a folder under its final name is whole, and a second run skips it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.errors import DatasetError, laid_out
from ..datasets.evaluation import (
    Davis,
    Davis16,
    Lvos,
    RefCoco,
    RefDavis,
    RefYoutubeVos,
    Video,
    VideoDataset,
    YoutubeVos,
    decode_segmentation,
)
from ..datasets.pngs import read_palette
from ..errors import SourceError
from ..label_pngs import davis_palette, write_labels, write_mask
from ..limits import MAX_ANNOTATION_BYTES, MAX_SETTINGS_BYTES, LimitError
from ..outputs import write_whole
from ..reading import parse_json, read_text
from . import scoring
from .metrics import ReferringTotals
from .predictors import Labels, Predictor
from .presets import EvalPreset
from .scoring import ObjectScore


@dataclass(frozen=True)
class Unit:
    """One resumable piece of work: a folder of PNGs, and how to compute them."""

    title: str
    folder: Path
    video: Video
    predict: Callable[[Video], Labels]
    binary: bool = False


def open_dataset(preset: EvalPreset, root: Path) -> VideoDataset | RefCoco:
    """The reader of a benchmark at `root`. Raises DatasetError when its lists are missing."""
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"no folder {root}: expected the {preset.id} data set")
    if preset.reader == "refcoco":
        return RefCoco(root, preset.name, preset.split_by, preset.split)
    if preset.reader == "davis16":
        return Davis16(root, preset.split, preset.meta if preset.protocol == "rvos" else "")
    if preset.reader == "youtube_vos":
        return YoutubeVos(root, preset.split, preset.meta)
    readers = {"davis": Davis, "lvos": Lvos, "ref_youtube_vos": RefYoutubeVos, "ref_davis": RefDavis}
    return readers[preset.reader](root, preset.split)


def run_benchmark(
    preset: EvalPreset,
    root: Path,
    predictor: Predictor,
    out: Path,
    *,
    limit: int | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Predict what is not there yet, score everything, write scores.json and return it.

    Args:
        limit: only the first videos (or images), for a quick look; the result says so.
        on_progress: called with (done, total, title) before each unit and once at the end.
    Returns: {"benchmark", "split", "units", "scores": {name: fraction}, "by_object", …}; "scores" is empty
    where the
        masks are not published.
    Raises: DatasetError for data that is missing or was predicted under other settings.
    """
    out = Path(out)
    dataset = open_dataset(preset, root)
    _claim(out, preset, predictor)
    report = on_progress or (lambda done, total, title: None)
    facts = {"benchmark": preset.id, "split": preset.split, "limit": limit, "run": predictor.describe()}
    if isinstance(dataset, RefCoco):
        result = _run_images(dataset, predictor, out, limit, report)
    else:
        result = _run_videos(dataset, preset, predictor, out, limit, report)
    result = {**facts, **result}
    _write_json(out / "scores.json", result)
    return result


# ---- videos ----


def _run_videos(
    dataset: VideoDataset,
    preset: EvalPreset,
    predictor: Predictor,
    out: Path,
    limit: int | None,
    report: Callable[[int, int, str], None],
) -> dict[str, Any]:
    predictions = out / "predictions" / preset.submission_folder
    # all lists are read before the first prediction: a missing frame must not show up after hours of
    # computing
    videos = [dataset.video(video_id) for video_id in dataset.video_ids[:limit]]
    units = [unit for video in videos for unit in _units(video, preset, predictor, predictions)]
    for done, unit in enumerate(units):
        report(done, len(units), unit.title)
        if not unit.folder.is_dir():
            _predict(unit)
    report(len(units), len(units), "scoring")
    scores, by_id = _score(dataset, preset, videos, predictions)
    result: dict[str, Any] = {"units": len(units), "submission": str(predictions)}
    result["scores"] = _fractions(scoring.SUMMARIES[preset.scoring](scores)) if scores else {}
    if by_id:
        result["scores_by_id"] = _fractions(scoring.summarise_annotators(by_id))
    result["by_object"] = {
        (f"{item.group}:{item.name}" if item.group else item.name): _fractions(
            {"J": item.score.j, "F": item.score.f, "J&F": item.score.jf}
        )
        for item in scores
    }
    return result


def _units(video: Video, preset: EvalPreset, predictor: Predictor, predictions: Path) -> Iterator[Unit]:
    """What has to be predicted for a video, by protocol."""
    if preset.protocol == "vos":
        yield Unit(video.id, predictions / video.id, video, predictor.vos, binary=video.binary)
    elif preset.protocol == "rvos":
        for item in video.expressions:
            yield Unit(
                f"{video.id}: {item.text}",
                predictions / video.id / item.id,
                video,
                lambda v, text=item.text: predictor.referring(v, text),
                binary=True,
            )
    else:
        for annotator in sorted({item.annotator for item in video.expressions}):
            phrases = [item.text for item in video.expressions if item.annotator == annotator]
            yield Unit(
                f"{video.id}, annotator {annotator}",
                annotator_folder(predictions, annotator) / video.id,
                video,
                lambda v, texts=phrases: predictor.referring_together(v, texts),
            )


def annotator_folder(predictions: Path, annotator: int) -> Path:
    """Where one annotator's answers go, named as in the authors' output."""
    return predictions / f"refdavis-val-{annotator}"


def _predict(unit: Unit) -> None:
    """Write a unit's PNGs; its folder appears only when it is complete."""
    partial = unit.folder.parent / f".{unit.folder.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    video = unit.video
    palette = davis_palette() if unit.binary or not video.annotations else _palette_of(video)
    size = video.size()
    for stem, labels in unit.predict(video):
        if labels.shape != size:
            raise ValueError(
                f"{unit.title}, frame {stem}: prediction is {labels.shape}, the frames are {size}"
            )
        if unit.binary:
            write_mask(partial / f"{stem}.png", labels > 0)
        else:
            write_labels(partial / f"{stem}.png", labels, palette)
    os.replace(partial, unit.folder)


def _palette_of(video: Video) -> list[int]:
    return read_palette(next(iter(video.annotations.values())))


def _score(
    dataset: VideoDataset, preset: EvalPreset, videos: Sequence[Video], predictions: Path
) -> tuple[list[ObjectScore], list[ObjectScore]]:
    """Scores of every object with published masks, and for Ref-DAVIS17 also by object id."""
    scores: list[ObjectScore] = []
    by_id: list[ObjectScore] = []
    unseen = dataset.unseen_videos() if isinstance(dataset, Lvos) else frozenset()
    for video in videos:
        folder = predictions / video.id
        if preset.scoring == "davis":
            scores += scoring.score_davis(video, folder)
        elif preset.scoring == "davis_words":
            scores += scoring.score_davis_words(video, folder)
        elif preset.scoring == "youtube_vos":
            scores += scoring.score_youtube_vos(video, folder, preset.seen_categories)
        elif preset.scoring == "lvos":
            scores += scoring.score_lvos(video, folder, video.id in unseen)
        elif preset.scoring == "ref_davis":
            for annotator in sorted({item.annotator for item in video.expressions}):
                folder = annotator_folder(predictions, annotator) / video.id
                scores += scoring.score_ref_davis(video, folder, str(annotator))
                by_id += scoring.score_ref_davis_by_id(video, folder, str(annotator))
        elif video.annotations:
            scores += [
                ObjectScore(
                    f"{video.id}/{item.id}", scoring.score_expression(video, folder / item.id, item.object_id)
                )
                for item in video.expressions
                if item.object_id
            ]
    return scores, by_id


# ---- images ----


def _run_images(
    dataset: RefCoco,
    predictor: Predictor,
    out: Path,
    limit: int | None,
    report: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """RIS has no submission: the pixel counts of every phrase are kept, one line a phrase, and give all
    scores."""
    path = out / "counts.jsonl"
    known = _read_counts(path)
    total = len(dataset) if limit is None else min(limit, len(dataset))
    totals = ReferringTotals()
    with path.open("a", encoding="utf-8") as file:
        for done, sample in zip(range(total), dataset, strict=False):
            report(done, total, sample.id)
            for n, phrase in enumerate(sample.phrases):
                if (sample.id, n) not in known:
                    truth = decode_segmentation(sample.truth, sample.size)
                    i, u = known[sample.id, n] = _counts(predictor.image(sample, phrase), truth, sample.id)
                    file.write(json.dumps({"ref": sample.id, "phrase": n, "i": i, "u": u}) + "\n")
                    file.flush()
                totals.add_counts(*known[sample.id, n])
    report(total, total, "scoring")
    return {"units": len(totals.ious), "scores": _fractions(totals.summary())}


def _counts(predicted: np.ndarray, truth: np.ndarray, title: str) -> tuple[int, int]:
    if predicted.shape != truth.shape:
        raise ValueError(f"reference {title}: prediction is {predicted.shape}, the image is {truth.shape}")
    return int(np.count_nonzero(predicted & truth)), int(np.count_nonzero(predicted | truth))


def _read_counts(path: Path) -> dict[tuple[str, int], tuple[int, int]]:
    """Counts of an earlier run; a last line cut short by a stop is dropped from the file."""
    if not path.exists():
        return {}
    lines = _own_text(path, MAX_ANNOTATION_BYTES).splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    with laid_out(path, 'lines of "ref", "phrase", "i" and "u" of an earlier run'):
        rows = [parse_json(line) for line in whole]
        known = {(str(row["ref"]), int(row["phrase"])): (int(row["i"]), int(row["u"])) for row in rows}
    if len(whole) < len(lines):
        write_whole(path, "".join(whole))
    return known


def _own_text(path: Path, limit: int = MAX_SETTINGS_BYTES) -> str:
    """A file that an earlier run left. Raises DatasetError for one that cannot be read."""
    try:
        return read_text(path, limit, ordinary=True)
    except (OSError, ValueError, SourceError, LimitError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error


# ---- output folder ----


def _claim(out: Path, preset: EvalPreset, predictor: Predictor) -> None:
    """Write run.json, or check that the run in this folder is the same one. The limit may change between
    runs."""
    settings = json.loads(json.dumps({"preset": asdict(preset), "predictor": predictor.describe()}))
    path = out / "run.json"
    if path.exists():
        with laid_out(path, "the settings of an earlier run"):
            before = parse_json(_own_text(path))
            changed = [
                k
                for part in settings
                for k in settings[part]
                if before.get(part, {}).get(k) != settings[part][k]
            ]
        if before != settings:
            raise DatasetError(
                f"{out} holds another run ({', '.join(changed) or 'other settings'} differ): "
                "choose another output folder or delete it"
            )
        return
    _write_json(path, settings)


def _write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=1))


def _fractions(values: dict[str, float] | Any) -> dict[str, float | None]:
    """Rounded for people; NaN, which JSON lacks, becomes null."""
    return {key: None if math.isnan(value) else round(value, 4) for key, value in dict(values).items()}
