"""Runs variants of one model over the same clips, and says which is best and how sure that is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from uniref_model.evaluation.clips import evaluate_clip
from uniref_model.runtime import Runtime
from uniref_model.tracking import TrackerConfig

from ..registry import Options
from ..results import COLOURS, new_figure
from .clips import ROOT, ClipSet, generated, real

SIZE = (192, 320)
KINDS = {"words": "words", "mask": "first mask", "words+mask": "words and first mask"}


class Open(Protocol):
    """Opens the runtime of a variant."""

    def __call__(self) -> AbstractContextManager[Runtime]: ...


@dataclass(frozen=True)
class Variant:
    """One row of the table: a runtime and how the tracker uses it. Variants of one runtime share it."""

    name: str
    open: Open
    config: TrackerConfig


@dataclass(frozen=True)
class Score:
    """One object's mean J and F over a clip."""

    run: str
    j: float
    f: float

    @property
    def both(self) -> float:
        return (self.j + self.f) / 2


Scores = dict[tuple[str, str, str], list[Score]]
"""(set, kind of reference, variant) -> one score an object."""


def measure(variants: Sequence[Variant], kinds: Sequence[str], options: Options) -> tuple[Scores, list[str]]:
    """Every variant on every clip of every set. Also returns notes on the sets."""
    clips, frames = options.choose((1, 4), (4, 20), (60, 120))
    limit, stride = options.choose((25, 10), (200, 3), (100_000, 1))
    scores: Scores = {}
    with tempfile.TemporaryDirectory() as scratch:
        sets = [generated(clips, frames, SIZE, Path(scratch))]
        places = options.clips or real_places()
        for number, place in enumerate(places):
            sets += real(Path(place), limit, stride, Path(scratch) / f"real{number}")
        for variant in variants:
            with variant.open() as runtime:
                for clip_set in sets:
                    for kind, score in _scores(runtime, clip_set, kinds, variant.config):
                        scores.setdefault((clip_set.name, kind, variant.name), []).append(score)
    return scores, _notes(sets, clips, frames, limit, stride)


def real_places() -> list[Path]:
    """Folders of annotated clips in this repository."""
    return sorted({path.parent.parent for path in (ROOT / "media").glob("**/meta.json")})


def _scores(
    runtime: Runtime, clip_set: ClipSet, kinds: Sequence[str], config: TrackerConfig
) -> Iterator[tuple[str, Score]]:
    for folder in clip_set.folders:
        result = evaluate_clip(runtime, folder, references=kinds, config=config)
        for run in result["runs"]:
            yield run["reference"], Score(f"{folder.name}/{run['object']}", run["J"], run["F"])


def table(scores: Scores, variants: Sequence[str]) -> tuple[list[str], list[list[str]], list[dict[str, Any]]]:
    """Header, rows and plain data: J&F, J and F in percent, and the difference to the last variant (the
    paper's choice) with its 95 % interval over objects."""
    header = ["set", "reference", "variant", "objects", "J&F", "J", "F", "against the paper's choice"]
    rows, data = [], []
    groups = dict.fromkeys((name, kind) for name, kind, _ in scores)
    for name, kind in groups:
        base = scores[name, kind, variants[-1]]
        for variant in variants:
            items = scores[name, kind, variant]
            low, middle, high = difference(items, base)
            j, f = (100 * float(np.mean([getattr(s, part) for s in items])) for part in ("j", "f"))
            against = "" if variant == variants[-1] else f"{middle:+.1f}"
            if against and len(items) > 1:
                against += f" ({low:+.1f} to {high:+.1f})"
            numbers = [f"{value:.1f}" for value in ((j + f) / 2, j, f)]
            rows.append([name, KINDS[kind], variant, str(len(items)), *numbers, against])
            data.append(
                {
                    "set": name,
                    "reference": kind,
                    "variant": variant,
                    "objects": len(items),
                    "J&F": (j + f) / 2,
                    "J": j,
                    "F": f,
                    "difference": [low, middle, high],
                }
            )
    return header, rows, data


def difference(items: Sequence[Score], base: Sequence[Score]) -> tuple[float, float, float]:
    """Mean J&F difference in percent points and its 95 % bootstrap interval, over the same objects."""
    if [s.run for s in items] != [s.run for s in base]:
        raise ValueError("the variants were scored on different objects")
    gaps = 100 * np.array([one.both - other.both for one, other in zip(items, base, strict=True)])
    draws = np.random.default_rng(0).choice(gaps, (2000, len(gaps))).mean(1)
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(gaps.mean()), float(high)


def verdict(data: Sequence[dict[str, Any]], choice: str, claim: str) -> list[str]:
    """For each set and kind of reference: whether the paper's choice is best here, too, and by how much."""
    lines = []
    groups = dict.fromkeys((row["set"], row["reference"]) for row in data)
    for name, kind in groups:
        rows = [row for row in data if (row["set"], row["reference"]) == (name, kind)]
        best = max(rows, key=lambda row: row["J&F"])
        rivals = [row for row in rows if row["variant"] != choice]
        clear = all(row["difference"][2] < 0 for row in rivals)
        tied = [row["variant"] for row in rivals if row["difference"][0] <= 0 <= row["difference"][2]]
        better = [row["variant"] for row in rivals if row["difference"][0] > 0]
        if len({row["objects"] for row in rows}) == 1 and rows[0]["objects"] == 1:
            gap = best["J&F"] - next(row["J&F"] for row in rows if row["variant"] == choice)
            answer = "agrees" if not gap else f"{best['variant']} is best, by {gap:.1f} points"
            answer += " (one object: no interval)"
        elif clear:
            answer = "agrees"
        elif better:
            answer = f"disagrees: {', '.join(better)} better"
        else:
            answer = f"undecided: no clear difference to {', '.join(tied)}"
        lines.append(f"{claim} - {name}, {KINDS[kind]}: {answer}.")
    return lines


def draw(data: Sequence[dict[str, Any]], variants: Sequence[str], paper: dict[str, dict[str, float]]) -> Any:
    """Bars of J&F by set and reference; the paper's own figures on the right."""
    groups = list(dict.fromkeys((row["set"], row["reference"]) for row in data))
    found = {(row["set"], row["reference"], row["variant"]): row["J&F"] for row in data}
    figure, axis = new_figure(1, 1, (2.6 + 1.5 * (len(groups) + len(paper)), 4.2))
    width = 0.8 / len(variants)
    for number, (variant, colour) in enumerate(zip(variants, COLOURS[::-1], strict=False)):
        colour = COLOURS[0] if variant == variants[-1] else colour
        shift = (number - (len(variants) - 1) / 2) * width
        ours = [found[name, kind, variant] for name, kind in groups]
        axis.bar(np.arange(len(groups)) + shift, ours, width, color=colour, label=variant)
        theirs = [values.get(variant, 0.0) for values in paper.values()]
        places = np.arange(len(theirs)) + len(groups) + shift
        axis.bar(places, theirs, width, color=colour, alpha=0.45, hatch="//", edgecolor="white")
    names = [f"{name}\n{KINDS[kind]}" for name, kind in groups] + [f"paper:\n{name}" for name in paper]
    axis.set_xticks(np.arange(len(names)), names, fontsize=8)
    axis.set_ylabel("J&F, %")
    axis.set_ylim(0, 100)
    figure.legend(loc="outside upper center", ncols=len(variants), fontsize=8)
    return figure


def _notes(sets: Sequence[ClipSet], clips: int, frames: int, limit: int, stride: int) -> list[str]:
    notes = [
        f"Generated: {clips} clips of {frames} frames, three drawn objects that move, turn, cover each "
        "other and leave, from a seed that training never uses.",
        "The tracker follows the authors' video protocol (reference_protocol: authors).",
    ]
    if len(sets) > 1:
        names = ", ".join(item.name for item in sets[1:])
        thin = "" if stride == 1 else f", the first {limit} frames, every third one and all annotated ones"
        notes.append(f"Real: {names}{thin}. One or a few objects each: an example, no proof.")
    else:
        notes.append("No real clips: there is no annotated clip under media/ and no --clips was given.")
    return notes
