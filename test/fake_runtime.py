"""An honest double of a runtime: it looks for colours instead of objects, keeps a record of what it was
asked, and refuses what the real ones refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from uniref_model.errors import RuntimeUnavailable
from uniref_model.runtime.base import (
    FrameFeatures,
    LanguageReference,
    MaskReference,
    ModelSpec,
    ObjectReferences,
    Prediction,
    Runtime,
)
from uniref_model.runtime.text import normalise_prompt
from uniref_model.tracking.aggregate import Claim, Share

COLOURS = {
    "red": (220, 30, 30),
    "orange": (240, 150, 40),
    "green": (30, 200, 40),
    "blue": (30, 60, 220),
    "yellow": (230, 220, 40),
}
GREY = (128, 128, 128)
FAR = 60.0
"""Colours nearer than this are the same to the double."""


def labels_of(claims: list[Claim], shares: list[Share], frame: tuple[int, int]) -> np.ndarray:
    """What the claims' shares are as labels; no pixel may be in two."""
    labels = np.zeros(frame, np.uint16)
    for claim, share in zip(claims, shares, strict=True):
        if share.box is not None:
            x, y, width, height = share.box
            part = labels[y : y + height, x : x + width]
            assert not part[share.mask != 0].any()
            part[share.mask != 0] = claim.slot
    return labels


class FakeColourRuntime(Runtime):
    """Sees a pixel as the object when its colour is near the reference's; words name a colour.

    With words and masks given, the masks decide: a stale mask can hide what the words would find, as in a
    real network. Scores are 0.9 for something found and 0.05 for nothing, unless `score` is set: (references,
    found) -> score.
    """

    name = "fake"

    def __init__(
        self, size: tuple[int, int] = (64, 112), *, interactive: bool = False, max_words: int = 8
    ) -> None:
        self.spec = ModelSpec(
            name="fake",
            hidden=4,
            max_words=max_words,
            sizes=(size,),
            mask_upsample="bilinear",
            interactive=interactive,
        )
        self.size = size
        self.score: Callable[[ObjectReferences, bool], float] = lambda _, found: 0.9 if found else 0.05
        self.asked: list[list[ObjectReferences]] = []
        self.closed = False
        self.images_encoded = 0
        self.references_encoded = 0
        self.before_segment: Callable[[], None] = lambda: None
        self.before_reference: Callable[[np.ndarray], None] = lambda masks: None

    def encode_text(self, text: str) -> LanguageReference:
        self._check_open()
        words = normalise_prompt(text).split()
        colour = next((COLOURS[word] for word in words if word in COLOURS), (0, 0, 0))
        return LanguageReference(
            np.array([colour], np.float32), np.ones(1, np.float32), np.array(colour, np.float32),
            truncated=len(words) > self.spec.max_words,
        )  # fmt: skip

    def encode_image(self, image: np.ndarray) -> FrameFeatures:
        self._check_open()
        if image.shape != (*self.size, 3) or image.dtype != np.uint8:
            raise ValueError(f"image is {image.dtype} {image.shape}, expected uint8 {(*self.size, 3)}")
        self.images_encoded += 1
        return FrameFeatures(image, self.images_encoded)

    def encode_reference(self, frame: FrameFeatures, masks: np.ndarray) -> list[MaskReference]:
        self._check_open()
        if not isinstance(frame, FrameFeatures):
            raise TypeError(f"expected what encode_image gives, found {type(frame).__name__}")
        if masks.ndim != 3 or masks.shape[1:] != self.size or masks.dtype != np.float32:
            raise ValueError(
                f"masks are {masks.dtype} {masks.shape}, expected float32 (objects, *{self.size})"
            )
        if not (np.isfinite(masks).all() and masks.min() >= 0 and masks.max() <= 1):
            raise ValueError("masks are not within 0 to 1")
        self.before_reference(masks)
        self.references_encoded += len(masks)
        flat = frame.image.reshape(-1, 3).astype(np.float32)
        weights = [mask.reshape(-1, 1) for mask in masks]
        colours = [(flat * weight).sum(0) / max(weight.sum(), 1e-6) for weight in weights]
        return [MaskReference((), (colour,), (), frame=frame.number) for colour in colours]

    def segment(self, frame: FrameFeatures, objects: Sequence[ObjectReferences]) -> list[Prediction]:
        self._check_open()
        for item in objects:
            if not isinstance(item, ObjectReferences):
                raise TypeError(f"expected ObjectReferences, found {type(item).__name__}")
        self.before_segment()
        self.asked.append(list(objects))
        return [self._find(frame.image.astype(np.float32), item) for item in objects]

    def _find(self, image: np.ndarray, item: ObjectReferences) -> Prediction:
        masks = [reference.values[0] for reference in (item.first, item.previous) if reference is not None]
        colours = masks or [item.language.sentence]
        near = np.min([np.linalg.norm(image - colour, axis=-1) for colour in colours], axis=0) < FAR
        logits = np.where(near, 8.0, -8.0).astype(np.float32)
        quarter = logits.reshape(self.size[0] // 4, 4, self.size[1] // 4, 4).mean(axis=(1, 3))
        found = bool((quarter > 0).any())
        return Prediction(self.score(item, found), np.zeros(4, np.float32), quarter)

    def close(self) -> None:
        self.closed = True

    def opened(self) -> FakeColourRuntime:
        """Itself, as if loaded anew."""
        self.closed = False
        return self

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeUnavailable("the runtime of model 'fake' is closed")


def scene(*patches: tuple[str, tuple[int, int, int, int]], size: tuple[int, int] = (128, 224)) -> np.ndarray:
    """A grey RGB frame (h, w) with rectangles (colour, (x, y, width, height)) on it."""
    image = np.full((*size, 3), GREY, np.uint8)
    for colour, (x, y, width, height) in patches:
        image[y : y + height, x : x + width] = COLOURS[colour]
    return image


def rectangle(box: tuple[int, int, int, int], size: tuple[int, int] = (128, 224)) -> np.ndarray:
    """A bool mask (h, w) of a box (x, y, width, height)."""
    mask = np.zeros(size, bool)
    mask[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = True
    return mask


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """IoU of two masks."""
    one, other = one != 0, other != 0
    return float((one & other).sum() / max((one | other).sum(), 1))


def asked_of(row) -> str:
    """What a row was asked with, in letters: l(anguage) f(irst) p(revious)."""
    return "".join(
        letter
        for letter, part in (("l", row.language), ("f", row.first), ("p", row.previous))
        if part is not None
    )
