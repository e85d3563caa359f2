"""What generated clips look like: plain settings, read from a YAML file."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from ..limits import shown
from ..settings import check_ranges, load_settings

_RANGES = {
    **dict.fromkeys(("height", "width"), (32, 4096)),
    **dict.fromkeys(("expressions", "absent"), (0, 100)),
    "least_pixels": (1, 10_000),
    "least_spoken": (0, 1),
    "sources": (0, 1000),
}
_PAIRS = {
    **dict.fromkeys(("objects", "clutter"), (0, 1000)),
    **dict.fromkeys(("aspect", "size"), (0.02, 50)),
    "gap": (0.01, 1000),
    "step": (0, 10),
}
"""Of what is drawn between two numbers."""


@dataclass(frozen=True)
class ClipConfig:
    """What clips look like; see config/training/data.yaml for the meaning of each value."""

    height: int = 192
    width: int = 320
    objects: tuple[int, int] = (1, 5)
    clutter: tuple[int, int] = (0, 5)
    aspect: tuple[float, float] = (0.75, 1.35)
    size: tuple[float, float] = (0.15, 0.9)
    large_share: float = 0.4
    gap: tuple[float, float] = (0.3, 8.0)
    step: tuple[float, float] = (0.03, 0.25)
    twin_share: float = 0.55
    held_share: float = 0.25
    person_share: float = 0.5
    away_share: float = 0.08
    occluder_share: float = 0.25
    shake_share: float = 0.12
    scene_share: float = 0.0
    room_share: float = 0.0
    expressions: int = 4
    absent: int = 4
    least_pixels: int = 6
    least_spoken: float = 0.0025
    sources: dict[str, float] = field(
        default_factory=lambda: {
            "procedural": 0.5,
            "tuxpaint": 0.2,
            "furniture": 0.28,
            "gcompris": 0.02,
            "emoji": 0.04,
        }
    )

    def __post_init__(self) -> None:
        shares = dict.fromkeys((item.name for item in fields(self) if item.name.endswith("_share")), (0, 1))
        check_ranges(self, {**shares, **_RANGES})
        check_ranges(self, _PAIRS, pairs=True)
        if not any(self.sources.values()):
            raise ValueError(f"sources are {shown(self.sources)}, expected weights of which one is not 0")

    @classmethod
    def from_yaml(cls, path: Path | str) -> ClipConfig:
        """Read a file like config/training/data.yaml. Raises ValueError for a key that does not exist and a
        value out of range."""
        return load_settings(cls, path)
