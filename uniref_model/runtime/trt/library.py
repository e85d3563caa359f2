"""The TensorRT python module that is installed, whichever it is called."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import RuntimeUnavailable

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""TensorRT proper (Jetson, data-centre GPUs), then TensorRT for RTX (workstation GPUs), which has the same
interface."""

_RTX_LIBRARIES = ("libtensorrt_rtx.so", "libtensorrt_onnxparser_rtx.so")
_RTX_FOLDERS = ("tensorrt_rtx_libs", "onnxruntime_ep_nv_tensorrt_rtx")
"""Packages that carry the libraries themselves; the bindings alone do not."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Library:
    """The module, its name and version, and a logger made for it (TensorRT allows one for all its
    objects)."""

    module: Any
    name: str
    version: str
    logger: Any

    @property
    def strongly_typed(self) -> bool:
        """Whether the types in a graph decide (TensorRT 10 on); 8.6 may only choose among what it is
        allowed."""
        return hasattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") or not hasattr(
            self.module.BuilderFlag, "FP16"
        )


def load_library() -> Library:
    """Import TensorRT. Raises RuntimeUnavailable naming what was tried and what to install."""
    reasons = []
    for name in MODULES:
        try:
            if "rtx" in name:
                preload_rtx()
            module = importlib.import_module(name)
            return Library(module, name, str(module.__version__), _logger(module))
        except Exception as error:  # stubs and missing libraries fail in every way: ImportError, OSError, …
            reasons.append(f"{name}: {error}")
    raise RuntimeUnavailable(
        f"TensorRT is not installed ({'; '.join(reasons)}); on an RTX GPU: pip install "
        "'.[tensorrt-rtx]' from a checkout, on Jetson it comes with JetPack, else see NVIDIA's instructions"
    )


def preload_rtx() -> list[Path]:
    """Load TensorRT for RTX from the package that carries it; which files. Nothing where there is none.

    The bindings ask the system for `libtensorrt_rtx.so.1`. No search path leads into a Python package, but
    a library that is loaded already answers to that name, so nobody has to set LD_LIBRARY_PATH.
    """
    for package in _RTX_FOLDERS:
        found = importlib.util.find_spec(package)  # not imported: that would change the environment
        folders = [Path(path) for path in (found.submodule_search_locations or [])] if found else []
        for folder in folders:
            found_files = (_newest(folder, name) for name in _RTX_LIBRARIES)
            files = [file for file in found_files if file is not None]
            if len(files) == len(_RTX_LIBRARIES):
                for file in files:
                    ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)
                return files
    return []


def _newest(folder: Path, name: str) -> Path | None:
    def version(path: Path) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", path.name.removeprefix(name))]

    return max(folder.glob(f"{name}.*"), key=version, default=None)


def _logger(module: Any) -> Any:
    """TensorRT's messages in Python's log: errors and warnings as they are, the rest for debugging."""
    severity = module.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
    }

    class Logger(module.ILogger):
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            if level == logging.ERROR:
                self.errors = [*self.errors[-4:], message.strip()]
            _log.log(level, "%s", message)

    return Logger()
