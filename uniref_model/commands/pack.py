"""The work behind `uniref eval pack`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from ..datasets.errors import DatasetError
from ..datasets.plain import read_pack
from ..evaluation.metrics import score_mask
from ..evaluation.pack import KINDS, NEGATIVE, ask_all, questions, summarise
from ..evaluation.sheets import ContactSheet
from ..profiling.figures import machine, versions
from ..runtime.base import Runtime
from ..tracking import TrackerConfig

_SHEET = 60
"""Tiles of a kind's sheet, the first ones asked."""


def score_pack(
    runtime: Runtime,
    path: Path,
    out: Path,
    *,
    split: str,
    limit: int,
    uses: Sequence[str],
    config: TrackerConfig,
    on_progress: Callable[[int, int], None],
    complain: Callable[[str], None],
) -> dict[str, Any]:
    """Ask a pack's questions; {"model", "machine", "versions", "split", "limit", "sets"}. Writes out/sheets/.

    Raises DatasetError where there is nothing to ask.
    """
    pictures = read_pack(path, split=split, uses=uses, complain=complain)
    others = read_pack(path, split="train", uses=uses, complain=lambda _: None)
    trained = {item.name for picture in others for item in picture.objects}
    asked = questions(pictures, limit, frozenset(trained))
    if not asked:
        raise DatasetError(f"{path} has nothing to ask about: {len(pictures)} pictures of split {split!r}")
    answers, sheets = [], {kind: ContactSheet(kind) for kind in KINDS}
    for answer, shown in ask_all(runtime, asked, complain, config):
        sheet, question = sheets[answer.question.kind], answer.question
        if sheet.count < _SHEET:
            title = f"{question.text or (question.item.name if question.item else '-')} {answer.score:.2f}"
            sheet.add(title, shown.image, shown.mask, shown.truth, score_mask(shown.mask, shown.truth))
        answers.append(answer)
        on_progress(len(answers), len(asked))
    for kind, sheet in sheets.items():
        if sheet.count:
            sheet.save(out / "sheets" / f"{kind.replace(' ', '_')}.png")
    return {
        "model": runtime.describe(),
        "machine": machine(),
        "versions": versions(("numpy", "opencv-python-headless", "onnxruntime")),
        "split": split,
        "limit": limit,
        "sets": summarise(answers),
    }


def show_pack(result: dict[str, Any]) -> Table:
    """A row a set; right of those that are there, answered of those that are not, in percent (asked)."""
    table = Table("set", *KINDS, title=f"{result['split']} pictures: right, or (not there) answered, %")
    last = ("new names", "all")
    for name, kinds in sorted(result["sets"].items(), key=lambda row: (row[0] in last, row[0])):
        cells = []
        for kind in KINDS:
            row = kinds.get(kind)
            share = None if row is None else row["answered" if kind in NEGATIVE else "right"]
            cells.append("" if row is None else f"{100 * share:.0f} ({row['asked']})")
        table.add_row(name, *cells, style="bold" if name == "all" else "")
    return table
