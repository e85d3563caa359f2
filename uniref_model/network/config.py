"""Sizes and choices of a UniRef model, read from YAML. Imports no torch: the runtimes and the CLI read it
too."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from ..configs import config_files
from ..settings import build, read_settings

LEVELS = 4  # feature levels of the transformer: strides 8, 16, 32, 64

FUSION_MODES = ("parallel", "parallel_multiply", "mask_then_language", "language_then_mask")
REFERENCE_CHOICES = ("first", "previous", "first+previous")
PACKAGED_ENCODER = "minilm-l6"  # in no model file, as it is never trained: it comes with its package
TEXT_ENCODERS = ("bert-base", "roberta-base", PACKAGED_ENCODER)


@dataclass(frozen=True)
class InputConfig:
    """How an RGB uint8 image becomes the network's input."""

    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    # "shortest_edge": keep the aspect and pad; "stretch": to one of `sizes`, no padding
    resize: str = "shortest_edge"
    short_side: int = 480
    max_side: int = 1333
    pad_to: int = 32
    sizes: tuple[tuple[int, ...], ...] = ()  # (height, width), for "stretch"; the first is the default


@dataclass(frozen=True)
class BackboneConfig:
    """`name` is "swin_detection" (our swin.py) or any timm model that gives features at strides 4, 8, 16,
    32."""

    name: str = "resnet50"
    channels: tuple[int, ...] = (256, 512, 1024, 2048)
    freeze_norm: bool = True  # BatchNorm keeps its stored statistics and affine values, also while training
    swin_width: int = 192
    swin_depths: tuple[int, ...] = (2, 2, 18, 2)
    swin_heads: tuple[int, ...] = (6, 12, 24, 48)
    swin_window: int = 12


@dataclass(frozen=True)
class TextConfig:
    encoder: str = "bert-base"
    hidden: int = 768
    max_words: int = 77  # tokens, [CLS] and [SEP] included


@dataclass(frozen=True)
class ValueEncoderConfig:
    stem: int = 64
    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    gate_hidden: int = 16  # inner width of the fusers' channel gate
    reference_pooling: tuple[int, ...] = (1, 1, 1, 1)  # per level: references live on an average-pooled grid


@dataclass(frozen=True)
class FusionConfig:
    heads: int = 8
    head_channels: int = 256
    mode: str = "parallel"
    references: str = "first+previous"


@dataclass(frozen=True)
class NounsConfig:
    """network/nouns.py; without `features` the model has no such part (the authors' have none)."""

    features: int = 0  # width of the classifier's last layer
    scatter: int = 128  # directions in which the spread of the classes is measured
    levels: int = 3  # feature levels, from the finest on, that are told


@dataclass(frozen=True)
class LikenessConfig:
    """network/likeness.py; without `width` the model has no such part (the authors' have none). It compares
    what `NounsConfig` describes, and needs it."""

    width: int = 0  # directions in which things are told apart


@dataclass(frozen=True)
class TransformerConfig:
    encoder_layers: int = 6
    decoder_layers: int = 6
    heads: int = 8
    points: int = 4
    ffn: int = 2048
    queries: int = 300
    update_from_level: int = 0  # the encoder refines (and proposals come from) levels from this one on


@dataclass(frozen=True)
class MaskHeadConfig:
    reduce: int = 64  # width between the pyramid and the 8 mask channels
    coordinate_span: float | None = None  # units that relative coordinates count a width; None: pixels


@dataclass(frozen=True)
class ModelConfig:
    name: str
    hidden: int = 256
    input: InputConfig = field(default_factory=InputConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    text: TextConfig = field(default_factory=TextConfig)
    value_encoder: ValueEncoderConfig = field(default_factory=ValueEncoderConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    nouns: NounsConfig = field(default_factory=NounsConfig)
    likeness: LikenessConfig = field(default_factory=LikenessConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    mask_head: MaskHeadConfig = field(default_factory=MaskHeadConfig)

    @classmethod
    def from_dict(cls, values: dict) -> ModelConfig:
        """Build from plain data. Raises ValueError naming an unknown key or a value out of its choices."""
        config = build(cls, values)
        _check(config)
        return config

    @classmethod
    def from_yaml(cls, path: str | Path) -> ModelConfig:
        values = read_settings(path)
        try:
            return cls.from_dict(values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def from_name(cls, name: str) -> ModelConfig:
        """Read `<name>.yaml` from the folder of model configs. Raises ValueError with the names there are."""
        known = config_files("models")
        if name not in known:
            raise ValueError(f"no model named {name!r}; known: {', '.join(sorted(known)) or 'none'}")
        return cls.from_yaml(known[name])

    def with_fusion(self, mode: str | None = None, references: str | None = None) -> ModelConfig:
        """The same weights read another way, for ablations: another fusion mode, other mask references. None
        leaves a choice as it is. Raises ValueError naming a value out of its choices."""
        changes = {"mode": mode, "references": references}
        changes = {key: value for key, value in changes.items() if value is not None}
        config = dataclasses.replace(self, fusion=dataclasses.replace(self.fusion, **changes))
        _check(config)
        return config

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)


def _check(config: ModelConfig) -> None:
    def choice(name: str, value, allowed) -> None:
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(str, allowed))}")

    def length(name: str, value: tuple) -> None:
        if len(value) != LEVELS:
            raise ValueError(f"{name} needs {LEVELS} entries, found {value!r}")

    choice("fusion.mode", config.fusion.mode, FUSION_MODES)
    choice("fusion.references", config.fusion.references, REFERENCE_CHOICES)
    choice("text.encoder", config.text.encoder, TEXT_ENCODERS)
    choice("input.resize", config.input.resize, ("shortest_edge", "stretch"))
    choice("transformer.update_from_level", config.transformer.update_from_level, range(LEVELS))
    length("backbone.channels", config.backbone.channels)
    length("value_encoder.widths", config.value_encoder.widths)
    length("value_encoder.blocks", config.value_encoder.blocks)
    length("value_encoder.reference_pooling", config.value_encoder.reference_pooling)
    if config.likeness.width > 0 and config.nouns.features == 0:
        raise ValueError(f"likeness.width is {config.likeness.width}; expected 0 without nouns.features")
    if config.hidden % 32 or config.hidden % config.transformer.heads:
        raise ValueError(f"hidden is {config.hidden}; expected a multiple of 32 and of transformer.heads")
    if config.input.resize == "stretch" and not config.input.sizes:
        raise ValueError("input.sizes is empty; 'stretch' needs at least one [height, width]")
    for size in config.input.sizes:
        if len(size) != 2 or any(side <= 0 or side % 64 for side in size):
            raise ValueError(f"input.sizes has {size!r}; expected [height, width], multiples of 64")
