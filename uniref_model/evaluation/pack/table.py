"""What the answers come to, set by set and in all."""

from __future__ import annotations

from collections.abc import Sequence

from ..metrics import mean
from .ask import Answer
from .questions import KINDS, NEGATIVE


def summarise(answers: Sequence[Answer]) -> dict[str, dict[str, dict[str, float]]]:
    """{set or "all" or "new names": {kind: {"asked", "right", "answered", "J"}}}; shares are 0..1.

    right: found with IoU over 0.5; of what is not there: not answered. J: mean IoU with what was meant, 0
    where nothing was found. "new names": words that no training picture has.
    """
    sets: dict[str, list[Answer]] = {"all": list(answers)}
    for answer in answers:
        sets.setdefault(answer.question.picture.folder.name, []).append(answer)
    named_anew = [a for a in answers if a.question.new_name]
    if named_anew:
        sets["new names"] = named_anew
    return {name: _kinds(found) for name, found in sets.items()}


def _kinds(answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    rows = {}
    for kind in KINDS:
        found = [answer for answer in answers if answer.question.kind == kind]
        if found:
            rows[kind] = {"asked": len(found), "answered": round(mean(a.answered for a in found), 4)}
            if kind not in NEGATIVE:
                rows[kind]["right"] = round(mean(a.right for a in found), 4)
                rows[kind]["J"] = round(mean(a.j * a.answered for a in found), 4)
    return rows
