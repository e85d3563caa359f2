"""The deployable pieces of UniRef as modules with flat tensor inputs and outputs (the ONNX graph contract).

Shapes: H, W model size; h_l, w_l of level l; S tokens of all levels; C hidden; L words; T_l tokens of a
(pooled) reference level; N objects; I width of the fusion's attention. References are kept as projected by
the fusion, with a width K of I, where that makes them no larger, else as they are, with K = C.

A CPU runs `attend_*` and `segment_shared`, a GPU `segment`; the other graphs are for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from uniref_model.export.scene import boxes
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
from uniref_model.network.value_encoder import MaskReference

ATTEND = ("attend_one", "attend_two")
"""Graphs that look at one and at two reference frames."""

PLACES = ("first", "previous")
"""Reference frames, in the order in which the authors join them."""

OBJECTS = "objects"  # name of the one symbolic dimension


@dataclass(frozen=True)
class Graph:
    """A module with example inputs; `per_object` names the inputs whose first dimension is N."""

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: list[str]
    per_object: frozenset[str] = frozenset()


class Frame(NamedTuple):
    """What `EncodeImage` gives, sorted."""

    lateral: Tensor
    levels: list[Tensor]
    keys: list[Tensor]
    embeds: list[Tensor]
    more: dict[str, Tensor]  # "query", "classes": where the model has them


def _parts(network: UniRef, answer: tuple[Tensor, ...]) -> Frame:
    levels, keys, embeds = (
        list(answer[1 + part : 1 + part + LEVELS]) for part in range(0, 3 * LEVELS, LEVELS)
    )
    names = [
        name
        for name, there in (("query", network.fusion.projects_ahead), ("classes", network.nouns is not None))
        if there
    ]
    return Frame(answer[0], levels, keys, embeds, dict(zip(names, answer[1 + 3 * LEVELS :], strict=True)))


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
    lateral [1,8,H/4,W/4], src0..3 [1,C,h_l,w_l], key0..3 [1,T_l,K], embed0..3 [1,C], query [1,S,I] where the
    model projects ahead, and classes [1,D+2,H/32,W/32] where it looks for nouns."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        fusion = self.network.fusion
        features = self.network.encode_image(self.normalise(image))
        levels = features.levels
        keys, _, embeds = self.network.value_encoder.keys(levels, None)
        more = () if features.classes is None else (features.classes,)
        if fusion.projects_ahead:
            keys = [fusion.project_keys(key) for key in keys]
            more = (query_of(fusion, levels), *more)
        return (features.lateral, *levels, *keys, *embeds, *more)


class EncodeReference(_Part):
    """image uint8 [1,H,W,3], masks [N,1,H,W], src0..3 -> value0..3 [N,T_l,K]."""

    def forward(self, image: Tensor, masks: Tensor, *levels: Tensor) -> tuple[Tensor, ...]:
        fusion, encoder = self.network.fusion, self.network.value_encoder
        maps = values_of_objects(encoder, self.normalise(image), masks, list(levels))
        values = [value.flatten(2).transpose(1, 2) for value in maps]  # [N,C,h,w] -> [N,T,C]
        return tuple(fusion.project_values(value) if fusion.projects_ahead else value for value in values)


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
        language: LanguageReference,
        use_language: Tensor,
        keys: list[Tensor],
        values: list[Tensor],
        embeds: list[Tensor],
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
        )
        weight = use_reference[:, :, None]
        total = weight.sum(1).clamp(min=1)
        mask = MaskReference(
            keys=[key.flatten(1, 2) for key in keys],
            values=[value.flatten(1, 2) for value in values],
            padding=[(weight == 0).expand(-1, -1, key.shape[2]).flatten(1) for key in keys],
            embeds=[(embed * weight).sum(1) / total for embed in embeds],
            projected=self.network.fusion.projects_ahead,
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


def build_graphs(
    network: UniRef, size: tuple[int, int], shared: bool = True, all_masks: bool = False
) -> dict[str, Graph]:
    """The graphs that depend on the size, with example inputs of two objects. Those for shared attention are
    left out where the model's fusion mode does not allow it, or without `shared`; all_masks: see
    `Segment`."""
    count = 2  # not 1: an example dimension of one would be taken for a constant
    config = network.config
    # Boxes and their masks, not noise: in noise every query is as good as the next, and which one is best
    # (and with it the mask) then hangs on the last bit.
    pictures, outlines = boxes(count, size)
    images = [torch.from_numpy(picture)[None] for picture in pictures[:2]]
    masks = 2 * [torch.from_numpy(np.stack(outlines))[:, None].float()]
    encode_image, encode_reference = EncodeImage(network).eval(), EncodeReference(network).eval()
    with torch.no_grad():
        frames = [_parts(network, encode_image(image)) for image in images]
        values = [
            encode_reference(image, mask, *frame.levels)
            for image, mask, frame in zip(images, masks, frames, strict=True)
        ]
    frame = frames[0]
    sources = named("src", frame.levels)
    query, classes = ({name: frame.more[name]} if name in frame.more else {} for name in ("query", "classes"))
    words = torch.randn(count, config.text.max_words, config.hidden)
    language = {
        "words": words,
        "word_mask": torch.ones(count, config.text.max_words),
        "sentence": words.mean(1),
        **({"noun": torch.randn(count, network.config.nouns.features + 1) / 16} if classes else {}),
        "use_language": torch.ones(count),
    }

    def pair(name: str, per_frame: list[list[Tensor]]) -> dict[str, Tensor]:
        """[1 or N, ...] of the first and the previous frame, a level -> [N, 2, ...]."""
        return named(
            name,
            [
                torch.stack([part.expand(count, *part.shape[1:]) for part in both], 1)
                for both in zip(*per_frame, strict=True)
            ],
        )

    references = {**pair("key", [frame.keys for frame in frames]), **pair("value", values)}
    means = pair("embed", [frame.embeds for frame in frames])
    use_reference = {"use_reference": torch.ones(count, 2)}
    outputs = ["score", "box", "mask_logits"]
    graphs = {
        "encode_image": Graph(
            encode_image,
            {"image": images[0]},
            ["lateral", *sources, *named("key", frame.keys), *named("embed", frame.embeds), *frame.more],
        ),
        "encode_reference": Graph(
            encode_reference,
            {"image": images[0], "masks": masks[0], **sources},
            list(named("value", values[0])),
            frozenset({"masks"}),
        ),
        "segment": Graph(
            SegmentFlat(network, size, all_masks).eval(),
            {
                "lateral": frame.lateral,
                **sources,
                **classes,
                **language,
                **references,
                **means,
                **use_reference,
            },
            outputs,
            frozenset({*language, *references, *means, *use_reference}),
        ),
    }
    if not shared or config.fusion.mode not in SHARED_MODES:
        return graphs
    shapes = [tuple(level.shape[-2:]) for level in frame.levels]
    seen = query or sources
    for number, name in enumerate(ATTEND, 1):
        known, given = {}, {}
        for place, known_frame, known_values in zip(PLACES[:number], frames, values, strict=False):
            known |= named(f"{place}_key", known_frame.keys)
            given |= named(f"{place}_value", known_values)
        graphs[name] = Graph(
            Attend(network, number, shapes).eval(), {**seen, **known, **given}, ["attended"], frozenset(given)
        )
    with torch.no_grad():
        attended = {"attended": graphs[ATTEND[1]].module(*graphs[ATTEND[1]].inputs.values())[0]}
    graphs["segment_shared"] = Graph(
        SegmentShared(network, size, shapes).eval(),
        {
            "lateral": frame.lateral,
            **sources,
            **query,
            **classes,
            **language,
            **attended,
            **means,
            **use_reference,
        },
        outputs,
        frozenset({*language, *attended, *means, *use_reference}),
    )
    return graphs


class SegmentFlat(Segment):
    """`Segment` with its inputs one after another, in the order of the contract."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        lateral, levels, rest = inputs[0], list(inputs[1 : 1 + LEVELS]), inputs[1 + LEVELS :]
        classes, language, use_language, rest = take_language(self.network, rest)
        keys, values, embeds = (list(rest[part : part + LEVELS]) for part in (0, LEVELS, 2 * LEVELS))
        return super().forward(
            lateral, levels, classes, language, use_language, keys, values, embeds, rest[-1]
        )


def named(name: str, tensors: list[Tensor] | tuple[Tensor, ...]) -> dict[str, Tensor]:
    """{name0: tensors[0], name1: ...}."""
    return {f"{name}{level}": tensor for level, tensor in enumerate(tensors)}
