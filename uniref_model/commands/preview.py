"""A sheet of generated training clips: one row a clip, one column a frame, objects outlined."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from ..errors import SourceError
from ..outputs import keep_apart
from ..pictures import write_png
from ..synth.compose import ClipGenerator
from ..synth.config import ClipConfig
from ..synth.examples import to_example
from ..synth.packs.sprites import SpritePack
from ..synth.pairs import Example
from ..synth.stills import StillExamples
from ..tracking.overlay import slot_colour

STILL_SIZE = (192, 320)


def preview(
    out: Path, clips: int, seed: int, pack: Path | None, config: Path | None, stills: Path | None = None
) -> Iterator[str]:
    """Write the sheet and yield one line for every phrase. Raises SourceError when a file cannot be read or
    written."""
    for path in (pack, config):
        if path is not None and not path.is_file():
            raise SourceError(f"no such file: {path}")
    if out.suffix.lower() != ".png":
        raise SourceError(f"cannot write {out}: expected a name that ends in .png")
    keep_apart([out], [] if stills is None else stills.rglob("*.png"))
    if stills is None:
        try:
            settings = ClipConfig() if config is None else ClipConfig.from_yaml(config)
            sprites = SpritePack.empty() if pack is None else SpritePack.load(pack)
        except ValueError as error:
            raise SourceError(str(error)) from error
        generator = ClipGenerator(sprites, settings, seed=seed)
        generated = [generator.clip(index) for index in range(clips)]
        made = [to_example(clip) for clip in generated]
        names = [[thing.name for thing in clip.objects] for clip in generated]
    else:
        made = list(islice(StillExamples(stills)(STILL_SIZE, seed), clips))
        names = [list(example.identities) for example in made]
    sheet = np.concatenate([_row(example) for example in made])
    write_png(out, sheet[..., ::-1])
    for index, example in enumerate(made):
        for number, (name, phrases) in enumerate(zip(names[index], example.expressions, strict=True), 1):
            texts = "; ".join(f"{phrase.text} {list(phrase.frames)}" for phrase in phrases)
            yield f"clip {index} object {number} ({name}): {texts}"
        yield f"clip {index} absent: {'; '.join(example.absent)}"


def _row(example: Example) -> np.ndarray:
    return np.concatenate(
        [_outlined(image, labels) for image, labels in zip(example.images, example.labels, strict=True)],
        axis=1,
    )


def _outlined(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    drawn = image.copy()
    for value in np.unique(labels[labels > 0]):
        mask = (labels == value).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, slot_colour(int(value)), 1)
    return drawn
