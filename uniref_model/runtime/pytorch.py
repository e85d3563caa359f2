"""PyTorch: the network from a .safetensors file (of `uniref convert` or a training run).

For models that are not exported, such as the authors' R50 and Swin-L. It needs the `train` extra. Only this
module of the runtimes imports torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from ..errors import ModelFileError, RuntimeUnavailable
from ..network.config import PACKAGED_ENCODER, InputConfig, ModelConfig
from ..network.likeness import Sought
from ..network.loading import check_finite, has_text_encoder, load_model
from ..network.model import ImageFeatures, UniRef, sought
from ..network.text import LanguageReference as LanguageBatch
from ..network.text import load_minilm, minilm_folder
from ..network.value_encoder import MaskReference as MaskBatch
from .attention import mask_references
from .base import (
    FrameFeatures,
    LanguageReference,
    MaskReference,
    ModelSpec,
    ObjectReferences,
    Prediction,
    Runtime,
    own_frame,
)
from .files import check_threads
from .memory import give_back_heap
from .spec import conventions
from .text import PromptCache, PromptTokenizer, Tokenizer

BATCH = 8
"""Objects in one pass, so that memory has a bound."""


@dataclass(frozen=True, eq=False)
class TorchFrame(FrameFeatures):
    """Everything on the device: features (a batch of 1), and what a reference keeps of the frame, as in
    `TorchReference`."""

    features: ImageFeatures
    keys: tuple[Tensor, ...]
    embeds: tuple[Tensor, ...]
    padding: tuple[Tensor, ...] | None


@dataclass(frozen=True, eq=False)
class TorchReference(MaskReference):
    """Tensors on the device; padding: 4 levels of bool [T_l], True = padding, or None for models without."""

    padding: tuple[Tensor, ...] | None
    projected: bool


class TorchRuntime(Runtime):
    """Runs a `UniRef` in float32.

    Args:
        model: a .safetensors file with its config in the header, or a network in eval mode.
        size: "480x864" (height x width) or a pair. None: for models that keep the aspect, the config's short
            side by 16:9; for those that stretch, the config's first size.
        threads: CPU threads of the whole process; None leaves torch's choice.
        device: "cpu", "cuda", or "auto" for cuda where there is one.
        tokenizer: a tokenizer.json, or a function in place of one; None looks beside the weights, and for
            nano in MiniLM's package. Without one the model follows masks and clicks, and prompts raise
            ModelFileError.
        attention: "shared" computes the attention's probabilities once for all objects that refer to the same
            frames, "batched" for every object; None takes shared on a CPU.
        all_masks: make every query's mask, as the authors do; the answer is the same.
        fusion: how words and masks are fused, if not as the file says (`ModelConfig.with_fusion`).
    Raises ModelFileError, RuntimeUnavailable (no such device); ImportError where timm or transformers is
    missing.
    """

    name = "torch"
    buckets = (1,)  # nothing is padded, so there are no spare rows

    def __init__(
        self,
        model: str | Path | UniRef,
        *,
        size: str | tuple[int, int] | None = None,
        threads: int | None = None,
        device: str = "cpu",
        tokenizer: str | Path | Tokenizer | None = None,
        attention: str | None = None,
        all_masks: bool = False,
        fusion: str | None = None,
    ) -> None:
        check_threads(threads)
        if attention not in (None, "shared", "batched"):
            raise ValueError(f"attention is {attention!r}, expected 'shared', 'batched' or None")
        self.device = _device(device)
        self.attention = attention or ("shared" if self.device.type == "cpu" else "batched")
        if isinstance(model, UniRef):
            network = model
        else:
            network = _load(Path(model), fusion)
            tokenizer = Path(model).parent / "tokenizer.json" if tokenizer is None else tokenizer
        if threads is not None:
            torch.set_num_threads(threads)
        self._network: UniRef | None = network.to(self.device)
        self._tokenizer = tokenizer
        self.all_masks = all_masks
        self.size = _size(network.config, size)
        self.spec = _spec(network.config, self.size)
        self._lock = Lock()
        self._numbers = itertools.count(1)
        self.encode_prompt = PromptCache(self._encode_text)

    def describe(self) -> dict[str, str]:
        facts = {"device": self.device.type, "version": torch.__version__}
        return super().describe() | facts | {"fusion": self._loaded().config.fusion.mode}

    def encode_text(self, text: str) -> LanguageReference:
        return self.encode_prompt(text)

    def encode_image(self, image: np.ndarray) -> TorchFrame:
        return self.encode_fitted(image, self.size)

    @torch.inference_mode()
    def encode_fitted(self, image: np.ndarray, shown: tuple[int, int]) -> TorchFrame:
        if image.shape != (*self.size, 3) or image.dtype != np.uint8:
            raise ValueError(
                f"image is {image.dtype} {image.shape}, expected uint8 {(*self.size, 3)}: resize "
                "before encoding"
            )
        pad_mask = None
        x = torch.from_numpy(np.ascontiguousarray(image)).to(self.device).permute(2, 0, 1).float()
        mean, std = (x.new_tensor(values)[:, None, None] for values in (self.spec.mean, self.spec.std))
        x = (x - mean) / std
        if self.spec.resize == "shortest_edge":
            pad_mask = torch.ones(1, *self.size, dtype=torch.bool, device=self.device)
            pad_mask[:, : shown[0], : shown[1]] = False
            x = x.masked_fill(pad_mask, 0.0)
        with self._lock:
            network = self._loaded()
            features = network.encode_image(x[None], pad_mask)
            keys, padding, embeds = network.value_encoder.keys(features.levels, features.padding)
            if network.fusion.projects_ahead:
                keys = [network.fusion.project_keys(key) for key in keys]
        return TorchFrame(
            image,
            next(self._numbers),
            features,
            tuple(key[0] for key in keys),
            tuple(embed[0] for embed in embeds),
            None if padding is None else tuple(part[0] for part in padding),
        )

    @torch.inference_mode()
    def encode_reference(self, frame: FrameFeatures, masks: np.ndarray) -> list[MaskReference]:
        ours = own_frame(frame, TorchFrame)
        if masks.ndim != 3 or masks.shape[1:] != self.size:
            raise ValueError(f"masks have shape {masks.shape}, expected (objects, *{self.size})")
        references: list[MaskReference] = []
        for start in range(0, len(masks), BATCH):
            chunk = torch.from_numpy(np.ascontiguousarray(masks[start : start + BATCH], np.float32))
            with self._lock:
                fusion, network = self._loaded().fusion, self._loaded()
                values = network.encode_values(ours.features, chunk[:, None].to(self.device))
                if fusion.projects_ahead:
                    values = [fusion.project_values(value) for value in values]
                looks = network.look_of(ours.features, chunk[:, None].to(self.device))
            references += [
                TorchReference(
                    ours.keys,
                    # Cloned: a view would keep the whole batch alive for as long as one object keeps its
                    # reference.
                    tuple(value[row].clone() for value in values),
                    ours.embeds,
                    ours.padding,
                    fusion.projects_ahead,
                    frame=ours.number,
                    look=None if looks is None else looks[row].clone(),
                )
                for row in range(len(chunk))
            ]
        return references

    @torch.inference_mode()
    def segment(self, frame: FrameFeatures, objects: Sequence[ObjectReferences]) -> list[Prediction]:
        """Objects that are looked for with the same kinds of reference see them in one batch, so that none is
        masked out; with shared attention, those that refer to the same frames. All share what follows."""
        predictions: list[Prediction] = []
        for start in range(0, len(objects), BATCH):
            predictions += self._segment(objects[start : start + BATCH], own_frame(frame, TorchFrame))
        return predictions

    def close(self) -> None:
        with self._lock:
            self._network = None
        self.trim()

    def trim(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        give_back_heap()

    def _segment(self, objects: Sequence[ObjectReferences], frame: TorchFrame) -> list[Prediction]:
        order: list[int] = []
        fused: list[list[Tensor]] = []
        wanted: list[Sought] = []
        with self._lock:
            network = self._loaded()
            for rows in self._groups(objects):
                order += rows
                language, mask = self._references([objects[row] for row in rows])
                fused.append(network.fuse(frame.features, language, mask))
                wanted.append(sought(language, mask))
            joined = [torch.cat(parts) for parts in zip(*fused, strict=True)]
            output = network.segment_fused(joined, frame.features, "all" if self.all_masks else "best")
            if network.likeness is not None:
                masks = output.best_mask.split([len(part[0]) for part in fused])
                asked = zip(masks, wanted, strict=True)
                output.likeness = torch.cat([network.compare(frame.features, *pair) for pair in asked])
        scores, boxes = output.scores.tolist(), output.box.cpu().numpy()
        logits = output.best_mask.float().cpu().numpy()
        answers = {row: Prediction(scores[i], boxes[i], logits[i]) for i, row in enumerate(order)}
        return [answers[row] for row in range(len(objects))]

    def _groups(self, objects: Sequence[ObjectReferences]) -> list[list[int]]:
        """Rows that are fused together."""
        groups: dict[tuple, list[int]] = {}
        for row, item in enumerate(objects):
            masks = mask_references(item)
            kind = tuple(part.frame for part in masks) if self.attention == "shared" else len(masks)
            groups.setdefault((item.language is not None, kind), []).append(row)
        return list(groups.values())

    def _references(self, objects: list[ObjectReferences]) -> tuple[LanguageBatch | None, MaskBatch | None]:
        """What the objects of one group are recognised by."""
        places = zip(*(mask_references(item) for item in objects), strict=True)
        masks = [_stack(place, self.attention == "shared") for place in places]
        language = None
        words = [item.language for item in objects if item.language is not None]
        if words:
            language = _stack_words(words, self.device)
        return language, MaskBatch.join(masks) if masks else None

    @torch.inference_mode()
    def _encode_text(self, text: str) -> LanguageReference:
        tokenizer = self._tokenizer
        if not callable(tokenizer):
            tokenizer = self._tokenizer = self._open_tokenizer(tokenizer)
        ids, attention, truncated = tokenizer(text)
        with self._lock:
            network = self._loaded()
            if network.text_encoder is None:
                network.text_encoder = self._published_encoder(network.config)
            language = network.encode_text(*(torch.from_numpy(x).to(self.device) for x in (ids, attention)))
        words, sentence = (part[0].cpu().numpy() for part in (language.words, language.sentence))
        noun = None if language.noun is None else language.noun[0].cpu().numpy()
        return LanguageReference(words, attention[0].astype(np.float32), sentence, truncated, noun)

    def _published_encoder(self, config: ModelConfig) -> Module:
        if config.text.encoder != PACKAGED_ENCODER:
            raise ModelFileError(f"model {self.spec.name!r} was stored without text encoder: use masks")
        return load_minilm().to(self.device)

    def _open_tokenizer(self, given: str | Path | None) -> Tokenizer:
        path = None if given is None else Path(given)
        encoder = self._loaded().config.text.encoder
        if (path is None or not path.is_file()) and encoder == PACKAGED_ENCODER:
            path = minilm_folder() / "tokenizer.json"
        if path is None or not path.is_file():
            raise ModelFileError(
                f"prompts need the tokenizer.json of {encoder}, expected it at "
                f"{path or 'the weights'}; masks work without"
            )
        return PromptTokenizer(path, self.spec.max_words)

    def _loaded(self) -> UniRef:
        if self._network is None:
            raise RuntimeUnavailable(f"the runtime of model {self.spec.name!r} is closed")
        return self._network


def _load(path: Path, fusion: str | None) -> UniRef:
    if path.suffix != ".safetensors":
        raise ModelFileError(
            f"the torch runtime reads a .safetensors file (see 'uniref convert'), found {str(path)!r}"
        )
    try:
        network = load_model(path, with_text=has_text_encoder(path), fusion=fusion)
    except ValueError as error:
        raise ModelFileError(f"{path}: {error}") from error
    check_finite(network, str(path))
    return network


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise RuntimeUnavailable(f"PyTorch has no device {name!r} here, expected auto, cpu or cuda")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise RuntimeUnavailable("this PyTorch sees no CUDA device: use device 'cpu'")
    return torch.device(name)


def _spec(config: ModelConfig, size: tuple[int, int]) -> ModelSpec:
    return ModelSpec(
        name=config.name,
        hidden=config.hidden,
        max_words=config.text.max_words,
        sizes=(size,),
        mean=config.input.mean,
        std=config.input.std,
        resize=config.input.resize,
        **conventions(config.input.resize),
    )


def _size(config: ModelConfig, size: str | tuple[int, int] | None) -> tuple[int, int]:
    options: InputConfig = config.input
    stretch = options.resize == "stretch"
    step = 64 if stretch else options.pad_to
    if size is None:
        if stretch:
            height, width = options.sizes[0]
            return height, width
        sides = float(options.short_side), options.short_side * 16 / 9
        height, width = (int(-(-side // step) * step) for side in sides)
        return height, width
    try:
        height, width = (int(v) for v in (size.lower().split("x") if isinstance(size, str) else size))
    except ValueError:
        height = width = 0
    if height <= 0 or width <= 0 or height % step or width % step:
        raise ModelFileError(
            f"model {config.name!r} cannot take the size {size!r}: expected HEIGHTxWIDTH, multiples of {step}"
        )
    return height, width


def _stack(references: Sequence[TorchReference], shared: bool) -> MaskBatch:
    """One batch; shared: all references are of one frame, whose keys are there once."""

    def levels(parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        return [torch.stack(level) for level in zip(*parts, strict=True)]

    frames = references[:1] if shared else references
    paddings = [item.padding for item in frames if item.padding is not None]
    looks = [item.look for item in references if item.look is not None]
    return MaskBatch(
        levels([reference.keys for reference in frames]),
        levels([reference.values for reference in references]),
        levels(paddings) if paddings else None,
        levels([reference.embeds for reference in frames]),
        references[0].projected,
        torch.stack(looks) if looks else None,
    )


def _stack_words(languages: Sequence[LanguageReference], device: torch.device) -> LanguageBatch:
    def stack(arrays: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device)

    nouns = [language.noun for language in languages if language.noun is not None]
    return LanguageBatch(
        stack([language.words for language in languages]),
        stack([language.word_mask for language in languages]) == 0,
        stack([language.sentence for language in languages]),
        stack(nouns) if nouns else None,
    )
