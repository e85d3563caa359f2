"""A sheet of generated training clips: one row a clip, one column a frame, objects outlined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ..errors import SourceError
from ..pictures import write_png
from ..synth.compose import Clip, ClipGenerator
from ..synth.config import ClipConfig
from ..synth.packs.sprites import SpritePack
from ..tracking.overlay import slot_colour


def preview(out: Path, clips: int, seed: int, pack: Path | None, config: Path | None) -> Iterator[str]:
    """Write the sheet and yield one line for every phrase. Raises SourceError when a file cannot be read or
    written."""
    for path in (pack, config):
        if path is not None and not path.is_file():
            raise SourceError(f"no such file: {path}")
    settings = ClipConfig() if config is None else ClipConfig.from_yaml(config)
    sprites = SpritePack.empty() if pack is None else SpritePack.load(pack)
    generator = ClipGenerator(sprites, settings, seed=seed)
    made = [generator.clip(index) for index in range(clips)]
    if out.suffix.lower() != ".png":
        raise SourceError(f"cannot write {out}: expected a name that ends in .png")
    sheet = np.concatenate([_row(clip) for clip in made])
    write_png(out, sheet[..., ::-1])
    for index, clip in enumerate(made):
        for number, (thing, phrases) in enumerate(zip(clip.objects, clip.expressions, strict=True), 1):
            texts = "; ".join(f"{phrase.text} {list(phrase.frames)}" for phrase in phrases)
            yield f"clip {index} object {number} ({thing.name}): {texts}"
        yield f"clip {index} absent: {'; '.join(clip.absent)}"


def _row(clip: Clip) -> np.ndarray:
    return np.concatenate(
        [_outlined(image, labels) for image, labels in zip(clip.images, clip.labels, strict=True)], axis=1
    )


def _outlined(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    drawn = image.copy()
    for value in np.unique(labels[labels > 0]):
        mask = (labels == value).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, slot_colour(int(value)), 1)
    return drawn
