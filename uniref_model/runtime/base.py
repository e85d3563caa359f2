"""What a runtime is: five functions on numpy arrays, and the plain values they exchange.

The tracker knows only this file. It imports neither torch nor an inference library, so that a robot needs
just the one runtime it uses. Shapes: H, W model size; C hidden width; L `max_words`; T_l tokens of reference
level l; N objects.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import ModelFileError

GRAPHS = 2
"""Version of the graphs' inputs and outputs; model.json names the one that its graphs follow."""

NUM_LEVELS = 4
"""Feature levels of the network: strides 8, 16, 32, 64."""

DEFAULT_BUCKETS = (1, 2, 4, 8)
"""Batch sizes with a static graph each; a batch is padded up to the next one, so rows up to there cost
nothing more."""


def conventions(resize: str) -> dict[str, Any]:
    """How models want to be asked and read, as `ModelSpec` fields, by the `InputConfig.resize` that they were
    trained with: "shortest_edge" the authors', "stretch" ours."""
    if resize == "shortest_edge":
        return {"mask_upsample": "by_task", "interactive": False}
    return {"mask_upsample": "bilinear", "interactive": True, "contours": "colour"}


@dataclass(frozen=True)
class ModelSpec:
    """What model.json says about an exported model.

    sizes: (height, width) pairs with graphs; the first is the default. resize: "stretch" (no padding mask in
        the graphs) or "shortest_edge" (the aspect is kept, with padding right and bottom; TorchRuntime only).
    mask_upsample: how quarter-size logits become model-size ones, "aligned" or "bilinear" (the authors' VOS
        and RVOS paths), or "by_task": as they do, bilinear for objects with words and aligned for others.
    mask_threshold, language_threshold: scores an object must exceed to count as seen. interactive: whether
    the model was trained to answer a click or a box given as a soft mask. contours: "network", or "colour"
    where masks are better off with their contours drawn to the image's colours. sha256: file name -> hex
    digest, verified on load. buckets: batch sizes to prepare. graphs: see `GRAPHS`.
    """

    name: str
    hidden: int
    max_words: int
    sizes: tuple[tuple[int, int], ...]
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    resize: str = "stretch"
    mask_upsample: str = "aligned"
    mask_threshold: float = 0.4
    language_threshold: float = 0.3
    interactive: bool = False
    contours: str = "network"
    buckets: tuple[int, ...] = DEFAULT_BUCKETS
    text: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    sha256: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    graphs: int = 1
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.resize not in ("stretch", "shortest_edge"):
            raise ModelFileError(
                f"model {self.name!r}: resize is {self.resize!r}, this version knows 'stretch' and "
                "'shortest_edge' only"
            )
        if self.mask_upsample not in ("aligned", "bilinear", "by_task"):
            raise ModelFileError(
                f"model {self.name!r}: mask_upsample is {self.mask_upsample!r}, "
                "expected 'aligned', 'bilinear' or 'by_task'"
            )
        if self.contours not in ("network", "colour"):
            raise ModelFileError(
                f"model {self.name!r}: contours is {self.contours!r}, expected 'network' or 'colour'"
            )
        if not self.buckets or self.buckets[0] < 1:
            raise ModelFileError(f"model {self.name!r}: buckets are {self.buckets}, expected batch sizes")
        if not self.sizes:
            raise ModelFileError(f"model {self.name!r} lists no sizes")

    def upsample_for(self, with_words: bool) -> str:
        """ "aligned" or "bilinear", for an object with words or without."""
        if self.mask_upsample == "by_task":
            return "bilinear" if with_words else "aligned"
        return self.mask_upsample

    @property
    def has_text(self) -> bool:
        """Whether a text encoder was exported with the model; without one it follows masks and clicks."""
        return self.text.get("encoder", "") is not None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelSpec:
        """Build from model.json's content. Raises ModelFileError naming the first key that is missing or
        malformed."""
        known = dict(values)
        try:
            thresholds = known.pop("score_thresholds", {})
            return cls(
                name=str(known.pop("name")),
                hidden=int(known.pop("hidden")),
                max_words=int(known.pop("max_words")),
                sizes=tuple((int(h), int(w)) for h, w in known.pop("sizes")),
                mean=tuple(float(v) for v in known.pop("mean", cls.mean)),
                std=tuple(float(v) for v in known.pop("std", cls.std)),
                resize=str(known.pop("resize", cls.resize)),
                mask_upsample=str(known.pop("mask_upsample", cls.mask_upsample)),
                mask_threshold=float(thresholds.get("mask", cls.mask_threshold)),
                language_threshold=float(thresholds.get("language", cls.language_threshold)),
                interactive=bool(known.pop("interactive", cls.interactive)),
                contours=str(known.pop("contours", cls.contours)),
                graphs=int(known.pop("graphs", cls.graphs)),
                buckets=tuple(sorted({int(v) for v in known.pop("buckets", cls.buckets)})),
                text=MappingProxyType(dict(known.pop("text", {}))),
                sha256=MappingProxyType(dict(known.pop("sha256", {}))),
                extra=MappingProxyType(known),
            )
        except KeyError as missing:
            raise ModelFileError(f"model.json lacks the key {missing}") from missing
        except (TypeError, ValueError) as error:
            raise ModelFileError(f"model.json is malformed: {error}") from error

    @classmethod
    def from_file(cls, path: Path) -> ModelSpec:
        """Read model.json. Raises ModelFileError when it is absent or is not JSON."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ModelFileError(f"no model.json at {path}") from error
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ModelFileError(f"{path} is not valid JSON: {error}") from error
        if not isinstance(values, dict):
            raise ModelFileError(f"{path} holds a {type(values).__name__}, expected an object")
        return cls.from_dict(values)


@dataclass(frozen=True, eq=False)
class LanguageReference:
    """An encoded prompt: words f32 [L,C], word_mask f32 [L] (1 = word, 0 = padding), sentence f32 [C],
    noun f32 [D+1] where the model looks for nouns.

    truncated: the prompt had more tokens than `max_words`, and the rest was dropped.
    """

    words: np.ndarray
    word_mask: np.ndarray
    sentence: np.ndarray
    truncated: bool = False
    noun: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class FrameFeatures:
    """One encoded frame: image uint8 [H,W,3] RGB at model size, lateral [1,8,H/4,W/4], levels 4 x
    [1,C,Hl,Wl]; what every reference made from it shares: keys 4 x [T_l,K] and embeds 4 x [C]; query [1,S,I],
    where the runtime has it made beforehand; classes [1,D+2,H/32,W/32], where the model looks for nouns.

    The arrays belong to the runtime that made them (another runtime may keep device handles there): only pass
    them back. held: what keeps them in place; they are written over once no frame or reference holds it.
    """

    image: np.ndarray
    lateral: Any
    levels: tuple[Any, ...]
    keys: tuple[Any, ...] = field(default=(), kw_only=True)
    embeds: tuple[Any, ...] = field(default=(), kw_only=True)
    query: Any = field(default=None, kw_only=True)
    classes: Any = field(default=None, kw_only=True)
    held: tuple[Any, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, eq=False)
class MaskReference:
    """An object in one frame: 4 levels of keys [T_l,K], values [T_l,K] and embeds [C], as the network's
    fusion reads them (projected, where that makes them no larger).

    Keys and embeds depend on the frame alone: references made from one frame hold the same `keys` tuple, by
    which a runtime knows that they share their attention. Treat as read-only. held: as in `FrameFeatures`.
    """

    keys: tuple[Any, ...]
    values: tuple[Any, ...]
    embeds: tuple[Any, ...]
    held: tuple[Any, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, eq=False)
class ObjectReferences:
    """What to look for: any of words, first-frame reference and previous-frame reference, at least one of
    them."""

    language: LanguageReference | None = None
    first: MaskReference | None = None
    previous: MaskReference | None = None

    def __post_init__(self) -> None:
        if self.language is None and self.first is None and self.previous is None:
            raise ValueError("ObjectReferences needs words or at least one mask reference")


@dataclass(frozen=True, eq=False)
class Prediction:
    """The network's answer for one object: score 0..1, box f32 [4] cxcywh 0..1, mask_logits f32 [H/4,W/4]."""

    score: float
    box: np.ndarray
    mask_logits: np.ndarray


class Runtime(ABC):
    """The network, behind numpy. Methods may be called from several threads; one call runs at a time where
    state is shared."""

    name: str
    """"onnxruntime", "tensorrt", … as given to `load_runtime`."""
    spec: ModelSpec
    size: tuple[int, int]
    """Model size (H, W): every image and mask passed in has it."""
    buckets: tuple[int, ...] = DEFAULT_BUCKETS
    choice: str = ""
    """Why `load_runtime` took this one, where it had the choice."""

    @property
    def state(self) -> dict[str, tuple[int, int]]:
        """Sets of arrays made for frames and references, and their bytes, by what they hold. They are used
        again and again: the numbers stop growing when the number of objects does. Empty where a library sees
        to that."""
        return {}

    @abstractmethod
    def encode_text(self, text: str) -> LanguageReference:
        """Encode a prompt (any case, any punctuation). Raises PromptError when it holds no word."""

    @abstractmethod
    def encode_image(self, image: np.ndarray) -> FrameFeatures:
        """Encode a frame, uint8 [H,W,3] RGB at model size."""

    def encode_fitted(self, image: np.ndarray, shown: tuple[int, int]) -> FrameFeatures:
        """As `encode_image`, for a frame that fills (height, width) of the image. Models of resize
        "shortest_edge" mask the padding right and bottom of it out; others see all of the image."""
        return self.encode_image(image)

    @abstractmethod
    def encode_reference(self, frame: FrameFeatures, masks: np.ndarray) -> list[MaskReference]:
        """Encode N objects of one frame from their masks, f32 [N,H,W] in 0..1."""

    @abstractmethod
    def segment(self, frame: FrameFeatures, objects: Sequence[ObjectReferences]) -> list[Prediction]:
        """Look for every object in the frame; one prediction each, in order."""

    @abstractmethod
    def close(self) -> None:
        """Release sessions and buffers. Further calls fail. Closing twice is allowed."""

    def warm_up(self, buckets: Iterable[int] | None = None) -> None:
        """Load and run what `segment` would otherwise load at first use of a batch size (all by default)."""
        return None

    def trim(self) -> None:
        """Give memory that is free but still held back to the system; for a pause. Nothing is unloaded."""
        return None

    def describe(self) -> dict[str, str]:
        """Facts for people and diagnostics: runtime, model, size, and what the runtime adds."""
        facts = {"runtime": self.name, "model": self.spec.name, "size": f"{self.size[0]}x{self.size[1]}"}
        return facts | ({"chosen": self.choice} if self.choice else {})

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
