"""One stage of the paper's training (supplement, Table 1), read from YAML. Imports no torch."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from uniref_model.settings import build, read_settings, read_yaml

TASKS = ("RIS", "VOS", "RVOS")
DATASETS = {  # and the tasks that each can serve
    "visual_genome": ("RIS",),
    "refcoco": ("RIS", "RVOS"),
    "coco": ("VOS",),
    "youtube_vos_2019": ("VOS",),
    "lvos": ("VOS",),
    "ovis": ("VOS",),
    "ref_youtube_vos": ("RVOS",),
}
MATCHERS = ("ota", "hungarian")


@dataclass(frozen=True)
class DatasetConfig:
    """A row of Table 1, and what the table leaves to the code.

    short_side: the range that the shorter side is drawn from; long_side: most that the longer one may have.
    crop: probability of a random crop before resizing. language_only: share of RVOS samples that get no mask
    reference. exclude_evaluation: leave out images of RefCOCO/+/g's validation and test splits.
    folder: where the data set lies, relative to the data folder; "": the name.
    """

    name: str
    task: str
    weight: float
    batch_size: int
    short_side: tuple[int, ...]
    long_side: int
    crop: float = 0.5
    language_only: float = 0.4
    exclude_evaluation: bool = False
    folder: str = ""

    def check(self) -> None:
        """Raise ValueError naming a value out of its choices."""
        _choice("name", self.name, DATASETS)
        _choice(f"{self.name}: task", self.task, DATASETS[self.name])
        if len(self.short_side) != 2 or not 32 <= self.short_side[0] <= self.short_side[1] <= self.long_side:
            raise ValueError(
                f"{self.name}: short_side is {list(self.short_side)} and long_side {self.long_side}; "
                "expected 32 <= lowest <= highest <= long_side"
            )
        if self.weight <= 0 or self.batch_size < 1:
            raise ValueError(
                f"{self.name}: weight is {self.weight}, batch_size {self.batch_size}; both must be positive"
            )
        for key in ("crop", "language_only"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{self.name}: {key} is {getattr(self, key)}; expected 0..1")

    @property
    def clips(self) -> bool:
        """Whether a sample is a pair of frames, the first one giving the mask reference."""
        return self.task in ("VOS", "RVOS")


@dataclass(frozen=True)
class StageLosses:
    """Weights of the loss terms: the authors' configuration (`projection` and `pairwise`: BoxInst's)."""

    classification: float = 2.0
    l1: float = 5.0
    giou: float = 2.0
    mask: float = 2.0
    dice: float = 5.0
    mask_entropy: float = 0.0  # bootstrapped cross-entropy: the authors' MASK_AUX_LOSS, in the last stage
    mask_iou: float = 0.0
    projection: float = 1.0
    pairwise: float = 1.0
    pairwise_warmup: int = 1667  # iterations over which `pairwise` grows to its weight


@dataclass(frozen=True)
class StageConfig:
    """A stage. batch_size is per GPU: an iteration sees gpus * batch_size samples.

    text_encoder "" keeps the model config's. A learning-rate factor multiplies learning_rate;
    text_learning_rate is absolute. The rates fall by 10 at iteration `step`.
    """

    name: str
    datasets: tuple[DatasetConfig, ...]
    gpus: int
    learning_rate: float
    weight_decay: float
    max_iterations: int
    step: int
    text_encoder_frozen: bool
    model: str = "uniref_r50"
    text_encoder: str = ""
    matcher: str = "ota"
    losses: StageLosses = field(default_factory=StageLosses)
    backbone_factor: float = 0.1
    offsets_factor: float = 0.1  # the sampling offsets of deformable attention
    text_learning_rate: float = 1e-5
    gradient_clip: float = 0.1
    text_dropout: float = 0.1
    frozen_backbone: tuple[str, ...] = ()  # backbone parameters (by prefix) that get no gradient
    frame_range: int = 10  # the two frames of a clip are at most so many annotated frames apart
    checkpoint_iterations: int = 5000
    seed: int = 1

    @staticmethod
    def from_yaml(path: str | Path, changes: dict[str, Any] | None = None) -> StageConfig:
        """Read a YAML file, with top-level `changes` on top; ValueError names the file and what is wrong."""
        values = read_settings(path) | (changes or {})
        try:
            config = build(StageConfig, values)
            config.check()
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return config

    def check(self) -> None:
        """Raise ValueError naming a value out of its choices."""
        if not self.datasets:
            raise ValueError("datasets is empty; expected at least one")
        for item in self.datasets:
            item.check()
        _choice("matcher", self.matcher, MATCHERS)
        for key in ("gpus", "max_iterations", "checkpoint_iterations", "frame_range"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}; expected at least 1")
        if self.learning_rate <= 0 or self.gradient_clip <= 0:
            raise ValueError(
                f"learning_rate is {self.learning_rate}, gradient_clip {self.gradient_clip}; "
                "both must be positive"
            )

    @property
    def uses_masks(self) -> bool:
        """Whether any sample gives the network a mask reference."""
        return any(
            item.task == "VOS" or (item.task == "RVOS" and item.language_only < 1) for item in self.datasets
        )

    @property
    def uses_words(self) -> bool:
        """Whether any sample is referred to by words."""
        return any(item.task != "VOS" for item in self.datasets)


def is_stage(path: str | Path) -> bool:
    """Whether a training YAML is a stage on published data sets (it lists `datasets`)."""
    try:
        values = read_yaml(path)
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and "datasets" in values


def parse_changes(items: typing.Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` items (the value in YAML) as top-level settings. Raises ValueError for another form."""
    changes = {}
    for item in items:
        key, found, value = item.partition("=")
        if not found or not key:
            raise ValueError(f"{item!r} is not KEY=VALUE, such as max_iterations=1000")
        try:
            changes[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"{item!r}: the value is not YAML: {error}") from error
    return changes


def _choice(name: str, value: str, allowed: typing.Iterable[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(allowed)}")
