"""The authors' video protocols (projects/UniRef/uniref/uniref.py): how a network becomes a tracker in their
numbers.

Three protocols, each over the frames of one video at the model's size:
  vos       objects given by masks; first and previous frame as references (inference_vos_3f)
  rvos_vl   one expression at a time; language, and once found, language and masks (inference_rvos_vl)
  refdavis  every frame on its own, language only, no threshold (inference_rvos, what the released code runs
  for
            Ref-DAVIS although its paper describes references)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from uniref_model.network.config import InputConfig
from uniref_model.network.mask_head import STRIDE, aligned_bilinear
from uniref_model.network.model import ImageFeatures, SegmentOutput, UniRef
from uniref_model.network.text import LanguageReference
from uniref_model.network.value_encoder import MaskReference

# Score a data set's best query must exceed for its mask to count.
THRESHOLDS = {
    "davis17": 0.3,
    "ytbvos18": 0.4,
    "ytbvos19": 0.4,
    "mose": 0.4,
    "vos-lvos": 0.5,
    "refytvos": 0.3,
}
PROTOCOLS = {
    **dict.fromkeys(("davis17", "ytbvos18", "ytbvos19", "mose", "vos-lvos"), "vos"),
    "refytvos": "rvos_vl",
    "refdavis": "refdavis",
}


# ---- input ----


def model_size(height: int, width: int, config: InputConfig) -> tuple[int, int]:
    """detectron2's ResizeShortestEdge: the shorter side to short_side unless the longer would pass
    max_side."""
    scale = config.short_side / min(height, width)
    longer = max(height, width) * scale
    if longer > config.max_side:
        scale *= config.max_side / longer
    return int(height * scale + 0.5), int(width * scale + 0.5)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """RGB uint8 [h, w, 3] -> `size`, antialiased bilinear as PIL does it (OpenCV's differs)."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.BILINEAR))


def prepare_image(image: np.ndarray, config: InputConfig, like: Tensor) -> tuple[Tensor, Tensor]:
    """RGB uint8 [h, w, 3] at model size -> normalised [1, 3, H, W], zero-padded right and bottom, and its pad
    mask [1, H, W] (True = padding), in the dtype and on the device of `like`.
    """
    height, width = image.shape[:2]
    mean, std = (like.new_tensor(values)[:, None, None] for values in (config.mean, config.std))
    x = (
        torch.from_numpy(np.ascontiguousarray(image)).to(like.device).permute(2, 0, 1).to(like.dtype)
    )  # [3, h, w]
    pad = (0, -width % config.pad_to, 0, -height % config.pad_to)
    padding = F.pad(torch.zeros(1, height, width, dtype=torch.bool, device=like.device), pad, value=True)
    return F.pad((x - mean) / std, pad)[None], padding


def pad_mask_to(mask: Tensor, features: ImageFeatures) -> Tensor:
    """A binary mask [h, w] of any size -> [1, 1, H, W] of the padded input: nearest resize, zeros on
    padding."""
    mask = F.interpolate(mask[None, None].to(features.images.dtype), features.image_size, mode="nearest")
    height, width = features.images.shape[-2:]
    return F.pad(mask, (0, width - mask.shape[-1], 0, height - mask.shape[-2]))


# ---- output ----


def full_logits(mask_logits: Tensor, vos: bool) -> Tensor:
    """Logits [N, h, w] at a quarter -> the padded input's size. The two tasks upsample differently in the
    authors' code."""
    if vos:
        return aligned_bilinear(mask_logits[:, None], STRIDE)[:, 0]
    return F.interpolate(mask_logits[:, None], scale_factor=STRIDE, mode="bilinear", align_corners=False)[
        :, 0
    ]


def probability(output: SegmentOutput, vos: bool, size: tuple[int, int]) -> Tensor:
    """The best query's probability map at the file's size [h, w]: sigmoid first, then crop and resize."""
    height, width = output.image_size
    p = full_logits(output.mask_logits, vos).sigmoid()[:, None, :height, :width]
    return F.interpolate(p, size, mode="bilinear", align_corners=False)[0, 0]


def image_mask(output: SegmentOutput, size: tuple[int, int]) -> Tensor:
    """The image tasks' mask (grounding): binary before it is resized. [h, w] bool."""
    height, width = output.image_size
    mask = full_logits(output.mask_logits, vos=False).sigmoid() > 0.5
    return F.interpolate(mask[:, None, :height, :width].float(), size, mode="nearest")[0, 0].bool()


def merge(maps: Mapping[int, Tensor]) -> Tensor:
    """Probability maps [h, w] by object id (1 and up) -> label map [h, w] int64; ties go to the lower id, 0
    = background."""
    first = next(iter(maps.values()))
    channels = torch.zeros(max(maps) + 1, *first.shape, dtype=first.dtype, device=first.device)
    channels[0] = torch.stack([1 - p for p in maps.values()]).prod(0)
    for index, p in maps.items():
        channels[index] = p
    return channels.argmax(0)


# ---- protocols ----


@dataclass
class VideoFrame:
    image: np.ndarray  # RGB uint8 [h, w, 3] at the model's size
    given: Mapping[int, np.ndarray]  # object id (1 and up) -> binary mask [h, w], for objects that start here


@torch.inference_mode()
def vos(
    model: UniRef, frames: Iterable[VideoFrame], size: tuple[int, int], threshold: float
) -> Iterator[np.ndarray | None]:
    """Label maps uint16 at `size` (height, width of the files), None while no object is known.

    Raises ValueError where an object is given twice.
    """
    first: dict[int, MaskReference] = {}
    previous: dict[int, MaskReference] = {}
    for frame in frames:
        features = encode(model, frame.image)
        given = {index: pad_mask_to(_tensor(mask, features), features) for index, mask in frame.given.items()}
        for index, mask in given.items():
            if index in first:
                raise ValueError(f"object {index} is given a second time")
            first[index] = previous[index] = model.encode_reference(features, mask)
        if not first:
            yield None
            continue
        maps = {}
        for index in first:
            output = model.segment(features, mask=references(model, first[index], previous[index]))
            p = probability(output, True, size)
            maps[index] = p if output.scores[0] > threshold else torch.zeros_like(p)
        for index, mask in given.items():
            height, width = features.image_size
            maps[index] = F.interpolate(
                mask[:, :, :height, :width], size, mode="bilinear", align_corners=False
            )[0, 0]
        labels = merge(maps)
        for index in first:
            part = labels == index
            if index not in given and part.any():
                previous[index] = model.encode_reference(features, pad_mask_to(part, features))
        yield labels.cpu().numpy().astype(np.uint16)


@torch.inference_mode()
def rvos_vl(
    model: UniRef,
    images: Iterable[np.ndarray],
    language: LanguageReference,
    size: tuple[int, int],
    threshold: float | None = THRESHOLDS["refytvos"],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(mask bool, probability float32) at `size` for each image, of one expression.

    threshold None is the authors' aggregate_objects=True: every mask counts, and the first frame always
    becomes the first reference, even if empty.
    """
    first = previous = None
    for image in images:
        features = encode(model, image)
        reference = None if first is None else references(model, first, previous)
        output = model.segment(features, language, reference)
        p = probability(output, False, size)
        mask = p > 0.5
        if threshold is not None and output.scores[0] <= threshold:
            mask = torch.zeros_like(mask)
        if mask.any() or (threshold is None and first is None):
            previous = model.encode_reference(features, pad_mask_to(mask, features))
            first = first or previous
        yield mask.cpu().numpy(), p.float().cpu().numpy()


@torch.inference_mode()
def refdavis(
    model: UniRef, images: Iterable[np.ndarray], language: LanguageReference, size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Probability maps float32 at `size`, one an image, of one expression; to be merged over expressions."""
    for image in images:
        output = model.segment(encode(model, image), language)
        yield probability(output, False, size).float().cpu().numpy()


def merge_expressions(maps: Iterable[Iterable[np.ndarray]]) -> Iterator[np.ndarray]:
    """Probability maps of expressions 1..N, frame by frame -> label maps uint16."""
    for frame in zip(*maps, strict=True):
        labels = merge({index: torch.from_numpy(p) for index, p in enumerate(frame, 1)})
        yield labels.numpy().astype(np.uint16)


def references(model: UniRef, first: MaskReference, previous: MaskReference) -> MaskReference:
    """What an object is recognised by: the config's fusion.references; the authors use both frames."""
    chosen = {"first": [first], "previous": [previous], "first+previous": [first, previous]}
    return MaskReference.join(chosen[model.config.fusion.references])


def encode(model: UniRef, image: np.ndarray) -> ImageFeatures:
    """One image at model size as features."""
    return model.encode_image(*prepare_image(image, model.config.input, model.level_embed))


def _tensor(mask: np.ndarray, features: ImageFeatures) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(mask) > 0).to(features.images.device)
