"""Contact sheets of clips, to look at with one's own eyes before training on them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from .compose import Clip, ClipConfig, ClipGenerator
from .sprites import SpritePack

_INK = (20, 20, 20)
_TEXT_WIDTH = 460


def label_colours() -> np.ndarray:
    """A colour for each label value, uint8 [256,3] RGB; 0 is black."""
    hues = (np.arange(256) * 67 % 180).astype(np.uint8)
    hsv = np.stack([hues, np.full(256, 190, np.uint8), np.full(256, 235, np.uint8)], -1)
    colours = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]
    colours[0] = 0
    return colours


def draw_clip(clip: Clip) -> np.ndarray:
    """The three frames, the current labels, and what may be said of each object. RGB uint8 [h,w,3]."""
    palette = label_colours()
    labels = palette[clip.labels[-1]]
    tinted = cv2.addWeighted(clip.images[-1], 0.4, labels, 0.6, 0)
    pictures = np.hstack([*clip.images, tinted])
    lines: list[tuple[str, tuple[int, ...]]] = []
    for item, phrases in zip(clip.objects, clip.expressions, strict=True):
        ink = tuple(int(c) // 2 for c in palette[item.index])
        shares = " ".join(f"{share:.0%}" for share in item.visible)
        lines.append(
            (f"{item.index} {item.name} {'/'.join(item.colours)} [{shares}]{' held' * item.held}", ink)
        )
        lines += [(f"   {phrase.text} {phrase.frames}", _INK) for phrase in phrases]
    lines += [(f"absent: {text}", (190, 0, 0)) for text in clip.absent]
    height = max(pictures.shape[0], 13 * len(lines) + 6)
    sheet = np.full((height, pictures.shape[1] + _TEXT_WIDTH, 3), 255, np.uint8)
    sheet[: pictures.shape[0], : pictures.shape[1]] = pictures
    for row, (text, ink) in enumerate(lines):
        at = (pictures.shape[1] + 6, 13 * (row + 1))
        cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.36, ink, 1, cv2.LINE_AA)
    return sheet


def preview(
    out: Path | str,
    pack: Path | str | None = None,
    config: ClipConfig | None = None,
    indices: Iterable[int] = range(8),
    seed: int = 0,
    validation: bool = False,
) -> Path:
    """Write a picture of some clips to `out` and return its path.

    pack: the file build_pack() wrote, or None for procedural objects only; validation: its held-out tenth.
    Raises ValueError when the picture cannot be written.
    """
    sprites = SpritePack.empty() if pack is None else SpritePack.load(pack).split(validation)
    generator = ClipGenerator(sprites, config, seed)
    rows = [draw_clip(generator.clip(index)) for index in indices]
    if not rows:
        raise ValueError("no clip to show: indices is empty")
    out = Path(out)
    if not cv2.imwrite(str(out), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)):
        raise ValueError(f"cannot write a picture to {out}; expected a name that ends in .png or .jpg")
    return out
