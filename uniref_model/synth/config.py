"""What generated clips look like: plain settings, read from a YAML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..settings import load_settings


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

    @classmethod
    def from_yaml(cls, path: Path | str) -> ClipConfig:
        """Read a file like config/training/data.yaml. Raises ValueError for a key that does not exist."""
        return load_settings(cls, path)
