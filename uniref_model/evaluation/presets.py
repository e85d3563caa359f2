"""What each benchmark asks for: reader, protocol, score threshold, image size. Values in config/eval/*.yaml.

Thresholds and sizes are those of the released UniRef configs (video tasks 480/1333, image tasks 800/1333).
They apply to the authors' protocol; the tracker resizes to its exported model's size and takes the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..configs import config_files
from ..datasets.errors import DatasetError
from ..datasets.names import inside
from ..limits import quoted
from ..settings import build, read_settings

PROTOCOLS = ("vos", "rvos", "refdavis", "ris")
READERS = ("davis", "davis16", "youtube_vos", "lvos", "ref_youtube_vos", "ref_davis", "refcoco")
SCORINGS = ("davis", "davis_words", "youtube_vos", "lvos", "ref_youtube_vos", "ref_davis", "ris")
GIVEN = ("mask", "click", "box")


@dataclass(frozen=True)
class EvalPreset:
    """One benchmark. short_side, max_side: pixels of the authors' resize. threshold: a score must exceed it
    for its mask to count. meta: name of the meta file; name, split_by: REFER's data set and split;
    seen_categories: YouTube-VOS's; given: what a vos protocol tells of an object in its first frame."""

    id: str
    reader: str
    protocol: str
    scoring: str
    split: str
    threshold: float
    short_side: int = 480
    max_side: int = 1333
    meta: str = "meta.json"
    name: str = ""
    split_by: str = ""
    seen_categories: tuple[str, ...] = ()
    submission_folder: str = ""
    given: str = "mask"

    def __post_init__(self) -> None:
        allowed = {"reader": READERS, "protocol": PROTOCOLS, "scoring": SCORINGS, "given": GIVEN}
        for key, choices in allowed.items():
            if getattr(self, key) not in choices:
                raise ValueError(
                    f"{self.id}: {key} is {quoted(getattr(self, key))}, expected one of {', '.join(choices)}"
                )
        if self.submission_folder:
            inside(Path(), self.submission_folder, f"{self.id}: submission_folder")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"{self.id}: threshold is {self.threshold}, expected 0 to 1")
        if not 0 < self.short_side <= self.max_side:
            raise ValueError(
                f"{self.id}: short_side {self.short_side} and max_side {self.max_side} do not fit"
            )


def preset_names() -> list[str]:
    """Benchmarks with a preset."""
    return sorted(config_files("eval"))


def load_preset(name: str, **changes: object) -> EvalPreset:
    """The preset `name`, or a YAML file's, with `changes` that are not None. Raises DatasetError for an
    unknown name or key, and for a value of another type or out of range."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else config_files("eval").get(name)
    if path is None or not path.exists():
        raise DatasetError(f"no benchmark {name!r}, expected one of {', '.join(preset_names()) or 'none'}")
    try:
        values = read_settings(path)
    except ValueError as error:
        raise DatasetError(str(error)) from error
    if "id" in values:
        raise DatasetError(f"{path}: unknown setting 'id': the file's name is the preset's")
    values |= {key: value for key, value in changes.items() if value is not None}
    try:
        return build(EvalPreset, {**values, "id": path.stem})
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error
