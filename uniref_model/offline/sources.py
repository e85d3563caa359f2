"""One door to every kind of recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..bags.reader import is_bag
from ..bags.source import BagSource
from ..errors import SourceError
from ..limits import MAX_PIXELS
from ..outputs import show
from ..video import FrameSource, Selection, open_source


def open_frames(
    source: str,
    topics: Sequence[str] = (),
    selection: Selection | None = None,
    max_pixels: int = MAX_PIXELS,
) -> FrameSource:
    """A bag's images, or what `video.open_source` opens. topics: of a bag. Raises SourceError."""
    path = Path(source)
    if is_bag(path):
        if not path.exists():
            raise SourceError(f"no such bag: {show(source)} does not exist")
        return BagSource(path, topics, selection, max_pixels)
    if topics:
        raise SourceError(f"topics are those of a bag, and {show(source)} is none")
    return open_source(source, max_pixels, selection or Selection())
