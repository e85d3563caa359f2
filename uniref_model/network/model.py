"""UniRef (Wu et al., ICCV 2023): one network that segments what words, masks or both refer to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from uniref_model.network.backbone import Backbone
from uniref_model.network.config import LEVELS, ModelConfig
from uniref_model.network.decoder import MLP, DeformableDecoder
from uniref_model.network.deformable import (
    DeformableAttention,
    DeformableEncoder,
    flatten_levels,
    level_shapes,
    valid_ratios,
)
from uniref_model.network.fusion import UniFusion
from uniref_model.network.likeness import Likeness, Sought
from uniref_model.network.mask_head import ImageSize, MaskHead
from uniref_model.network.nouns import Nouns
from uniref_model.network.positions import grid_code, resize_padding
from uniref_model.network.text import LanguageReference, Resizer, build_text_encoder, encode_tokens
from uniref_model.network.two_stage import Proposals, TwoStage
from uniref_model.network.value_encoder import MaskReference, ValueEncoder

CLASS_PRIOR = 0.01  # share of queries expected to be objects when training starts (focal loss)


@dataclass
class ImageFeatures:
    """A batch of B frames, ready to be segmented or to serve as references. Does not depend on any object."""

    images: Tensor  # [B, 3, H, W] normalised
    image_size: ImageSize  # (height, width) without padding
    res2: Tensor | None  # [B, c2, H / 4, W / 4]
    lateral: Tensor  # [B, 8, H / 4, W / 4]: what the mask head takes from res2
    levels: list[Tensor]  # src0..src3, [B, C, h, w] at strides 8, 16, 32, 64
    padding: list[Tensor] | None  # [B, h, w] bool a level, True = padding; None: no image has any
    classes: Tensor | None = None  # [B, D + 2, H / 32, W / 32] for models that look for nouns (nouns.py)
    looks: Tensor | None = None  # [B, A, H / 32, W / 32] for models that compare looks (likeness.py)

    def select(self, index: Tensor) -> ImageFeatures:
        """The frames `index` [N] (int64), as a batch of N: one row for each (frame, object) pair."""
        return replace(
            self,
            images=self.images[index],
            image_size=self.image_size[index] if isinstance(self.image_size, Tensor) else self.image_size,
            res2=None if self.res2 is None else self.res2[index],
            lateral=self.lateral[index],
            levels=[level[index] for level in self.levels],
            padding=None if self.padding is None else [padding[index] for padding in self.padding],
            classes=None if self.classes is None else self.classes[index],
            looks=None if self.looks is None else self.looks[index],
        )


class LayerPrediction(NamedTuple):
    logits: Tensor  # [N, Q]
    boxes: Tensor  # [N, Q, 4] cxcywh in 0..1 of the image without padding


@dataclass
class SegmentOutput:
    logits: Tensor  # [N, Q] of the last layer
    boxes: Tensor  # [N, Q, 4] of the last layer
    aux: list[LayerPrediction]  # one a decoder layer, the last included
    proposals: Proposals  # the two-stage head's, for every token
    hidden: list[Tensor]  # [N, Q, C] a decoder layer
    references: list[Tensor]  # [N, Q, 4] the boxes each layer started from
    memory: list[Tensor]  # [N, C, h, w] a level, after the encoder
    mask_features: Tensor  # [N, 8, H / 4, W / 4]
    image_size: ImageSize
    best: Tensor  # [N] int64, the query of the highest score
    mask_logits: Tensor | None = None  # [N, H / 4, W / 4] of the best query, or [N, Q, H / 4, W / 4] of all
    likeness: Tensor | None = None  # [N] what the best query's mask adds to its logit (likeness.py)

    @property
    def score_logits(self) -> Tensor:
        """[N] of the best query, with what its mask's likeness adds."""
        logits = self.logits.gather(1, self.best[:, None])[:, 0]
        return logits if self.likeness is None else logits + self.likeness

    @property
    def scores(self) -> Tensor:
        """[N] probability that the best query is the object referred to."""
        return self.score_logits.sigmoid()

    @property
    def box(self) -> Tensor:
        """[N, 4] of the best query."""
        return self.boxes.gather(1, self.best[:, None, None].expand(-1, 1, 4))[:, 0]

    @property
    def best_mask(self) -> Tensor:
        """[N, H / 4, W / 4] logits of the best query, whichever masks were made."""
        masks = self.mask_logits
        if masks.dim() == 3:
            return masks
        return masks.gather(1, self.best[:, None, None, None].expand(-1, 1, *masks.shape[2:]))[:, 0]


class UniRef(nn.Module):
    """See NETWORK sizes in config/models. `with_text=False` leaves the text encoder out (words encoded
    beforehand)."""

    def __init__(self, config: ModelConfig, with_text: bool = True):
        super().__init__()
        self.config = config
        channels, transformer = config.hidden, config.transformer
        self.backbone = Backbone(config.backbone)
        self.input_proj = nn.ModuleList(_projections(config.backbone.channels, channels))
        self.text_encoder = build_text_encoder(config.text) if with_text else None
        self.resizer = Resizer(config.text.hidden, channels)
        self.value_encoder = ValueEncoder(config.value_encoder, channels)
        self.fusion = UniFusion(config.fusion, channels)
        self.nouns = None
        if config.nouns.features > 0:
            self.nouns = Nouns(
                config.nouns, config.backbone.channels[-1], config.text.hidden, channels, config.nouns.levels
            )
        self.level_embed = nn.Parameter(torch.empty(LEVELS, channels))
        self.encoder = DeformableEncoder(transformer, channels)
        self.two_stage = TwoStage(channels)
        self.query_embed = nn.Embedding(transformer.queries, channels)
        self.decoder = DeformableDecoder(transformer, channels)
        heads = transformer.decoder_layers + 1  # the last one is the two-stage head's
        self.class_embed = nn.ModuleList(nn.Linear(channels, 1) for _ in range(heads))
        self.bbox_embed = nn.ModuleList(MLP(channels, channels, 4) for _ in range(heads))
        self.mask_head = MaskHead(config.mask_head, channels, config.backbone.channels[0])
        self.likeness = None
        if config.likeness.width > 0:
            self.likeness = Likeness(config.nouns.features, config.likeness.width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start values for training from scratch, all parts but backbone and text encoder."""
        for projection in self.input_proj:
            nn.init.xavier_uniform_(projection[0].weight)
            nn.init.zeros_(projection[0].bias)
        for part in (self.encoder, self.decoder, self.two_stage):
            for weight in part.parameters():
                if weight.dim() > 1:
                    nn.init.xavier_uniform_(weight)
        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.reset_parameters()
        nn.init.normal_(self.level_embed)
        nn.init.normal_(self.query_embed.weight)
        for head in self.class_embed:
            nn.init.constant_(head.bias, -math.log((1 - CLASS_PRIOR) / CLASS_PRIOR))
        for head in self.bbox_embed:
            nn.init.zeros_(head.layers[-1].weight)
            nn.init.zeros_(head.layers[-1].bias)
        # Deformable DETR: first decoder layer's boxes start smaller than their references
        nn.init.constant_(self.bbox_embed[0].layers[-1].bias[2:], -2.0)
        self.fusion.reset_parameters()
        if self.nouns is not None:
            self.nouns.reset_parameters()
        if self.likeness is not None:
            self.likeness.reset_parameters()
        self.mask_head.reset_parameters()

    # ---- frames ----

    def encode_image(self, images: Tensor, pad_mask: Tensor | None = None) -> ImageFeatures:
        """images [B, 3, H, W], already (RGB - mean) / std; pad_mask [B, H, W] bool, True on padding (right
        and bottom).

        Raises ValueError where pad_mask does not have the images' shape.
        """
        image_size = _unpadded_size(images, pad_mask)
        res2, *maps = self.backbone(images)
        classes = None if self.nouns is None else self.nouns.look(maps[-1])
        maps.append(maps[-1])  # the fourth level is made of the raw last map, not of the projected third
        levels = [project(features) for project, features in zip(self.input_proj, maps, strict=True)]
        padding = None
        if pad_mask is not None:
            padding = [resize_padding(pad_mask, tuple(level.shape[-2:])) for level in levels[:-1]]
            # the authors take the coarsest mask from the finest level's, not from the image's
            padding.append(resize_padding(padding[0], tuple(levels[-1].shape[-2:])))
        looks = None if self.likeness is None else self.likeness.looks(classes)
        return ImageFeatures(
            images, image_size, res2, self.mask_head.lateral_conv(res2), levels, padding, classes, looks
        )

    # ---- references ----

    def embed_words(self, hidden: Tensor, attention: Tensor) -> LanguageReference:
        """A text encoder's hidden state [N, L, Dt] and attention [N, L] (1 = word) -> reference."""
        language = self.resizer(hidden, attention)
        return language if self.nouns is None else replace(language, noun=self.nouns.name(hidden, attention))

    def encode_text(self, ids: Tensor, attention: Tensor) -> LanguageReference:
        """Token ids and attention [N, L] -> reference. RuntimeError where the model was built without text
        encoder."""
        if self.text_encoder is None:
            raise RuntimeError("this UniRef was built with with_text=False; use embed_words")
        return self.embed_words(encode_tokens(self.text_encoder, ids, attention), attention)

    def encode_reference(self, features: ImageFeatures, masks: Tensor) -> MaskReference:
        """Objects' masks [N, 1, H, W] (0..1, zero on padding) on their frames (batch N, or 1 for all) ->
        reference."""
        count = masks.shape[0]
        values = self.encode_values(features, masks)
        keys, padding, embeds = self.value_encoder.keys(features.levels, features.padding)

        def spread(x: Tensor) -> Tensor:
            return x.expand(count, *x.shape[1:])

        return MaskReference(
            [spread(key) for key in keys],
            values,
            None if padding is None else [spread(part) for part in padding],
            [spread(embed) for embed in embeds],
            look=self.look_of(features, masks),
        )

    def look_of(self, features: ImageFeatures, masks: Tensor) -> Tensor | None:
        """What objects' masks (as of `encode_reference`) cover, for models that compare looks: [N, A]."""
        return None if self.likeness is None else self.likeness.of_masks(features.looks, masks)

    def encode_values(self, features: ImageFeatures, masks: Tensor) -> list[Tensor]:
        """The part of `encode_reference` that depends on the objects: values [N, T_l, C] a level."""
        count, batch = masks.shape[0], features.images.shape[0]
        if batch not in (1, count):
            raise ValueError(f"{count} masks need features of 1 or {count} frames, found {batch}")
        images, *levels = (x.expand(count, -1, -1, -1) for x in (features.images, *features.levels))
        values = self.value_encoder(images, masks, levels)
        return [value.flatten(2).transpose(1, 2) for value in values]  # [N, C, h, w] -> [N, T, C]

    # ---- segmentation ----

    def segment(
        self,
        features: ImageFeatures,
        language: LanguageReference | None = None,
        mask: MaskReference | None = None,
        use_language: Tensor | None = None,
        use_mask: Tensor | None = None,
        masks: str | None = "best",
        fusion: str | None = None,
    ) -> SegmentOutput:
        """Find each row's object. All arguments have batch N (features through `ImageFeatures.select`, or
        one frame for all).

        use_language, use_mask [N]: 0 where a row has no such reference (its contribution is then exactly
        zero); None: all rows have what is given. masks: "best" | "all" | None, which queries get masks.
        fusion: a mode of config.FUSION_MODES instead of the configured one.
        """
        fused = self.fuse(features, language, mask, use_language, use_mask, fusion)
        output = self.segment_fused(fused, features, masks)
        if masks is not None and self.likeness is not None:
            wanted = sought(language, mask, use_language, use_mask)
            output.likeness = self.compare(features, output.best_mask, wanted)
        return output

    def compare(self, features: ImageFeatures, mask_logits: Tensor, wanted: Sought) -> Tensor:
        """What the best queries' masks [N, H / 4, W / 4] (logits) add to their logits [N], for models that
        compare looks."""
        return self.likeness(features.looks, features.classes, mask_logits, wanted)

    def fuse(
        self,
        features: ImageFeatures,
        language: LanguageReference | None,
        mask: MaskReference | None,
        use_language: Tensor | None = None,
        use_mask: Tensor | None = None,
        mode: str | None = None,
    ) -> list[Tensor]:
        """The frames' levels [N, C, h, w] with what the references add; arguments as of `segment`."""
        fused = self.fusion.fuse_levels(
            features.levels, language, mask, use_language, use_mask, mode or self.config.fusion.mode
        )
        if self.nouns is None or language is None:
            return fused
        return self.nouns.add(fused, features.classes, language.noun, use_language)

    def segment_fused(
        self, fused: list[Tensor], features: ImageFeatures, masks: str | None = "best"
    ) -> SegmentOutput:
        """What follows the fusion: fused levels [N, C, h, w] of frames `features` (N, or one for all)."""
        if masks not in ("best", "all", None):
            raise ValueError(f"masks is {masks!r}; expected 'best', 'all' or None")
        ratios = valid_ratios(features.padding)
        memory = self.encoder(fused, self.positions(fused, features.padding), features.padding, ratios)
        output = self.decode(memory, features, ratios)
        if masks == "best":
            output.mask_logits = self.masks_for(output, output.best[:, None])[:, 0]
        elif masks == "all":
            output.mask_logits = self.mask_head(
                output.mask_features, output.hidden[-1], output.references[-1], output.image_size
            )
        return output

    def positions(self, levels: list[Tensor], padding: list[Tensor] | None) -> list[Tensor]:
        """Position code plus level embedding, [N or 1, C, h, w] a level."""
        return [
            grid_code(
                level.shape[-2],
                level.shape[-1],
                self.config.hidden,
                None if padding is None else padding[index],
                level,
            )
            + self.level_embed[index][:, None, None]
            for index, level in enumerate(levels)
        ]

    def decode(self, memory: list[Tensor], features: ImageFeatures, ratios: Tensor | None) -> SegmentOutput:
        transformer, shapes, padding = self.config.transformer, level_shapes(memory), features.padding
        first = transformer.update_from_level
        proposals, reference, position = self.two_stage(
            flatten_levels(memory[first:]),
            None if padding is None else padding[first:],
            shapes[first:],
            first,
            self.class_embed[-1],
            self.bbox_embed[-1],
            transformer.queries,
        )
        batch, count = reference.shape[:2]
        decoded = self.decoder(
            self.query_embed.weight[None, :count].expand(batch, -1, -1),
            position,
            reference,
            flatten_levels(memory),
            None if padding is None else torch.cat([part.flatten(1) for part in padding], 1),
            ratios,
            shapes,
            self.bbox_embed,
        )
        aux = [
            LayerPrediction(head(hidden)[..., 0], boxes)
            for head, hidden, boxes in zip(self.class_embed, decoded.hidden, decoded.boxes, strict=False)
        ]
        return SegmentOutput(
            logits=aux[-1].logits,
            boxes=aux[-1].boxes,
            aux=aux,
            proposals=proposals,
            hidden=decoded.hidden,
            references=decoded.references,
            memory=memory,
            mask_features=self.mask_head.features(memory[:3], features.lateral),
            image_size=features.image_size,
            best=aux[-1].logits.argmax(1),
        )

    def masks_for(self, output: SegmentOutput, query_index: Tensor, layer: int = -1) -> Tensor:
        """Mask logits [N, K, H / 4, W / 4] of chosen queries [N, K] (int64) as a decoder layer predicts
        them."""
        hidden, reference = output.hidden[layer], output.references[layer]
        index = query_index[..., None]
        hidden = hidden.gather(1, index.expand(-1, -1, hidden.shape[-1]))
        reference = reference.gather(1, index.expand(-1, -1, 4))
        return self.mask_head(output.mask_features, hidden, reference, output.image_size)


def sought(
    language: LanguageReference | None,
    mask: MaskReference | None,
    use_language: Tensor | None = None,
    use_mask: Tensor | None = None,
) -> Sought:
    """What answers are compared with; arguments as of `UniRef.segment`."""
    return Sought(
        None if mask is None else mask.look,
        None if language is None else language.noun,
        use_mask,
        use_language,
    )


def _projections(backbone_channels: tuple[int, ...], channels: int) -> list[nn.Sequential]:
    def projection(inputs: int, kernel: int, stride: int) -> nn.Sequential:
        conv = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2)
        return nn.Sequential(conv, nn.GroupNorm(32, channels))

    return [
        *(projection(inputs, 1, 1) for inputs in backbone_channels[1:]),
        projection(backbone_channels[-1], 3, 2),
    ]


def _unpadded_size(images: Tensor, pad_mask: Tensor | None) -> ImageSize:
    height, width = int(images.shape[-2]), int(images.shape[-1])
    if pad_mask is None:
        return height, width
    if tuple(pad_mask.shape) != (images.shape[0], height, width):
        raise ValueError(
            f"pad_mask is {tuple(pad_mask.shape)}; the images need {(images.shape[0], height, width)}"
        )
    sizes = torch.stack(((~pad_mask[:, :, 0]).sum(1), (~pad_mask[:, 0]).sum(1)), 1)
    rows, columns = sizes[0].tolist()
    return (rows, columns) if bool((sizes == sizes[0]).all()) else sizes
