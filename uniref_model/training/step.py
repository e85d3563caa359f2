"""One training step's forward pass: a batch of clips to a loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uniref_model.network.model import sought
from uniref_model.network.text import LanguageReference
from uniref_model.synth import FRAMES
from uniref_model.synth.pairs import CURRENT, Batch, Kind
from uniref_model.training.auxiliary import AlignmentHead, DenseHead
from uniref_model.training.boxes import boxes_of_masks
from uniref_model.training.classes import LEVEL, ClassNames
from uniref_model.training.config import TrainingConfig
from uniref_model.training.losses import (
    area_mean,
    box_losses,
    class_loss,
    contour_loss,
    mask_losses,
    presence_loss,
)
from uniref_model.training.matcher import match
from uniref_model.training.words import WordCache

DOUBTED = 0.3  # weight of a contour that a program drew
MASK_QUERIES = 2  # claimed queries whose masks are trained; more costs memory traffic and teaches little


@dataclass
class Tensors:
    """A batch on the device. F frames, R references, N pairs; -1 = none."""

    images: Tensor  # uint8 [F,H,W,3]
    reference_frame: Tensor  # [R]
    reference_mask: Tensor  # float [R,1,H,W]
    frame: Tensor  # [N]
    target: Tensor  # bool [N,H,W]
    has_target: Tensor  # bool [N]
    text: Tensor  # [N]
    first: Tensor  # [N]
    previous: Tensor  # [N]
    kind: Tensor  # [N]
    exact: Tensor  # float [N], 1 where the target's contour can be believed, less where a program drew it
    hidden: Tensor  # [T,L,D]
    attention: Tensor  # [T,L]

    @staticmethod
    def of(batch: Batch, words: WordCache, device: torch.device) -> Tensors:
        """Move a batch to the device; a dummy text or reference stands in where the batch has none."""

        def index(values: list[int]) -> Tensor:
            return torch.tensor(values, device=device)

        hidden, attention = words(batch.texts or ["nothing"])
        frame, value = index(batch.frame), index(batch.target)
        labels = torch.from_numpy(batch.labels).to(device)
        masks = np.stack(batch.reference_mask or [np.zeros(batch.labels.shape[1:], np.uint8)])
        return Tensors(
            images=torch.from_numpy(batch.images).to(device),
            reference_frame=index(batch.reference_frame or [0]),
            reference_mask=torch.from_numpy(masks).to(device)[:, None].float() / 255,
            frame=frame,
            target=(labels[frame] == value[:, None, None]) & (value > 0)[:, None, None],
            has_target=value > 0,
            text=index(batch.text),
            first=index(batch.first),
            previous=index(batch.previous),
            kind=index(batch.kind),
            exact=torch.where(torch.tensor(batch.exact, device=device), 1.0, DOUBTED),
            hidden=hidden.to(device),
            attention=attention.to(device),
        )


class TrainingModel(nn.Module):
    """The network with its training-only dense head; `forward` gives the loss and figures for the log."""

    def __init__(self, network: nn.Module, config: TrainingConfig) -> None:
        super().__init__()
        self.network = network
        hidden = network.config.hidden
        self.dense = DenseHead([hidden, hidden, hidden, 8])
        self.alignment = AlignmentHead(hidden, levels=3)
        self._taught: tuple[
            ClassNames, ...
        ] = ()  # in a tuple: fixed, so no part of the state or the gradients
        self.config = config
        mean, std = network.config.input.mean, network.config.input.std
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def teach(self, class_names: ClassNames) -> None:
        """Add the loss that compares pixels with class names, as a fixed teacher has it."""
        self._taught = (class_names,)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 [F,H,W,3] RGB -> float [F,3,H,W] (channels last in memory)."""
        return (images.permute(0, 3, 1, 2).float() - self.mean) / self.std

    def respond(self, data: Tensors, masks: str | None = None) -> object:
        """Run the network on all pairs of a batch; the network's SegmentOutput."""
        features = self.network.encode_image(self.normalise(data.images))
        return self._segment(data, features, masks)

    def _segment(
        self, data: Tensors, features: object, masks: str | None, language: LanguageReference | None = None
    ) -> object:
        reference = self.network.encode_reference(features.select(data.reference_frame), data.reference_mask)
        weights = torch.stack([data.first >= 0, data.previous >= 0], 1).float()
        use_mask = weights.amax(1)
        weights[:, 0] = torch.where(use_mask == 0, 1.0, weights[:, 0])  # never an empty softmax
        joined = type(reference).join(
            [reference.select(data.first.clamp(min=0)), reference.select(data.previous.clamp(min=0))], weights
        )
        if language is None:
            language = self.network.embed_words(data.hidden, data.attention)
        frames = features.select(data.frame)
        wanted = language.select(data.text.clamp(min=0)), joined, (data.text >= 0).float(), use_mask
        output = self.network.segment(frames, *wanted, masks=masks)
        if masks is None:  # the losses make the masks they need; the score needs the best query's
            with torch.no_grad():
                output.mask_logits = self.network.masks_for(output, output.best[:, None])[:, 0]
            if self.network.likeness is not None:
                output.likeness = self.network.compare(frames, output.mask_logits, sought(*wanted))
        return output

    def forward(self, data: Tensors, feedback: bool = False) -> tuple[Tensor, dict[str, float]]:
        """Loss and a dict of its terms, plus `iou/<kind>` of the best query's mask.

        feedback: replace the previous masks by what the network itself answers there from the first
        reference.
        """
        features = self.network.encode_image(self.normalise(data.images))
        if feedback:
            self._own_previous(data, features)
        language = self.network.embed_words(data.hidden, data.attention)
        output = self._segment(data, features, None, language)
        return self._losses(data, features, language, output)

    def _class_loss(self, features: object) -> Tensor:
        """What ImageNet's classifier says about one frame of each clip, in words."""
        chosen = slice(CURRENT, None, FRAMES)
        loss = self._taught[0](
            self.network, self.alignment, features.images[chosen], features.levels[LEVEL][chosen]
        )
        return loss * self.config.weights.classes

    @torch.no_grad()
    def _own_previous(self, data: Tensors, features: object) -> None:
        chosen = ((data.first >= 0) & (data.previous >= 0) & data.has_target).nonzero()[:, 0]
        if not len(chosen):
            return
        reference = data.previous[chosen]
        asked = Tensors(
            **{
                **vars(data),
                "frame": data.reference_frame[reference],
                "text": data.text[chosen] * 0 - 1,
                "first": data.first[chosen],
                "previous": data.previous[chosen] * 0 - 1,
            }
        )
        output = self._segment(asked, features, "best")
        answer = upsample(output.mask_logits, data.target.shape[-2:]) > 0
        good = answer.flatten(1).any(1) & (output.score_logits > -1.0)
        data.reference_mask[reference[good], 0] = answer[good].float()

    def _losses(
        self, data: Tensors, features: object, language: LanguageReference, output: object
    ) -> tuple[Tensor, dict[str, float]]:
        weights = self.config.weights
        boxes = boxes_of_masks(data.target)
        terms: dict[str, Tensor] = {}
        total = self._proposal_loss(output, boxes, data) * weights.proposals
        terms["proposals"] = total.detach()
        layers = list(output.aux)
        for layer, (logits, predicted) in enumerate(layers):
            found = match(logits, predicted, boxes, data.has_target, self.config.positives)
            l1, giou = box_losses(predicted, boxes, found)
            masks = self.network.masks_for(output, found.index[:, :MASK_QUERIES], layer=layer)
            expected = area_mean(data.target, masks.shape[-2:])
            claimed = found.valid[:, :MASK_QUERIES].float()
            entropy, dice = mask_losses(masks, expected, claimed)
            named = {
                "class": weights.classification * class_loss(logits, found),
                "l1": weights.l1 * l1,
                "giou": weights.giou * giou,
                "mask": weights.mask * entropy,
                "dice": weights.dice * dice,
            }
            if weights.contour > 0:
                named["contour"] = weights.contour * contour_loss(
                    masks, expected, claimed * data.exact[:, None]
                )
            factor = 1.0 if layer == len(layers) - 1 else weights.auxiliary
            total = total + factor * sum(named.values())
            terms.update({name: value.detach() for name, value in named.items()})
        maps = [*output.memory[:3], output.mask_features]
        dense = self.dense(maps, data.target, data.has_target) * weights.dense
        terms["dense"] = dense.detach()
        total = total + dense
        aligned = self._alignment_loss(data, features, language)
        terms["align"] = aligned.detach()
        total = total + aligned
        if self._taught:
            named = self._class_loss(features)
            terms["names"] = named.detach()
            total = total + named
        iou = _best_iou(data, output)
        if weights.presence > 0:
            present = weights.presence * presence_loss(output.score_logits, iou * data.has_target)
            terms["presence"] = present.detach()
            total = total + present
        figures = {name: float(value) for name, value in terms.items()}
        figures["loss"] = float(total.detach())
        # 0 says that the mask head has died: see training/revive.py
        figures["features"] = float(output.mask_features.detach().flatten(2).std(2).mean())
        return total, figures | _by_kind(data, output, iou)

    def _alignment_loss(self, data: Tensors, features: object, language: LanguageReference) -> Tensor:
        rows = (data.text >= 0).nonzero()[:, 0]
        if not len(rows):
            return data.hidden.new_zeros(())
        maps = [level[data.frame[rows]] for level in features.levels[:3]]
        loss = self.alignment(
            maps, language.sentence[data.text[rows]], data.target[rows], data.has_target[rows]
        )
        return loss * self.config.weights.alignment

    def _proposal_loss(self, output: object, boxes: Tensor, data: Tensors) -> Tensor:
        logits, predicted = output.proposals.logits, output.proposals.boxes
        weights = self.config.weights
        found = match(logits, predicted, boxes, data.has_target, self.config.positives)
        l1, giou = box_losses(predicted, boxes, found)
        return weights.classification * class_loss(logits, found) + weights.l1 * l1 + weights.giou * giou


@torch.no_grad()
def _best_iou(data: Tensors, output: object) -> Tensor:
    """IoU [N] of the best query's mask with the target (1 where both are empty)."""
    return mask_iou(upsample(output.best_mask, data.target.shape[-2:]) > 0, data.target)


@torch.no_grad()
def _by_kind(data: Tensors, output: object, iou: Tensor) -> dict[str, float]:
    """Mean IoU of each kind of pair, and the mean score where there is nothing to be found."""
    score = output.scores
    figures = {}
    for kind in Kind:
        rows = data.kind == int(kind)
        if rows.any():
            name = f"{'score' if kind.is_negative else 'iou'}/{kind.name.lower()}"
            figures[name] = float((score if kind.is_negative else iou)[rows].mean())
    return figures


def upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Mask logits [N,h,w] -> [N,H,W], bilinear between pixel centres."""
    return F.interpolate(logits[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def mask_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boolean masks [N,H,W] -> [N]; two empty masks give 1."""
    inside, union = (a & b).flatten(1).sum(1), (a | b).flatten(1).sum(1)
    return torch.where(union == 0, torch.ones_like(union, dtype=torch.float32), inside / union.clamp(min=1))
