"""FSS-1000: a folder a class, in it 1.jpg and its mask 1.png, 2.jpg and 2.png, and so on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...reading import read_text
from ..errors import DatasetError
from ..names import plain_name
from ..pngs import read_image


@dataclass(frozen=True)
class Example:
    """A picture of a class, and the mask of what is of that class."""

    image_path: Path
    mask_path: Path

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """uint8 RGB [h,w,3] and bool [h,w]. Raises DatasetError for a file that is missing or unfit."""
        image = read_image(self.image_path)
        mask = (
            read_image(self.mask_path).max(-1) > 127
        )  # published as black and white in one or three channels
        if mask.shape != image.shape[:2]:
            raise DatasetError(f"{self.mask_path} is {mask.shape} pixels, its picture is {image.shape[:2]}")
        if not mask.any():
            raise DatasetError(f"{self.mask_path} is empty: no pixel is white")
        return image, mask


class Fss1000:
    """The classes of a folder, or those that a text file names, one a line, as the published test split does.

    Raises DatasetError where there is none, or where one has fewer than two examples.
    """

    def __init__(self, root: Path, listed: Path | None = None) -> None:
        self.root = Path(root)
        names = self._found() if listed is None else _read_list(listed)
        self.classes = {name: self._examples(name) for name in names}

    def _found(self) -> list[str]:
        folders = sorted(self.root.iterdir()) if self.root.is_dir() else []
        names = [path.name for path in folders if path.is_dir() and not path.name.startswith(".")]
        if not names:
            raise DatasetError(f"no classes in {self.root}: expected folders with 1.jpg, 1.png, …")
        return names

    def _examples(self, name: str) -> list[Example]:
        folder = self.root / name
        images = sorted(p for p in folder.glob("*.jpg") if not p.name.startswith("."))
        for image in images:
            if not image.with_suffix(".png").is_file():
                raise DatasetError(f"missing file {image.with_suffix('.png')}")
        if len(images) < 2:
            raise DatasetError(
                f"{folder} has {len(images)} pictures, expected at least 2: a support and a query"
            )
        return [Example(image, image.with_suffix(".png")) for image in images]


def _read_list(path: Path) -> list[str]:
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    names = [plain_name(line.strip(), f"{path}: the class") for line in lines if line.strip()]
    if not names:
        raise DatasetError(f"{path} is empty: expected one class a line")
    return names
