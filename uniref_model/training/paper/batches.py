"""Samples to padded tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from uniref_model.datasets.training import Frame
from uniref_model.training.paper.samples import Sample

PAD_TO = 32
STRIDE = 4  # of the mask logits
COLOUR_SIMILARITY = 0.3  # least similarity of neighbours that should have the same label (BoxInst)
NEIGHBOUR_DISTANCE = 2  # in cells of STRIDE pixels
NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]

Tokenizer = Callable[[str], tuple[np.ndarray, np.ndarray, bool]]
"""A text to ids and attention, int64 [1,L], and whether words were dropped."""


@dataclass(frozen=True)
class Padded:
    """Pictures of different sizes on canvases of one size, top left, zero elsewhere."""

    images: Tensor  # uint8 [N,H,W,3] RGB; H and W multiples of PAD_TO
    padding: Tensor  # bool [N,H,W], True = padding
    masks: Tensor  # bool [N,H,W]; a filled box where the data set has boxes alone


@dataclass(frozen=True)
class StageBatch:
    """B samples of one data set, R of which have a mask reference."""

    current: Padded
    boxes: Tensor  # float [B,4], (cx, cy, w, h) in fractions of the picture without padding
    reference: Padded | None  # R frames with their masks; None: R is 0
    reference_row: Tensor  # int64 [B], whose reference a sample has, -1 = none
    ids: Tensor | None  # int64 [B,L] tokens; None: no words
    attention: Tensor | None  # int64 [B,L]
    similar: Tensor | None  # bool [B,8,H/4,W/4] of `colour_neighbours`; None: the data set has masks
    dataset: int

    def to(self, device: torch.device) -> StageBatch:
        """The batch on a device."""
        return _mapped(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> StageBatch:
        """The batch in page-locked memory; the data loader calls this."""
        return _mapped(self, Tensor.pin_memory)


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (Padded, StageBatch)):
        return replace(value, **{f.name: _mapped(getattr(value, f.name), change) for f in fields(value)})
    return value


class Collate:
    """Makes a batch of samples; picklable, for data workers. tokenizer: None where no sample has words."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer

    def __call__(self, samples: Sequence[Sample]) -> StageBatch:
        current = pad([sample.current for sample in samples])
        boxes_only = samples[0].current.mask is None
        references = [sample.reference for sample in samples if sample.reference is not None]
        given = np.asarray([sample.reference is not None for sample in samples])
        ids = attention = None
        if samples[0].text:
            tokens = [self._tokenizer(sample.text) for sample in samples]
            ids, attention = (torch.from_numpy(np.concatenate([t[i] for t in tokens])) for i in (0, 1))
        return StageBatch(
            current=current,
            boxes=torch.tensor([normalised_box(sample.current) for sample in samples]),
            reference=pad(references) if references else None,
            reference_row=torch.from_numpy(np.where(given, np.cumsum(given) - 1, -1)),
            ids=ids,
            attention=attention,
            similar=colour_neighbours(current) if boxes_only else None,
            dataset=samples[0].dataset,
        )


def pad(frames: Sequence[Frame]) -> Padded:
    """Frames on the smallest common canvas whose sides are multiples of PAD_TO."""
    sides = np.max([frame.image.shape[:2] for frame in frames], axis=0)
    height, width = (int(-(-side // PAD_TO) * PAD_TO) for side in sides)
    images = np.zeros((len(frames), height, width, 3), np.uint8)
    padding = np.ones((len(frames), height, width), bool)
    masks = np.zeros((len(frames), height, width), bool)
    for row, frame in enumerate(frames):
        h, w = frame.image.shape[:2]
        images[row, :h, :w] = frame.image
        padding[row, :h, :w] = False
        masks[row, :h, :w] = _filled(frame) if frame.mask is None else frame.mask
    return Padded(*(torch.from_numpy(array) for array in (images, padding, masks)))


def _filled(frame: Frame) -> np.ndarray:
    mask = np.zeros(frame.image.shape[:2], bool)
    x0, y0 = (int(value) for value in frame.box[:2])
    x1, y1 = (int(np.ceil(value)) for value in frame.box[2:])
    mask[y0:y1, x0:x1] = True
    return mask


def normalised_box(frame: Frame) -> tuple[float, float, float, float]:
    """(cx, cy, w, h) of a frame's box in fractions of its picture."""
    height, width = frame.image.shape[:2]
    x0, y0, x1, y1 = frame.box
    return (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height


def colour_neighbours(frames: Padded) -> Tensor:
    """Which neighbours look alike (BoxInst, Tian et al., CVPR 2021): bool [N,8,H/4,W/4].

    Colours are means of 4x4 pixels in CIE Lab; exp(-distance / 2) must reach COLOUR_SIMILARITY, and the
    neighbour must lie in the picture.
    """
    height, width = (side // STRIDE for side in frames.images.shape[1:3])
    result = np.zeros((len(frames.images), len(NEIGHBOURS), height, width), bool)
    for row, image in enumerate(frames.images.numpy()):
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        inside = ~frames.padding[row, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].numpy()
        for index, (dy, dx) in enumerate(NEIGHBOURS):
            near = _shifted(lab, dy, dx)
            similarity = np.exp(-0.5 * np.linalg.norm(lab - near, axis=2))
            result[row, index] = (similarity >= COLOUR_SIMILARITY) & _shifted(inside, dy, dx)
    return torch.from_numpy(result)


def _shifted(array: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """array[y + d * dy, x + d * dx], zero outside, d = NEIGHBOUR_DISTANCE."""
    d = NEIGHBOUR_DISTANCE
    margin = [(d, d), (d, d)] + [(0, 0)] * (array.ndim - 2)
    padded = np.pad(array, margin)
    height, width = array.shape[:2]
    return padded[d + d * dy : d + d * dy + height, d + d * dx : d + d * dx + width]
