"""What a slice of a recording hands to the next one: of every object the last frame in which it was seen, and
its mask there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..errors import SourceError
from ..limits import LimitError, quoted
from ..offline.wanted import Wanted
from ..outputs import make_folder, show, write_whole
from ..pictures import read_image, read_masks, write_png
from ..prompts import Prompt
from ..reading import read_text
from ..tracking import TrackedFrame, TrackedObject
from ..video import SourceFrame

_LIST = "objects.json"
_MOST_BYTES = 4 * 1024 * 1024  # of the list: some 255 objects


class HandOver:
    """A `FrameWriter` that holds one picture an object, and writes them when the slice is over."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, tuple[TrackedObject, int, np.ndarray, np.ndarray]] = {}

    def write(self, frame: SourceFrame, result: TrackedFrame, values: np.ndarray) -> None:
        """See `FrameWriter`."""
        here = {item.id for item in result.objects}
        self._seen = {name: kept for name, kept in self._seen.items() if name in here}
        for item in result.objects:
            if item.box is not None:
                mask = result.label_image == item.slot
                self._seen[item.id] = (item, int(values[item.slot]), frame.image, mask)

    def close(self) -> None:
        """Write them. Raises SourceError."""
        make_folder(self._folder)
        entries = []
        for number, (item, value, image, mask) in enumerate(self._seen.values()):
            write_png(self._folder / f"{number}.image.png", image[..., ::-1])
            write_png(self._folder / f"{number}.mask.png", mask.astype(np.uint8) * 255)
            entries.append({"label": item.label, "text": item.prompt, "value": value})
        write_whole(self._folder / _LIST, json.dumps(entries, indent=1) + "\n")


def read_handover(folder: Path, max_pixels: int) -> list[Wanted]:
    """The objects that a slice handed over. Raises SourceError."""
    try:
        entries = json.loads(read_text(folder / _LIST, _MOST_BYTES, ordinary=True))
        return [
            Wanted(
                Prompt(
                    entry["text"] or None,
                    mask=read_masks(folder / f"{number}.mask.png", "object", max_pixels)[0].mask,
                    image=read_image(folder / f"{number}.image.png", max_pixels),
                ),
                entry["value"],
                entry["label"],
            )
            for number, entry in enumerate(entries)
        ]
    except (OSError, ValueError, LimitError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(
            f"what was handed over in {show(folder)} cannot be read: {quoted(error)}"
        ) from error
