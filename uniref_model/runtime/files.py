"""Finding an exported model and making sure its files are whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from .. import limits
from ..errors import ModelFileError
from .contract import ENCODE_TEXT, SEGMENT
from .spec import ModelSpec

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
"""Models that come with the package, one folder each."""

_LFS_POINTER = b"version https://git-lfs"


def graph_file(
    graph: str, size: tuple[int, int], precision: str = "fp32", attention: str = "grid_sample"
) -> str:
    """Name of a graph's file. precision: fp32, fp16 or bf16; attention: the form of deformable attention,
    grid_sample or gather (in `segment` alone). The text encoder's depends on none of them."""
    if graph == ENCODE_TEXT:
        return f"{graph}.onnx"
    kind = "" if precision == "fp32" else f".{precision}"
    form = f".{attention}" if attention != "grid_sample" and graph == SEGMENT else ""
    return f"{graph}_{size[0]}x{size[1]}{kind}{form}.onnx"


def shipped_models(folder: Path | None = None) -> list[str]:
    """Names of the models found beside the package."""
    return sorted(path.parent.name for path in (folder or WEIGHTS).glob("*/model.json"))


def find_model(model: str | Path) -> Path:
    """The folder of a shipped model's name, or of a path to a folder or a model.json. ModelFileError lists
    what exists."""
    path = Path(model)
    if path.name == "model.json" and path.is_file():
        return path.parent
    if (path / "model.json").is_file():
        return path
    named = WEIGHTS / str(model)
    if path.name == str(model) and (named / "model.json").is_file():
        return named
    known = ", ".join(shipped_models()) or "none"
    raise ModelFileError(
        f"no model {str(model)!r}: expected a folder with a model.json, or one of the models "
        f"installed ({known})"
    )


def choose_size(spec: ModelSpec, size: str | tuple[int, int] | None) -> tuple[int, int]:
    """(H, W) from "256x448" or a pair; the model's first size for None. ModelFileError lists the sizes there
    are."""
    if size is None:
        return spec.sizes[0]
    try:
        height, width = (int(v) for v in (size.lower().split("x") if isinstance(size, str) else size))
    except ValueError:
        height = width = -1
    if (height, width) not in spec.sizes:
        known = ", ".join(f"{h}x{w}" for h, w in spec.sizes)
        raise ModelFileError(f"model {spec.name!r} has no size {size!r}, it has {known} (height x width)")
    return height, width


def check_threads(threads: int | None) -> None:
    """Raise ValueError for less than one, LimitError for more than `limits.MAX_THREADS`."""
    if threads is None:
        return
    if threads < 1:
        raise ValueError(f"threads is {threads}, expected at least 1")
    if threads > limits.MAX_THREADS:
        raise limits.LimitError(f"threads is {threads}, expected at most {limits.MAX_THREADS}")


def verify_files(folder: Path, spec: ModelSpec, needed: Iterable[str]) -> None:
    """Check that every needed or listed file is present and has the sha256 of model.json. Raises
    ModelFileError."""
    for name in dict.fromkeys([*needed, *spec.sha256]):
        path = folder / name
        if not path.is_file():
            raise ModelFileError(f"model {spec.name!r} lacks the file {name} (looked in {folder})")
        if name not in spec.sha256:
            raise ModelFileError(f"{folder / 'model.json'}: sha256 does not list {name}, expected its digest")
        _verify(path, spec.sha256[name])


def _verify(path: Path, expected: str) -> None:
    found = sha256_of(path)
    if found == expected:
        return
    with path.open("rb") as stream:
        pointer = stream.read(len(_LFS_POINTER)) == _LFS_POINTER
    reason = "a Git LFS pointer: run 'git lfs pull'" if pointer else "truncated, damaged or replaced"
    raise ModelFileError(
        f"{path} is not the file its model.json describes ({reason}): "
        f"{path.stat().st_size} bytes with sha256 {found}, expected sha256 {expected}"
    )


def digests(graph: Path, spec: ModelSpec) -> dict[str, str]:
    """What an engine built from a graph's file depends on: the digests of the file and of the weights beside
    it."""
    weights = "weights.bin"
    return {
        "graph": sha256_of(graph),
        "weights": spec.sha256.get(weights) or sha256_of(graph.with_name(weights)),
    }


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
