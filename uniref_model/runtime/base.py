"""What a runtime is: five functions on numpy arrays, and the plain values they exchange.

The tracker knows only this file. It imports neither torch nor an inference library, so that a robot needs
just the one runtime it uses. Shapes: H, W model size; C hidden width; L `max_words`; T_l tokens of reference
level l; N objects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from ..errors import NetworkError
from .spec import DEFAULT_BUCKETS, ModelSpec


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
    """One encoded frame: image uint8 [H,W,3] RGB at model size, and a number that no other frame of the
    runtime has.

    What it holds besides belongs to the runtime that made it, and may be on a device: only pass it back.
    """

    image: np.ndarray
    number: int


F = TypeVar("F", bound=FrameFeatures)


def own_frame(frame: FrameFeatures, kind: type[F]) -> F:
    """The frame, as the runtime's own kind. Raises TypeError for one of another runtime."""
    if not isinstance(frame, kind):
        raise TypeError(
            f"a frame of another runtime: {type(frame).__name__}, expected what encode_image gave"
        )
    return frame


@dataclass(frozen=True, eq=False)
class MaskReference:
    """An object in one frame: 4 levels of keys [T_l,K], values [T_l,K] and embeds [C], as the network's
    fusion reads them (projected, where that makes them no larger).

    frame: the number of the frame it is of. Keys and embeds are that frame's, so references of one frame
    share their attention. look [A]: of what the mask covers, for networks that compare looks. Treat as
    read-only.
    """

    keys: tuple[Any, ...]
    values: tuple[Any, ...]
    embeds: tuple[Any, ...]
    frame: int = field(kw_only=True)
    look: Any = field(default=None, kw_only=True)


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
    """The network's answer for one object: score 0..1, box f32 [4] cxcywh 0..1, mask_logits f32 [H/4,W/4].

    Raises NetworkError for numbers that are not finite: whoever tracks never sees such an answer.
    """

    score: float
    box: np.ndarray
    mask_logits: np.ndarray

    def __post_init__(self) -> None:
        for name in ("score", "box", "mask_logits"):
            if not np.isfinite(getattr(self, name)).all():
                raise NetworkError(
                    f"the network answered with a {name} that is not finite: its weights are damaged, or its "
                    "number type is too small for this frame"
                )


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

    def prepare(self, buckets: Iterable[int] | None = None) -> None:
        """Build, check and run what these batch sizes need (all by default), so that no frame waits for it.
        Until then, batches are cut into the sizes that there are, where building takes long."""
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
