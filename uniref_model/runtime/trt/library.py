"""The TensorRT python module that is installed, whichever it is called."""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from typing import Any

from ...errors import RuntimeUnavailable

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""TensorRT proper (10 or 11), then TensorRT for RTX, which has the same interface."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Library:
    """The module, its name and version, and a logger made for it (TensorRT allows one for all its
    objects)."""

    module: Any
    name: str
    version: str
    logger: Any


def load_library() -> Library:
    """Import TensorRT. Raises RuntimeUnavailable naming what was tried."""
    reasons = []
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except (
            ImportError,
            OSError,
            RuntimeError,
        ) as error:  # stubs and missing libraries fail in all these ways
            reasons.append(f"{name}: {error}")
            continue
        return Library(module, name, str(module.__version__), _logger(module))
    raise RuntimeUnavailable(f"TensorRT is not installed ({'; '.join(reasons)})")


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

        def log(self, severity: Any, message: str) -> None:
            _log.log(levels.get(severity, logging.DEBUG), "%s", message)

    return Logger()
