"""The deployable pieces of UniRef as modules with flat tensor inputs and outputs (the ONNX graph contract).

Shapes: H, W model size; h_l, w_l of level l; S tokens of all levels; C hidden; L words; T_l tokens of a
(pooled) reference level; N objects; I width of the fusion's attention. References are kept as projected by
the fusion, with a width K of I, where that makes them no larger, else as they are, with K = C.

A CPU runs `attend_*` and `segment_shared`, a GPU `segment`; the other graphs are for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from uniref_model.export.shared import (
    SHARED_MODES,
    Attend,
    SegmentShared,
    query_of,
    take_language,
    values_of_objects,
)
from uniref_model.network.config import LEVELS
from uniref_model.network.model import ImageFeatures, UniRef
from uniref_model.network.text import LanguageReference
from uniref_model.network.value_encoder import MaskReference, mean_reference
from uniref_model.runtime import contract
from uniref_model.scene import boxes

OBJECTS = "objects"  # name of the one symbolic dimension


@dataclass(frozen=True)
class Graph:
    """A module with example inputs, in the order of its ports."""

    module: nn.Module
    inputs: dict[str, Tensor]
    ports: contract.Graph

    @property
    def outputs(self) -> list[str]:
        return [port.name for port in self.ports.outputs]

    @property
    def per_object(self) -> frozenset[str]:
        """Names of the inputs whose first dimension is N."""
        return frozenset(port.name for port in self.ports.object_inputs)


def _graph(module: nn.Module, ports: contract.Graph, take: Callable[[contract.Port], Tensor]) -> Graph:
    """take: an example of what a port carries."""
    return Graph(module.eval(), {port.name: take(port) for port in ports.inputs}, ports)


class _Part(nn.Module):
    """Holds the network and the constants of normalisation."""

    def __init__(self, network: UniRef) -> None:
        super().__init__()
        self.network = network
        mean, std = (
            torch.tensor(value).view(1, 3, 1, 1)
            for value in (network.config.input.mean, network.config.input.std)
        )
        self.register_buffer("scale", 1 / std)
        self.register_buffer("offset", -mean / std)

    def normalise(self, image: Tensor) -> Tensor:
        """uint8 [1,H,W,3] RGB -> float [1,3,H,W]."""
        # TensorRT takes a uint8 input only where a cast is the first thing that happens to it.
        return image.float().permute(0, 3, 1, 2) * self.scale + self.offset


class EncodeImage(_Part):
    """image uint8 [1,H,W,3] -> what a frame gives to every object, as a frame to look at and as a reference:
    lateral [1,8,H/4,W/4], 4 levels [1,C,h_l,w_l], 4 keys [1,T_l,K], 4 embeds [1,C], query [1,S,I] where the
    model projects ahead, classes [1,D+2,H/32,W/32] where it looks for nouns and looks [1,A,H/32,W/32] where
    it compares them."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        fusion = self.network.fusion
        features = self.network.encode_image(self.normalise(image))
        levels = features.levels
        keys, _, embeds = self.network.value_encoder.keys(levels, None)
        more = tuple(part for part in (features.classes, features.looks) if part is not None)
        if fusion.projects_ahead:
            sizes = [key.shape[1] for key in keys]
            keys = fusion.project_keys(torch.cat(keys, 1)).split(sizes, 1)
            more = (query_of(fusion, levels), *more)
        return (features.lateral, *levels, *keys, *embeds, *more)


class EncodeReference(_Part):
    """image uint8 [1,H,W,3], masks [N,1,H,W], 4 levels, looks where the model compares them -> 4 values
    [N,T_l,K], and the look [N,A] of what each mask covers."""

    def forward(self, image: Tensor, masks: Tensor, *frame: Tensor) -> tuple[Tensor, ...]:
        fusion, encoder, likeness = self.network.fusion, self.network.value_encoder, self.network.likeness
        levels, looks = list(frame[:LEVELS]), frame[LEVELS:]
        maps = values_of_objects(encoder, self.normalise(image), masks, levels)
        values = [value.flatten(2).transpose(1, 2) for value in maps]  # [N,C,h,w] -> [N,T,C]
        if fusion.projects_ahead:
            values = [fusion.project_values(value) for value in values]
        return (*values, *(likeness.of_masks(part, masks) for part in looks))


class Segment(_Part):
    """Features of a frame and the references of N objects -> score [N], box [N,4], mask_logits
    [N,H/4,W/4].

    all_masks: make every query's mask, as the authors do, and give the best one's.
    """

    def __init__(self, network: UniRef, size: tuple[int, int], all_masks: bool = False) -> None:
        super().__init__(network)
        self.size, self.all_masks = size, all_masks

    def forward(
        self,
        lateral: Tensor,
        levels: list[Tensor],
        classes: Tensor | None,
        looks: Tensor | None,
        language: LanguageReference,
        use_language: Tensor,
        keys: list[Tensor],
        values: list[Tensor],
        embeds: list[Tensor],
        look: Tensor | None,
        use_reference: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        count = language.words.shape[0]
        features = ImageFeatures(
            images=lateral,
            image_size=self.size,
            res2=None,
            lateral=lateral.expand(count, -1, -1, -1),
            levels=[level.expand(count, -1, -1, -1) for level in levels],
            padding=None,
            classes=classes,
            looks=looks,
        )
        weight = use_reference[:, :, None]
        mask = MaskReference(
            keys=[key.flatten(1, 2) for key in keys],
            values=[value.flatten(1, 2) for value in values],
            padding=[(weight == 0).expand(-1, -1, key.shape[2]).flatten(1) for key in keys],
            embeds=[mean_reference(embed, use_reference) for embed in embeds],
            projected=self.network.fusion.projects_ahead,
            look=None if look is None else mean_reference(look, use_reference),
        )
        output = self.network.segment(
            features,
            language,
            mask,
            use_language=use_language,
            use_mask=use_reference.amax(1),
            masks="all" if self.all_masks else "best",
        )
        return output.scores, output.box, output.best_mask


def described(network: UniRef, shared: bool, text: bool) -> dict[str, contract.Graph]:
    """The contract of a network's graphs."""
    return contract.describe(
        projected=network.fusion.projects_ahead,
        nouns=network.nouns is not None,
        looks=network.likeness is not None,
        shared=shared,
        text=text,
    )


def build_graphs(
    network: UniRef, size: tuple[int, int], shared: bool = True, all_masks: bool = False
) -> dict[str, Graph]:
    """The graphs that depend on the size, with example inputs of two objects. Those for shared attention are
    left out where the model's fusion mode does not allow it, or without `shared`; all_masks: see
    `Segment`."""
    count = 2  # not 1: an example dimension of one would be taken for a constant
    config = network.config
    shared = shared and config.fusion.mode in SHARED_MODES
    ports = described(network, shared, text=False)
    # Boxes and their masks, not noise: in noise every query is as good as the next, and which one is best
    # (and with it the mask) then hangs on the last bit.
    pictures, outlines = boxes(count, size)
    images = [torch.from_numpy(picture)[None] for picture in pictures[:2]]
    masks = torch.from_numpy(np.stack(outlines))[:, None].float()
    encode_image, encode_reference = EncodeImage(network).eval(), EncodeReference(network).eval()

    def give(graph: str, answer: tuple[Tensor, ...]) -> dict[contract.Part, Tensor]:
        return {port.part: tensor for port, tensor in zip(ports[graph].outputs, answer, strict=True)}

    with torch.no_grad():
        frames = [give(contract.ENCODE_IMAGE, encode_image(image)) for image in images]
        values = [
            give(contract.ENCODE_REFERENCE, encode_reference(image, masks, *_frame_parts(ports, frame)))
            for image, frame in zip(images, frames, strict=True)
        ]
    words = torch.randn(count, config.text.max_words, config.hidden)
    objects = {
        contract.MASKS: masks,
        contract.WORDS: words,
        contract.WORD_MASK: torch.ones(count, config.text.max_words),
        contract.SENTENCE: words.mean(1),
        contract.USE_LANGUAGE: torch.ones(count),
        contract.USE_REFERENCE: torch.ones(count, 2),
    }
    if network.nouns is not None:
        objects[contract.NOUN] = torch.randn(count, config.nouns.features + 1) / 16
    seen = [frame | value for frame, value in zip(frames, values, strict=True)]

    def take(port: contract.Port) -> Tensor:
        """An example, of the first frame and of objects that were seen in both."""
        if port.carries == contract.IMAGE:
            return images[0]
        if port.carries in objects:
            return objects[port.carries]
        if not port.per_object:
            return frames[port.place][port.part]
        both = [part[port.part] for part in seen]  # [1 or N, ...] of each frame -> [N, 2, ...]
        return torch.stack([part.expand(count, *part.shape[1:]) for part in both], 1)

    graphs = {
        contract.ENCODE_IMAGE: _graph(encode_image, ports[contract.ENCODE_IMAGE], take),
        contract.ENCODE_REFERENCE: _graph(encode_reference, ports[contract.ENCODE_REFERENCE], take),
        contract.SEGMENT: _graph(SegmentFlat(network, size, all_masks), ports[contract.SEGMENT], take),
    }
    if not shared:
        return graphs
    shapes = [tuple(level.shape[-2:]) for level in _levels(frames[0], contract.SOURCE)]
    for number, name in contract.ATTEND.items():
        graphs[name] = _graph(
            Attend(network, number, shapes),
            ports[name],
            lambda port: values[port.place][port.part] if port.per_object else frames[port.place][port.part],
        )
    with torch.no_grad():
        both = graphs[contract.ATTEND[2]]
        objects[contract.ATTENDED] = both.module(*both.inputs.values())[0]
    graphs[contract.SEGMENT_SHARED] = _graph(
        SegmentShared(network, size, shapes), ports[contract.SEGMENT_SHARED], take
    )
    return graphs


def _frame_parts(ports: Mapping[str, contract.Graph], frame: Mapping[contract.Part, Tensor]) -> list[Tensor]:
    """What a frame gives to its references, after the picture itself."""
    inputs = ports[contract.ENCODE_REFERENCE].shared_inputs
    return [frame[port.part] for port in inputs if port.carries != contract.IMAGE]


def _levels(parts: Mapping[contract.Part, Tensor], carries: str) -> list[Tensor]:
    return [parts[carries, level] for level in contract.LEVELS]


class SegmentFlat(Segment):
    """`Segment` with its inputs one after another, in the order of the contract."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        lateral, levels, rest = inputs[0], list(inputs[1 : 1 + LEVELS]), inputs[1 + LEVELS :]
        classes, looks, language, use_language, rest = take_language(self.network, rest)
        keys, values, embeds = (list(rest[part : part + LEVELS]) for part in (0, LEVELS, 2 * LEVELS))
        *look, use_reference = rest[3 * LEVELS :]
        return super().forward(
            lateral,
            levels,
            classes,
            looks,
            language,
            use_language,
            keys,
            values,
            embeds,
            look[0] if look else None,
            use_reference,
        )
