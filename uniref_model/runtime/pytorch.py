"""PyTorch: the network from a .safetensors file (of `uniref convert` or a training run).

For models that are not exported, such as the authors' R50 and Swin-L. It needs the `train` extra. Only this
module of the runtimes imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelFileError, RuntimeUnavailable
from ..network.config import InputConfig, ModelConfig
from ..network.loading import has_text_encoder, load_model
from ..network.model import ImageFeatures, UniRef
from ..network.text import LanguageReference as LanguageBatch
from ..network.value_encoder import MaskReference as MaskBatch
from .base import (
    FrameFeatures,
    LanguageReference,
    MaskReference,
    ModelSpec,
    ObjectReferences,
    Prediction,
    Runtime,
)
from .memory import give_back_heap
from .text import PromptCache, PromptTokenizer

BATCH = 8
"""Objects in one pass, so that memory has a bound."""

Tokenizer = Callable[[str], tuple[np.ndarray, np.ndarray, bool]]
"""A prompt to ids and attention, int64 [1,L], and whether words were dropped."""


@dataclass(frozen=True, eq=False)
class TorchFrame(FrameFeatures):
    """lateral and levels stay on the device, inside `features` (a batch of 1)."""

    features: ImageFeatures


@dataclass(frozen=True, eq=False)
class TorchReference(MaskReference):
    """Tensors on the device; padding: 4 levels of bool [T_l], True = padding, or None for models without."""

    padding: tuple[Tensor, ...] | None


class TorchRuntime(Runtime):
    """Runs a `UniRef` in float32.

    Args:
        model: a .safetensors file with its config in the header, or a network in eval mode.
        size: "480x864" (height x width) or a pair. None: for models that keep the aspect, the config's short
            side by 16:9; for those that stretch, the config's first size.
        threads: CPU threads of the whole process; None leaves torch's choice.
        device: "cpu" or "cuda".
        tokenizer: a tokenizer.json, or a function in place of one; None looks beside the weights. Without one
            the model follows masks and clicks, and prompts raise ModelFileError.
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
        fusion: str | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}, expected at least 1")
        self.device = _device(device)
        if isinstance(model, UniRef):
            network = model
        else:
            network = _load(Path(model), fusion)
            tokenizer = Path(model).parent / "tokenizer.json" if tokenizer is None else tokenizer
        if threads is not None:
            torch.set_num_threads(threads)
        self._network: UniRef | None = network.to(self.device)
        self._tokenizer = tokenizer
        self.size = _size(network.config, size)
        self.spec = _spec(network.config, self.size)
        self._lock = Lock()
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
            features = self._loaded().encode_image(x[None], pad_mask)
        return TorchFrame(image, features.lateral, tuple(features.levels), features)

    @torch.inference_mode()
    def encode_reference(self, frame: TorchFrame, masks: np.ndarray) -> list[TorchReference]:
        if masks.ndim != 3 or masks.shape[1:] != self.size:
            raise ValueError(f"masks have shape {masks.shape}, expected (objects, *{self.size})")
        references: list[TorchReference] = []
        for start in range(0, len(masks), BATCH):
            chunk = torch.from_numpy(np.ascontiguousarray(masks[start : start + BATCH], np.float32))
            with self._lock:
                batch = self._loaded().encode_reference(frame.features, chunk[:, None].to(self.device))
            references += [_row(batch, row) for row in range(len(chunk))]
        return references

    @torch.inference_mode()
    def segment(self, frame: TorchFrame, objects: Sequence[ObjectReferences]) -> list[Prediction]:
        """Objects that are looked for with the same kinds of reference share a batch: none is masked out."""
        kinds: dict[tuple[bool, bool, bool], list[int]] = {}
        for index, item in enumerate(objects):
            kind = item.language is not None, item.first is not None, item.previous is not None
            kinds.setdefault(kind, []).append(index)
        predictions: dict[int, Prediction] = {}
        for rows in kinds.values():
            for start in range(0, len(rows), BATCH):
                chunk = rows[start : start + BATCH]
                answers = self._segment([objects[row] for row in chunk], frame)
                predictions |= dict(zip(chunk, answers, strict=True))
        return [predictions[index] for index in range(len(objects))]

    def close(self) -> None:
        with self._lock:
            self._network = None
        self.trim()

    def trim(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        give_back_heap()

    def _segment(self, objects: list[ObjectReferences], frame: TorchFrame) -> list[Prediction]:
        parts = [[item.first for item in objects], [item.previous for item in objects]]
        masks = [_stack(part) for part in parts if part[0] is not None]
        language = None
        if objects[0].language is not None:
            language = _stack_words([item.language for item in objects], self.device)
        rows = torch.zeros(len(objects), dtype=torch.int64, device=self.device)
        with self._lock:
            output = self._loaded().segment(
                frame.features.select(rows), language, MaskBatch.join(masks) if masks else None
            )
        boxes = output.boxes.gather(1, output.best[:, None, None].expand(-1, 1, 4))[:, 0].cpu().numpy()
        scores, logits = output.scores.tolist(), output.mask_logits.float().cpu().numpy()
        return [Prediction(scores[row], boxes[row], logits[row]) for row in range(len(objects))]

    @torch.inference_mode()
    def _encode_text(self, text: str) -> LanguageReference:
        if not callable(self._tokenizer):
            self._tokenizer = self._open_tokenizer()
        ids, attention, truncated = self._tokenizer(text)
        with self._lock:
            network = self._loaded()
            if network.text_encoder is None:
                raise ModelFileError(f"model {self.spec.name!r} was stored without text encoder: use masks")
            language = network.encode_text(*(torch.from_numpy(x).to(self.device) for x in (ids, attention)))
        words, sentence = (x[0].cpu().numpy() for x in (language.words, language.sentence))
        return LanguageReference(words, attention[0].astype(np.float32), sentence, truncated=truncated)

    def _open_tokenizer(self) -> Tokenizer:
        path = None if self._tokenizer is None else Path(self._tokenizer)
        if path is None or not path.is_file():
            encoder = self._loaded().config.text.encoder
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
        return load_model(path, with_text=has_text_encoder(path), fusion=fusion)
    except ValueError as error:
        raise ModelFileError(f"{path}: {error}") from error


def _device(name: str) -> torch.device:
    if name not in ("cpu", "cuda"):
        raise RuntimeUnavailable(f"PyTorch has no device {name!r} here, expected cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise RuntimeUnavailable("this PyTorch sees no CUDA device: use device 'cpu'")
    return torch.device(name)


def _spec(config: ModelConfig, size: tuple[int, int]) -> ModelSpec:
    keeps_aspect = config.input.resize == "shortest_edge"
    return ModelSpec(
        name=config.name,
        hidden=config.hidden,
        max_words=config.text.max_words,
        sizes=(size,),
        mean=config.input.mean,
        std=config.input.std,
        resize=config.input.resize,
        mask_upsample="by_task" if keeps_aspect else ModelSpec.mask_upsample,
    )


def _size(config: ModelConfig, size: str | tuple[int, int] | None) -> tuple[int, int]:
    options: InputConfig = config.input
    stretch = options.resize == "stretch"
    step = 64 if stretch else options.pad_to
    if size is None:
        if stretch:
            return tuple(options.sizes[0])
        height, width = options.short_side, options.short_side * 16 / 9
        return tuple(int(-(-side // step) * step) for side in (height, width))
    try:
        height, width = (int(v) for v in (size.lower().split("x") if isinstance(size, str) else size))
    except ValueError:
        height = width = 0
    if height <= 0 or width <= 0 or height % step or width % step:
        raise ModelFileError(
            f"model {config.name!r} cannot take the size {size!r}: expected HEIGHTxWIDTH, multiples of {step}"
        )
    return height, width


def _row(batch: MaskBatch, row: int) -> TorchReference:
    # Cloned: a row that is a view would keep the whole batch alive for as long as one object keeps its
    # reference. Keys and embeds are the frame's, the same memory for every row.
    return TorchReference(
        tuple(key[row] for key in batch.keys),
        tuple(value[row].clone() for value in batch.values),
        tuple(embed[row] for embed in batch.embeds),
        None if batch.padding is None else tuple(padding[row] for padding in batch.padding),
    )


def _stack(references: Sequence[TorchReference]) -> MaskBatch:
    def levels(parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        return [torch.stack(level) for level in zip(*parts, strict=True)]

    return MaskBatch(
        levels([reference.keys for reference in references]),
        levels([reference.values for reference in references]),
        None if references[0].padding is None else levels([item.padding for item in references]),
        levels([reference.embeds for reference in references]),
    )


def _stack_words(languages: Sequence[LanguageReference], device: torch.device) -> LanguageBatch:
    def stack(arrays: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device)

    return LanguageBatch(
        stack([language.words for language in languages]),
        stack([language.word_mask for language in languages]) == 0,
        stack([language.sentence for language in languages]),
    )
