"""What model.json says about an exported model, read and checked once: whoever has a `ModelSpec` need not
look again."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import ModelFileError, SourceError
from ..limits import MAX_PIXELS, MAX_SETTINGS_BYTES, LimitError, quoted
from ..outputs import write_whole
from ..reading import read_text
from .contract import VERSION, Graph, from_json
from .json_checks import Expected, Keys, flag, integer, listed, mapping, number, one_of, short_text, that

DEFAULT_BUCKETS = (1, 2, 4, 8)
"""Batch sizes with a static graph each; a batch is padded up to the next one, so rows up to there cost
nothing more."""

RESIZES = ("stretch", "shortest_edge")
UPSAMPLES = ("aligned", "bilinear", "by_task")
CONTOURS = ("network", "colour")
PRECISIONS = ("fp32", "fp16", "bf16")
ATTENTIONS = ("grid_sample", "gather")


def conventions(resize: str) -> dict[str, Any]:
    """How models want to be asked and read, as `ModelSpec` fields, by the `InputConfig.resize` that they were
    trained with: "shortest_edge" the authors', "stretch" ours."""
    if resize == "shortest_edge":
        return {"mask_upsample": "by_task", "interactive": False}
    return {"mask_upsample": "bilinear", "interactive": True}


@dataclass(frozen=True)
class ModelSpec:
    """What model.json says about an exported model.

    sizes: (height, width) pairs with graphs; the first is the default. resize: "stretch" (no padding mask in
        the graphs) or "shortest_edge" (the aspect is kept, with padding right and bottom; TorchRuntime only).
    mask_upsample: how quarter-size logits become model-size ones, "aligned" or "bilinear" (the authors' VOS
        and RVOS paths), or "by_task": as they do, bilinear for objects with words and aligned for others.
    mask_threshold, language_threshold, view_threshold: scores an object must exceed to count as seen, the
        second by words alone, the last by a mask of another picture.
    interactive: whether the model was trained to answer a click or a box given as a soft mask.
    contours: "network", or "colour" where masks are better off with their contours drawn to the image's
        colours.
    sha256: file name -> hex digest, verified on load. buckets: batch sizes to prepare. graphs: their ports,
        by graph. precision, attention: of the graphs that engines are built from, the best form first.
        exporter: what wrote the graphs. extra: what this version does not know.
    """

    name: str
    hidden: int
    max_words: int
    sizes: tuple[tuple[int, int], ...]
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    resize: str = "stretch"
    mask_upsample: str = "aligned"
    mask_threshold: float = 0.4
    language_threshold: float = 0.3
    view_threshold: float = 0.4
    interactive: bool = False
    contours: str = "network"
    buckets: tuple[int, ...] = DEFAULT_BUCKETS
    text: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    sha256: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    graphs: Mapping[str, Graph] = field(default_factory=lambda: MappingProxyType({}))
    precision: str = "fp32"
    attention: tuple[str, ...] = ATTENTIONS[:1]
    exporter: str = "unknown"
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def upsample_for(self, with_words: bool) -> str:
        """ "aligned" or "bilinear", for an object with words or without."""
        if self.mask_upsample == "by_task":
            return "bilinear" if with_words else "aligned"
        return self.mask_upsample

    @property
    def has_text(self) -> bool:
        """Whether a text encoder was exported with the model; without one it follows masks and clicks."""
        return self.text.get("encoder", "") is not None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "model.json") -> ModelSpec:
        """Build from model.json's content. Raises ModelFileError naming `where`, the first key that is
        missing or wrong, its value and what was expected."""
        check_version(values, where)
        top = Keys(values, where)
        top.take("version", integer(VERSION, VERSION))
        scores = Keys(top.take("score_thresholds", mapping, {}), where, "score_thresholds.")
        text = top.take("text", mapping, {})
        engines = Keys(top.take("engines", mapping, {}), where, "engines.")
        Keys(text, where, "text.").take("encoder", _encoder, None)
        return cls(
            name=top.take("name", short_text),
            hidden=top.take("hidden", integer(1, 1 << 16)),
            max_words=top.take("max_words", integer(1, 4096)),
            sizes=top.take("sizes", listed(_size)),
            mean=top.take("mean", listed(number(-1e6, 1e6), 3), cls.mean),
            std=top.take("std", listed(number(1e-6, 1e6), 3), cls.std),
            resize=top.take("resize", one_of(RESIZES), cls.resize),
            mask_upsample=top.take("mask_upsample", one_of(UPSAMPLES), cls.mask_upsample),
            mask_threshold=scores.take("mask", number(0, 1), cls.mask_threshold),
            language_threshold=scores.take("language", number(0, 1), cls.language_threshold),
            view_threshold=scores.take("view", number(0, 1), cls.view_threshold),
            interactive=top.take("interactive", flag, cls.interactive),
            contours=top.take("contours", one_of(CONTOURS), cls.contours),
            graphs=MappingProxyType(from_json(top.take("graphs", mapping), where)),
            buckets=tuple(sorted(set(top.take("buckets", listed(integer(1, 64)), cls.buckets)))),
            text=MappingProxyType(dict(text)),
            sha256=MappingProxyType(dict(top.take("sha256", _digests, {}))),
            precision=engines.take("precision", one_of(PRECISIONS), cls.precision),
            attention=engines.take("attention", listed(one_of(ATTENTIONS)), cls.attention),
            exporter=top.take("exporter", short_text, cls.exporter),
            extra=MappingProxyType(top.left),
        )

    @classmethod
    def from_file(cls, path: Path) -> ModelSpec:
        """Read model.json. Raises ModelFileError when it is absent, is not JSON, or see `from_dict`."""
        return cls.from_dict(read_json(path), str(path))


def read_json(path: Path) -> dict[str, Any]:
    """What a model.json holds, unchecked. Raises ModelFileError when it is absent or no JSON object."""
    try:
        values = json.loads(read_text(path, MAX_SETTINGS_BYTES))
    except FileNotFoundError as error:
        raise ModelFileError(f"no model.json at {path}") from error
    except (OSError, LimitError, SourceError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelFileError(f"{path} holds a {type(values).__name__}, expected an object")
    return values


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a model.json, a port a line. It appears whole or not at all. Raises SourceError."""
    ports: list[str] = []

    def aside(port: dict[str, Any]) -> str:
        ports.append(json.dumps(port))
        return f"port {len(ports) - 1}"

    graphs = {
        graph: {side: [aside(port) for port in listed_] for side, listed_ in sides.items()}
        for graph, sides in values["graphs"].items()
    }
    text = json.dumps(dict(values) | {"graphs": graphs}, indent=2)
    text = re.sub(r'"port (\d+)"', lambda found: ports[int(found[1])], text)
    write_whole(path, text + "\n")


def check_version(values: Mapping[str, Any], where: str) -> None:
    """Raise ModelFileError for a model.json of another version, with what to do about it."""
    older = values.get("graphs", 1)  # the number stood there, before the ports did
    version = values.get("version", older if isinstance(older, int) else VERSION)
    if version == VERSION:
        return
    cure = f"uniref renew {Path(where).parent}" if version == VERSION - 1 else "uniref export"
    raise ModelFileError(
        f"{where} is of version {version}, this package reads version {VERSION}: run '{cure}'"
    )


_encoder = that("a text or null", lambda value: value is None or isinstance(value, str))
_sides = listed(integer(32, MAX_PIXELS), 2)


def _size(value: Any) -> tuple[int, int]:
    size = _sides(value)
    if math.prod(size) > MAX_PIXELS:
        raise Expected(f"[height, width] of at most {MAX_PIXELS} pixels")
    return size


def _digests(value: Any) -> dict[str, str]:
    for name, digest in mapping(value).items():
        if name in ("", ".", "..") or not name.isprintable() or re.search(r"[/\\:]", name):
            raise Expected(f"plain file names, none such as {quoted(name)}")
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise Expected(f"64 hex digits for {name}")
    return value
