"""Readers of the training data sets in their published layouts."""

from __future__ import annotations

from uniref_model.datasets.training.base import Drawn, Frame, TrainingSet

__all__ = ["Drawn", "Frame", "TrainingSet"]
