"""`uniref doctor` and `uniref info`: what is here, what works, and why not."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import platform
import struct
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from ..errors import ModelFileError, SourceError, UniRefError
from ..limits import quoted
from ..outputs import show
from ..runtime import ModelSpec, available_runtimes, find_model, shipped_models
from ..runtime.files import verify_files
from ..video import VideoWriter, open_source
from . import console
from .options import INSTALL_TRAIN

_MOST_HEADER = 100_000_000  # bytes, as the library safetensors has it
_PACKAGES = {
    "numpy": "arrays",
    "opencv-python-headless": "images and video",
    "onnxruntime": "the CPU runtime",
    "openvino": "a faster CPU runtime, and Intel's GPUs and NPUs",
    "tokenizers": "prompts",
    "torch": "training, export and conversion only",
    "timm": "training only",
    "transformers": "training only",
    "pocketsphinx": "speech: the embedded engine, and the ears of all",
    "ctranslate2": "speech: engine whisper only",
    "vosk": "speech: engine vosk only",
}


_CURES = {
    "opencv-python-headless": "pip install opencv-python-headless",
    "onnxruntime": "pip install onnxruntime",
    "openvino": "pip install openvino (60 MB, 180 unpacked), which runtime auto takes where it is faster",
    "tokenizers": "pip install tokenizers",
    "torch": "from a checkout, pip install -e '.[train]', for training, export and .safetensors models",
    "timm": "from a checkout, pip install -e '.[train]'",
    "transformers": "from a checkout, pip install -e '.[train]'",
    "pocketsphinx": "pip install pocketsphinx, for speech",
    "ctranslate2": "pip install ctranslate2 huggingface_hub, for speech with engine whisper",
    "vosk": "pip install vosk, for speech with engine vosk",
}
"""What brings a package that is not installed."""

_TENSORRT = (
    "  on a Jetson: JetPack's python3-libnvinfer; on a data-centre GPU: pip install tensorrt-cu12 (or -cu13) "
    "with NVIDIA's driver; without an NVIDIA GPU nothing is missing"
)


def doctor() -> bool:
    """Print what is installed and what works; whether `uniref track` can run here."""
    table = Table(title=f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in ("what", "state", "for"):
        table.add_column(name)
    missing = []
    for name, purpose in _PACKAGES.items():
        state = _version(name)
        table.add_row(name, state, purpose)
        if state == "not installed":
            missing.append(name)
    there = importlib.util.find_spec("uniref_model.training") is not None
    purpose = f"training, evaluation, export: {INSTALL_TRAIN}"
    table.add_row("the laboratory", "installed" if there else "not installed", purpose)
    ros = os.environ.get("ROS_DISTRO") or ("found" if importlib.util.find_spec("rclpy") else "not found")
    table.add_row("ROS 2 (rclpy)", ros, "the node only")
    runtimes = available_runtimes()
    for name, state in runtimes.items():
        table.add_row(f"runtime {name}", state, "")
    problems = [f"runtime {n}: {s}" for n, s in runtimes.items() if s.startswith("unavailable")]
    works = len(problems) < len(runtimes)
    checks = [*_check_models(), ("writing and reading .mp4", _check_video())]
    for name, problem in checks:
        table.add_row(name, "works" if problem is None else f"fails: {problem}", "")
    console.output.print(table)
    for name in missing:
        console.output.print(f"{name} is missing: {_CURES[name]}", highlight=False)
    for problem in problems:
        console.output.print(problem, highlight=False)
        if problem.startswith("runtime tensorrt"):
            console.output.print(_TENSORRT, highlight=False)
    return works and all(problem is None for _, problem in checks)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        pass
    if package.startswith("opencv"):
        import cv2

        return cv2.__version__  # another wheel of OpenCV, or the system's
    return "not installed"


def _check_models() -> list[tuple[str, str | None]]:
    names = shipped_models()
    if not names:
        return [("models", "none is installed beside the package")]
    return [(f"model {name}", _check_model(name)) for name in names]


def _check_model(name: str) -> str | None:
    try:
        folder = find_model(name)
        verify_files(folder, ModelSpec.from_file(folder / "model.json"), [])
    except UniRefError as error:
        return str(error)
    return None


def _check_video() -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "try.mp4"
        try:
            writer = VideoWriter(path, 10)
            for level in (0, 100, 200):
                writer.write(np.full((64, 96, 3), level, np.uint8))
            writer.close()
            source = open_source(str(path))
            count = sum(1 for _ in source)
            source.close()
        except SourceError as error:
            return str(error)
    return None if count == 3 else f"wrote 3 frames, read {count}"


def info(what: str | None) -> None:
    """Print about a model, an .onnx graph or a .safetensors file; without one, list the models installed."""
    if what is None:
        for name in shipped_models():
            _model_info(name)
        if not shipped_models():
            raise ModelFileError("no model is installed beside the package")
    elif what.endswith(".onnx"):
        _graph_info(Path(what))
    elif what.endswith(".safetensors"):
        _safetensors_info(Path(what))
    else:
        _model_info(what)


def _model_info(model: str) -> None:
    folder = find_model(model)
    spec = ModelSpec.from_file(folder / "model.json")
    table = Table(title=f"{spec.name} in {folder}", show_header=False)
    rows = {
        "sizes (height x width)": ", ".join(f"{height}x{width}" for height, width in spec.sizes),
        "hidden width": spec.hidden,
        "words in a prompt, at most": f"{spec.max_words} word pieces",
        "score thresholds": f"{spec.mask_threshold} followed, {spec.language_threshold} by words alone, "
        f"{spec.view_threshold} by another picture",
        "clicks and boxes": "answered by the network" if spec.interactive else "cut out by colour (GrabCut)",
    }
    for path in sorted(folder.iterdir()):
        rows[path.name] = f"{path.stat().st_size / 1e6:.2f} MB"
    problem = _check_model(str(folder))
    rows["files"] = "whole" if problem is None else problem
    for name, value in rows.items():
        table.add_row(name, str(value))
    console.output.print(table)
    if problem is not None:
        raise ModelFileError(problem)


def _graph_info(path: Path) -> None:
    if not path.is_file():
        raise ModelFileError(f"no such file: {show(path)}")
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's exceptions share no base of their own
        raise ModelFileError(f"ONNX Runtime cannot load {show(path)}: {quoted(error, 400)}") from error
    table = Table(title=show(path))
    for name in ("", "name", "type", "shape"):
        table.add_column(name)
    for kind, nodes in (("input", session.get_inputs()), ("output", session.get_outputs())):
        for node in nodes:
            table.add_row(kind, show(node.name), node.type, show(str(node.shape)), style=None)
    console.output.print(table)


def _safetensors_info(path: Path) -> None:
    try:
        header = _safetensors_header(path)
        notes = dict(header.pop("__metadata__", {}))
        millions = sum(math.prod(map(int, entry["shape"])) for entry in header.values()) / 1e6
    except (OSError, struct.error, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ModelFileError(f"{show(path)} is not a safetensors file: {error}") from error
    table = Table(title=show(path), show_header=False)
    table.add_row("tensors", str(len(header)))
    table.add_row("numbers", f"{millions:.2f} million")
    for name, value in notes.items():
        table.add_row(show(str(name)), show(str(value)))
    console.output.print(table)


def _safetensors_header(path: Path) -> dict[str, Any]:
    """Raises OSError, struct.error or ValueError. What the file says of its length is not believed."""
    if not path.is_file():
        raise ModelFileError(f"no such file: {show(path)}")
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > min(_MOST_HEADER, path.stat().st_size - 8):
            raise ValueError(f"its header states {length} bytes")
        header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no mapping")
    return header
