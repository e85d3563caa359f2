"""Scores on real annotated stills: by words, click, box, mask, by a reference from another scene, and of
what is not there."""

from __future__ import annotations

from .ask import Answer, ask_all
from .questions import KINDS, NEGATIVE, Question, questions
from .table import summarise

__all__ = ["KINDS", "NEGATIVE", "Answer", "Question", "ask_all", "questions", "summarise"]
