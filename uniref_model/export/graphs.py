"""The deployable pieces of UniRef as modules with flat tensor inputs and outputs (the ONNX graph contract).

Shapes: H, W model size; h_l, w_l of level l; C hidden; L words; T_l tokens of a (pooled) reference level; N
objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uniref_model.network.config import LEVELS
from uniref_model.network.model import ImageFeatures, UniRef
from uniref_model.network.text import LanguageReference
from uniref_model.network.value_encoder import MaskReference

OBJECTS = "objects"  # name of the one symbolic dimension


@dataclass(frozen=True)
class Graph:
    """A module with example inputs; `per_object` names the inputs whose first dimension is N."""

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: list[str]
    per_object: frozenset[str] = frozenset()


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
    """image uint8 [1,H,W,3] -> lateral [1,8,H/4,W/4], src0..3 [1,C,h_l,w_l]."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features = self.network.encode_image(self.normalise(image))
        return (features.lateral, *features.levels)


class EncodeReference(_Part):
    """image uint8 [1,H,W,3], masks [N,1,H,W], src0..3 -> key0..3 [1,T_l,C], embed0..3 [1,C], value0..3
    [N,T_l,C]."""

    def forward(self, image: Tensor, masks: Tensor, *levels: Tensor) -> tuple[Tensor, ...]:
        encoder, images = self.network.value_encoder, self.normalise(image)
        keys, _, embeds = encoder.keys(list(levels), None)
        count = masks.shape[0]
        values = encoder(
            images.expand(count, -1, -1, -1), masks, [level.expand(count, -1, -1, -1) for level in levels]
        )
        return (*keys, *embeds, *(value.flatten(2).transpose(1, 2) for value in values))


class Segment(_Part):
    """Features of a frame and the references of N objects -> score [N], box [N,4], mask_logits
    [N,H/4,W/4]."""

    def __init__(self, network: UniRef, size: tuple[int, int]) -> None:
        super().__init__(network)
        self.size = size

    def forward(
        self,
        lateral: Tensor,
        levels: list[Tensor],
        words: Tensor,
        word_mask: Tensor,
        sentence: Tensor,
        use_language: Tensor,
        keys: list[Tensor],
        values: list[Tensor],
        embeds: list[Tensor],
        use_reference: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        count = words.shape[0]
        features = ImageFeatures(
            images=lateral,
            image_size=self.size,
            res2=None,
            lateral=lateral.expand(count, -1, -1, -1),
            levels=[level.expand(count, -1, -1, -1) for level in levels],
            padding=None,
        )
        weight = use_reference[:, :, None]
        total = weight.sum(1).clamp(min=1)
        mask = MaskReference(
            keys=[key.flatten(1, 2) for key in keys],
            values=[value.flatten(1, 2) for value in values],
            padding=[(weight == 0).expand(-1, -1, key.shape[2]).flatten(1) for key in keys],
            embeds=[(embed * weight).sum(1) / total for embed in embeds],
        )
        output = self.network.segment(
            features,
            LanguageReference(words, word_mask == 0, sentence),
            mask,
            use_language=use_language,
            use_mask=use_reference.amax(1),
            masks="best",
        )
        box = output.boxes.gather(1, output.best[:, None, None].expand(-1, 1, 4))[:, 0]
        return output.scores, box, output.mask_logits


def build_graphs(network: UniRef, size: tuple[int, int]) -> dict[str, Graph]:
    """The three graphs that depend on the size, with example inputs of two objects."""
    count = 2  # not 1: an example dimension of one would be taken for a constant
    config = network.config
    image = torch.randint(0, 256, (1, *size, 3), dtype=torch.uint8)
    masks = (torch.rand(count, 1, *size) > 0.5).float()
    encode_image = EncodeImage(network).eval()
    with torch.no_grad():
        lateral, *levels = encode_image(image)
        encode_reference = EncodeReference(network).eval()
        answers = encode_reference(image, masks, *levels)
    keys, embeds, values = (answers[part : part + LEVELS] for part in (0, LEVELS, 2 * LEVELS))
    sources = named("src", levels)
    words = torch.randn(count, config.text.max_words, config.hidden)
    references = {
        **named("key", [key[:, None].expand(count, 2, -1, -1).contiguous() for key in keys]),
        **named("value", [value[:, None].expand(-1, 2, -1, -1).contiguous() for value in values]),
        **named("embed", [embed[:, None].expand(count, 2, -1).contiguous() for embed in embeds]),
    }
    segment_inputs = {
        "lateral": lateral,
        **sources,
        "words": words,
        "word_mask": torch.ones(count, config.text.max_words),
        "sentence": words.mean(1),
        "use_language": torch.ones(count),
        **references,
        "use_reference": torch.ones(count, 2),
    }
    return {
        "encode_image": Graph(encode_image, {"image": image}, ["lateral", *sources]),
        "encode_reference": Graph(
            encode_reference,
            {"image": image, "masks": masks, **sources},
            [f"{name}{level}" for name in ("key", "embed", "value") for level in range(LEVELS)],
            frozenset({"masks"}),
        ),
        "segment": Graph(
            SegmentFlat(network, size).eval(),
            segment_inputs,
            ["score", "box", "mask_logits"],
            frozenset(segment_inputs) - {"lateral", *sources},
        ),
    }


class SegmentFlat(Segment):
    """`Segment` with its inputs one after another, in the order of the contract."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        lateral, levels, rest = inputs[0], list(inputs[1 : 1 + LEVELS]), inputs[1 + LEVELS :]
        words, word_mask, sentence, use_language = rest[:4]
        keys, values, embeds = (list(rest[4 + part : 4 + part + LEVELS]) for part in (0, LEVELS, 2 * LEVELS))
        return super().forward(
            lateral, levels, words, word_mask, sentence, use_language, keys, values, embeds, rest[-1]
        )


def named(name: str, tensors: list[Tensor] | tuple[Tensor, ...]) -> dict[str, Tensor]:
    """{name0: tensors[0], name1: ...}."""
    return {f"{name}{level}": tensor for level, tensor in enumerate(tensors)}
