"""The training configuration: plain dataclasses read from a YAML file; unknown keys are refused by name."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from uniref_model.settings import check_ranges, load_settings
from uniref_model.synth.pairs import Pairs
from uniref_model.synth.stills import StillConfig


@dataclass(frozen=True)
class Phase:
    """One stretch of the run. `until` is the fraction of the run (0..1] at which it ends; phases that end
    together take turns, step by step, so that one run may serve several sizes alike."""

    until: float
    height: int
    width: int
    clips: int  # clips per step and process

    def __post_init__(self) -> None:
        sides = dict.fromkeys(("height", "width"), (32, 4096))
        check_ranges(self, {"until": (0, 1), "clips": (1, 1000), **sides})


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms; class, box and mask weights as in Deformable DETR and the paper's
    supplement."""

    classification: float = 2.0
    l1: float = 5.0
    giou: float = 2.0
    mask: float = 2.0
    dice: float = 5.0
    dense: float = 2.0  # the training-only dense head
    contour: float = 0.0  # cross-entropy in a band along the contour
    presence: float = 0.0  # the best query's logit against the IoU of its mask, 0 for what is not there
    alignment: float = 2.0  # the training-only comparison of pixels with the sentence
    classes: float = 0.0  # pixels and ImageNet's class names, taught by the backbone's own classifier
    proposals: float = 1.0  # factor on the two-stage terms
    auxiliary: float = 1.0  # factor on every decoder layer but the last

    def __post_init__(self) -> None:
        check_ranges(self, {item.name: (0, 1000) for item in fields(self)})


_SHARES = (
    *("learning_rate", "weight_decay", "backbone_factor", "final_rate", "ema_decay", "minimum_area"),
    *("feedback_probability", "feedback_after", "generated_share"),
)
_AMOUNTS = (
    *("positives", "warmup_steps", "validation_clips", "calibration_clips"),
    *("checkpoint_minutes", "validation_minutes"),
)


@dataclass(frozen=True)
class TrainingConfig:
    """All of a run. Rates are per optimiser step at the given batch size."""

    model: str = "uniref_nano"
    phases: tuple[Phase, ...] = (Phase(1.0, 128, 224, 2),)
    pairs: Pairs = field(default_factory=Pairs)
    weights: LossWeights = field(default_factory=LossWeights)
    positives: int = 4  # most queries a target may claim (dynamic-k); 1 = Hungarian
    learning_rate: float = 5e-4
    backbone_factor: float = 0.2
    restore_backbone: bool = False  # ImageNet's backbone weights, also where --init brings others
    frozen: tuple[str, ...] = ()  # backbone parameters (by prefix) that get no gradient
    weight_decay: float = 1e-4
    warmup_steps: int = 150
    final_rate: float = 0.02  # cosine ends at this fraction of learning_rate
    gradient_clip: float = 1.0
    ema_decay: float = 0.998
    feedback_probability: float = 0.3  # steps whose previous masks are the model's own
    feedback_after: float = 0.35  # fraction of the run before which that never happens
    minimum_area: float = 4e-4  # smaller visible parts (fraction of the frame) are nobody's target
    checkpoint_minutes: float = 5.0
    validation_minutes: float = 8.0
    validation_clips: int = 40
    calibration_clips: int = 40  # held-out clips on which the scores are calibrated at the end
    direction_batches: int = 48  # whose objects tell in which directions things differ, where likeness is new
    # What looks and phrases count beside the calibrated logit, (weight, bias) of each; () for what training
    # found, which is too little where a view is of another thing altogether.
    likeness: tuple[tuple[float, float], ...] = ()
    seed: int = 1
    generated_share: float = 0.3  # of generated clips, where there are stills too (`uniref train --stills`)
    stills: StillConfig = field(default_factory=StillConfig)

    def __post_init__(self) -> None:
        ranges = dict.fromkeys(_SHARES, (0, 1)) | dict.fromkeys(_AMOUNTS, (0, 1e6))
        check_ranges(self, {**ranges, "gradient_clip": (1e-6, 1e6), "seed": (0, 2**31)})

    @staticmethod
    def from_yaml(path: str | Path) -> TrainingConfig:
        """Read a YAML file; ValueError names an unknown key or a phase list that does not end at 1."""
        config = load_settings(TrainingConfig, path)
        ends = [phase.until for phase in config.phases]
        if not ends or ends != sorted(ends) or ends[-1] != 1.0:
            raise ValueError(f"{path}: phases' `until` must rise and end at 1.0, got {ends}")
        return config

    def phases_at(self, progress: float) -> tuple[Phase, ...]:
        """The phases for `progress` in 0..1 of the run, which take turns."""
        until = next((phase.until for phase in self.phases if progress < phase.until), self.phases[-1].until)
        return tuple(phase for phase in self.phases if phase.until == until)
