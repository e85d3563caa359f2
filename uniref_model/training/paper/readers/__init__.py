"""Readers of the training data sets in their published layouts."""

from __future__ import annotations

from pathlib import Path

from uniref_model.evaluation.errors import DatasetError
from uniref_model.training.paper.config import DatasetConfig
from uniref_model.training.paper.readers.base import Drawn, Frame, TrainingSet
from uniref_model.training.paper.readers.images import Coco, ReferCoco, VisualGenome, evaluation_images
from uniref_model.training.paper.readers.videos import Ovis, ReferVideos, lvos, youtube_vos

__all__ = ["Drawn", "Frame", "TrainingSet", "open_dataset"]


def open_dataset(config: DatasetConfig, data: Path, span: int) -> TrainingSet:
    """Open a data set under the data folder. span: most annotated frames between the two of a clip.

    Raises DatasetError naming the file or folder that is missing or wrong.
    """
    root = data / (config.folder or config.name)
    if not root.is_dir():
        raise DatasetError(f"missing folder {root}: expected data set {config.name!r}")
    if config.name == "visual_genome":
        excluded = evaluation_images(data / "refcoco") if config.exclude_evaluation else frozenset()
        return VisualGenome(root, excluded)
    if config.name == "refcoco":
        return ReferCoco(root, config.exclude_evaluation)
    if config.name == "coco":
        return Coco(root)
    return {
        "youtube_vos_2019": youtube_vos,
        "lvos": lvos,
        "ovis": Ovis,
        "ref_youtube_vos": ReferVideos,
    }[config.name](root, span)
