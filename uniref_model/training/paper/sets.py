"""Which reader opens which data set of Table 1."""

from __future__ import annotations

from pathlib import Path

from uniref_model.datasets.errors import DatasetError
from uniref_model.datasets.training.base import TrainingSet
from uniref_model.datasets.training.images import Coco, ReferCoco, VisualGenome, evaluation_images
from uniref_model.datasets.training.videos import Ovis, ReferVideos, lvos, youtube_vos
from uniref_model.training.paper.config import DatasetConfig


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
