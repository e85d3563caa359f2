"""A stage's forward pass: a padded batch to a loss, as in the authors' `coco_forward` and `SetCriterion`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uniref_model.network.mask_head import STRIDE, aligned_bilinear
from uniref_model.network.model import ImageFeatures, SegmentOutput, UniRef
from uniref_model.network.text import LanguageReference, mean_words
from uniref_model.training.losses import box_losses, class_loss
from uniref_model.training.matcher import Match, match
from uniref_model.training.paper import losses
from uniref_model.training.paper.batches import Padded, StageBatch
from uniref_model.training.paper.config import StageConfig
from uniref_model.training.step import mask_iou


@dataclass(frozen=True)
class MaskTarget:
    """What masks are compared with. fine: at the picture's resolution (VOS), else at stride 4."""

    masks: Tensor  # float [B,h,w], 0 or 1
    fine: bool
    similar: Tensor | None  # bool [B,8,h,w]: the masks are filled boxes, to learn from by BoxInst


class StageModel(nn.Module):
    """The network with a stage's losses; `forward` gives the loss and its terms for the log.

    The text encoder is part of it: trained where the stage trains it, else in eval mode without gradient.
    """

    def __init__(self, network: UniRef, config: StageConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        network.value_encoder.requires_grad_(config.uses_masks)
        trains_text = config.uses_words and not config.text_encoder_frozen
        network.resizer.requires_grad_(config.uses_words)
        if network.text_encoder is not None:
            network.text_encoder.requires_grad_(trains_text)
        mean, std = network.config.input.mean, network.config.input.std
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> StageModel:
        """As nn.Module's, but a frozen text encoder stays in eval mode: no dropout in what cannot adapt."""
        super().train(mode)
        if self.network.text_encoder is not None and self.config.text_encoder_frozen:
            self.network.text_encoder.eval()
        return self

    def forward(self, batch: StageBatch, iteration: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss, terms of the last decoder layer, weighted, and `iou` of the best queries' masks).

        iteration: optimiser steps done, for the terms that warm up.
        """
        output = self.respond(batch)
        target = self._mask_target(batch)
        weights = self.config.losses
        terms = {"proposals": self._proposal_loss(output, batch.boxes)}
        total = terms["proposals"]
        for layer, (logits, boxes) in enumerate(output.aux):
            logits, boxes = logits.float(), boxes.float()
            found = self._match(logits, boxes, batch.boxes)
            l1, giou = box_losses(boxes, batch.boxes, found)
            named = {
                "class": weights.classification * class_loss(logits, found),
                "l1": weights.l1 * l1,
                "giou": weights.giou * giou,
                **self._mask_losses(output, found, target, layer, iteration),
            }
            total = total + sum(named.values())
            terms |= named
        figures = {name: value.detach() for name, value in terms.items()}
        return total, figures | {"loss": total.detach(), "iou": self._overlap(output, target)}

    def respond(self, batch: StageBatch) -> SegmentOutput:
        """Run the network on a batch."""
        network = self.network
        features = self._encode(batch.current)
        language = None if batch.ids is None else self._words(batch.ids, batch.attention)
        if batch.reference is None:
            return network.segment(features, language, masks=None)
        frames = self._encode(batch.reference)
        mask = network.encode_reference(frames, batch.reference.masks[:, None].to(frames.images.dtype))
        used = (batch.reference_row >= 0).to(frames.images.dtype)
        mask = mask.select(batch.reference_row.clamp(min=0))
        return network.segment(features, language, mask, use_mask=used, masks=None)

    def _encode(self, frames: Padded) -> ImageFeatures:
        images = (frames.images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return self.network.encode_image(images.masked_fill(frames.padding[:, None], 0.0), frames.padding)

    def _words(self, ids: Tensor, attention: Tensor) -> LanguageReference:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.text_encoder_frozen):
            hidden = self.network.text_encoder(input_ids=ids, attention_mask=attention).last_hidden_state
        language = self.network.embed_words(hidden, attention)
        if not self.training or not self.config.text_dropout:
            return language
        # the authors' resizer drops out after its norm, and the sentence is the mean of what is left
        words = F.dropout(language.words, self.config.text_dropout)
        return replace(language, words=words, sentence=mean_words(words, attention))

    def _match(self, logits: Tensor, boxes: Tensor, target: Tensor) -> Match:
        if self.config.matcher == "ota":
            return losses.match_ota(logits, boxes, target)
        return _hungarian(logits, boxes, target)

    def _proposal_loss(self, output: SegmentOutput, target: Tensor) -> Tensor:
        """The two-stage head's terms: Hungarian in every stage, no masks."""
        logits, boxes = output.proposals.logits.float(), output.proposals.boxes.float()
        weights, found = self.config.losses, _hungarian(logits, boxes, target)
        l1, giou = box_losses(boxes, target, found)
        return weights.classification * class_loss(logits, found) + weights.l1 * l1 + weights.giou * giou

    def _mask_target(self, batch: StageBatch) -> MaskTarget:
        masks, fine = batch.current.masks, self.config.datasets[batch.dataset].task == "VOS"
        if not fine:
            masks = masks[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        return MaskTarget(masks.float(), fine, batch.similar)

    def _mask_losses(
        self, output: SegmentOutput, found: Match, target: MaskTarget, layer: int, iteration: int
    ) -> dict[str, Tensor]:
        used = int(found.valid.sum(1).max())  # the claimed queries come first
        claimed = found.valid[:, :used].float()
        logits = self.network.masks_for(output, found.index[:, :used], layer=layer).float()
        if target.fine:
            logits = aligned_bilinear(logits, STRIDE)
        weights = self.config.losses
        if target.similar is not None:
            warm = min(iteration / max(weights.pairwise_warmup, 1), 1.0)
            pairs = losses.pairwise_loss(logits, target.similar, target.masks, claimed)
            return {
                "projection": weights.projection * losses.projection_loss(logits, target.masks, claimed),
                "pairwise": weights.pairwise * warm * pairs,
            }
        focal, dice = losses.focal_and_dice(logits, target.masks, claimed)
        named = {"mask": weights.mask * focal, "dice": weights.dice * dice}
        if weights.mask_entropy:
            entropy = losses.bootstrapped_entropy(logits, target.masks, claimed)
            named["mask_entropy"] = weights.mask_entropy * entropy
        if weights.mask_iou:
            named["mask_iou"] = weights.mask_iou * losses.soft_iou_loss(logits, target.masks, claimed)
        return named

    @torch.no_grad()
    def _overlap(self, output: SegmentOutput, target: MaskTarget) -> Tensor:
        """Mean IoU of the best queries' masks with the target (a filled box where there are no masks)."""
        logits = self.network.masks_for(output, output.best[:, None]).float()
        if target.fine:
            logits = aligned_bilinear(logits, STRIDE)
        return mask_iou(logits[:, 0] > 0, target.masks > 0).mean()


def _hungarian(logits: Tensor, boxes: Tensor, target: Tensor) -> Match:
    """With one target a row, Hungarian matching is the cheapest query."""
    present = torch.ones(len(target), dtype=torch.bool, device=target.device)
    return match(logits, boxes, target, present, positives=1)
