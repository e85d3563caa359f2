"""Who answers: our tracker over a runtime, or the authors' protocol in PyTorch, behind one small
interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..datasets.errors import DatasetError
from ..datasets.evaluation import ReferringImage, Video
from ..datasets.pngs import read_image
from ..errors import RuntimeUnavailable
from ..runtime.base import Runtime
from ..tracking import TrackedFrame, Tracker, TrackerConfig
from .clips import innermost_point, tight_box
from .presets import EvalPreset

if TYPE_CHECKING:
    from ..network.model import UniRef
    from ..network.text import LanguageReference

Labels = Iterator[tuple[str, np.ndarray]]
"""(frame stem, label image [h,w] at the file's size) in order of time."""


class Predictor(Protocol):
    """A method under test. Answers are at the original size; frames before anything is known may be left
    out."""

    def describe(self) -> dict[str, Any]:
        """Facts that change its answers, as plain JSON: a run resumes only under the same ones."""
        ...

    def vos(self, video: Video) -> Labels:
        """Follow the given masks: label images whose values are the data set's object ids."""
        ...

    def referring(self, video: Video, phrase: str) -> Labels:
        """Follow one phrase: label images of 0 and 1, for every frame."""
        ...

    def referring_together(self, video: Video, phrases: Sequence[str]) -> Labels:
        """Follow several phrases at once: label images of 0 and 1..N in the order of phrases, for every
        frame."""
        ...

    def image(self, sample: ReferringImage, phrase: str) -> np.ndarray:
        """Find one phrase in an image: bool [h,w]."""
        ...


class TrackerPredictor:
    """Our tracker under streaming rules: one pass, each answer final when its frame has been seen."""

    def __init__(self, runtime: Runtime, preset: EvalPreset, config: TrackerConfig | None = None) -> None:
        self._runtime = runtime
        self._threshold, self._given = preset.threshold, preset.given
        self._config = config or TrackerConfig()

    def describe(self) -> dict[str, Any]:
        facts = {"threshold": self._threshold, "references": self._config.references}
        return {"predictor": "tracker", **self._runtime.describe(), **facts}

    def vos(self, video: Video) -> Labels:
        tracker = self._tracker(len(video.objects))
        ids: dict[str, int] = {}
        for stem, image in video.images():
            for number, mask in video.given(stem).items():
                ids[self._point_at(tracker, mask, str(number))] = number
            if ids:
                yield stem, _relabel(tracker.step(image), ids)

    def referring(self, video: Video, phrase: str) -> Labels:
        return self.referring_together(video, [phrase])

    def referring_together(self, video: Video, phrases: Sequence[str]) -> Labels:
        tracker = self._tracker(len(phrases))
        ids = {tracker.add_text(phrase): number for number, phrase in enumerate(phrases, 1)}
        for stem, image in video.images():
            yield stem, _relabel(tracker.step(image), ids)

    def image(self, sample: ReferringImage, phrase: str) -> np.ndarray:
        tracker = self._tracker(1)
        tracker.add_text(phrase)
        return tracker.step(read_image(sample.path)).label_image > 0

    def _point_at(self, tracker: Tracker, mask: np.ndarray, object_id: str) -> str:
        if self._given == "click":
            return tracker.add_points([innermost_point(mask)], object_id=object_id)
        if self._given == "box":
            return tracker.add_box(tight_box(mask), object_id=object_id)
        return tracker.add_mask(mask, object_id=object_id)

    def _tracker(self, objects: int) -> Tracker:
        thresholds = {"mask_threshold": self._threshold, "language_threshold": self._threshold}
        config = replace(self._config, max_objects=max(objects, self._config.max_objects), **thresholds)
        return Tracker(self._runtime, config)


class AuthorsPredictor:
    """The authors' inference, frame by frame as in their released code, for any UniRef in PyTorch.

    encode_text: a phrase -> the model's language reference (network side, batch of 1).
    """

    def __init__(
        self,
        model: UniRef,
        encode_text: Callable[[str], LanguageReference],
        preset: EvalPreset,
        facts: dict[str, Any],
    ) -> None:
        self._model, self._encode_text, self._facts = model, encode_text, facts
        self._threshold = preset.threshold
        self._input = replace(model.config.input, short_side=preset.short_side, max_side=preset.max_side)

    def describe(self) -> dict[str, Any]:
        size = {"short_side": self._input.short_side, "max_side": self._input.max_side}
        return {"predictor": "authors", **self._facts, "threshold": self._threshold, **size}

    def vos(self, video: Video) -> Labels:
        from . import authors

        frames = (
            authors.VideoFrame(
                self._resize(image), {i: self._resize_mask(mask) for i, mask in video.given(stem).items()}
            )
            for stem, image in video.images()
        )
        answers = authors.vos(self._model, frames, video.size(), self._threshold)
        return (
            (stem, labels) for stem, labels in zip(video.frames, answers, strict=True) if labels is not None
        )

    def referring(self, video: Video, phrase: str) -> Labels:
        from . import authors

        language = self._encode_text(phrase)
        answers = authors.rvos_vl(self._model, self._images(video), language, video.size(), self._threshold)
        return ((stem, mask) for stem, (mask, _) in zip(video.frames, answers, strict=True))

    def referring_together(self, video: Video, phrases: Sequence[str]) -> Labels:
        from . import authors

        size = video.size()
        maps = [
            authors.refdavis(self._model, self._images(video), self._encode_text(phrase), size)
            for phrase in phrases
        ]
        return zip(video.frames, authors.merge_expressions(maps), strict=True)

    def image(self, sample: ReferringImage, phrase: str) -> np.ndarray:
        import torch

        from . import authors

        with torch.inference_mode():
            features = authors.encode(self._model, self._resize(read_image(sample.path)))
            output = self._model.segment(features, self._encode_text(phrase))
            return authors.image_mask(output, sample.size).cpu().numpy()

    def _images(self, video: Video) -> Iterator[np.ndarray]:
        return (self._resize(image) for _, image in video.images())

    def _resize(self, image: np.ndarray) -> np.ndarray:
        from . import authors

        # a copy, because torch warns about Pillow's read-only memory
        return authors.resize_image(image, authors.model_size(*image.shape[:2], self._input)).copy()

    def _resize_mask(self, mask: np.ndarray) -> np.ndarray:
        # Pillow's nearest samples pixel centres, torch's their corners: the authors' loader used Pillow
        from PIL import Image

        from . import authors

        size = authors.model_size(*mask.shape, self._input)
        return (
            np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(size[::-1], Image.Resampling.NEAREST))
            > 0
        )


def _relabel(frame: TrackedFrame, ids: dict[str, int]) -> np.ndarray:
    """A tracked frame's label image with slots replaced by the data set's ids, uint8 [h,w]."""
    table = np.zeros(256, np.uint8)
    for item in frame.objects:
        table[item.slot] = ids[item.id]
    for note in frame.notes:
        if note.level == "error":
            raise DatasetError(f"object {note.object_id}: {note.message}")
    return table[frame.label_image]


def load_authors_predictor(
    preset: EvalPreset,
    weights: Path,
    tokenizer: Path | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    fusion: str | None = None,
    references: str | None = None,
) -> AuthorsPredictor:
    """The authors' protocol for a converted model file; tokenizer.json is looked for beside it if not given.

    fusion, references: choices other than the file's (`ModelConfig.with_fusion`), the ablations of the paper.

    Raises ModelFileError for a missing or unfit file, RuntimeUnavailable without PyTorch, ValueError for a
    preset that gives no masks.
    """
    if preset.given != "mask":
        raise ValueError(f"{preset.id}: the authors' protocol is given masks, not a {preset.given}")
    try:
        import torch

        from ..network.loading import load_model
    except ImportError as error:
        raise RuntimeUnavailable(
            f"the authors' protocol needs PyTorch and the 'train' extra: {error}"
        ) from error
    from ..runtime.text import PromptTokenizer

    if threads is not None:
        torch.set_num_threads(threads)
    with_text = preset.protocol != "vos"
    model = load_model(weights, with_text=with_text, fusion=fusion, references=references).to(device)
    words = tokenizer or weights.with_name("tokenizer.json")
    tokenize = PromptTokenizer(words, model.config.text.max_words) if with_text else None

    @torch.inference_mode()
    def encode_text(phrase: str) -> LanguageReference:
        ids, attention, _ = tokenize(phrase)
        return model.encode_text(torch.from_numpy(ids).to(device), torch.from_numpy(attention).to(device))

    chosen = {"fusion": model.config.fusion.mode, "references": model.config.fusion.references}
    facts = {"model": model.config.name, "weights": weights.name, **chosen}
    return AuthorsPredictor(model, encode_text, preset, facts)
