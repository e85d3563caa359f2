"""Numbers every benchmark here reports: percentiles, memory, and the machine they were measured on."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime", "openvino", "torch")


def percentiles(milliseconds: Sequence[float] | np.ndarray) -> dict[str, float]:
    """p50, p95 and p99."""
    return {f"p{part}": round(float(np.percentile(milliseconds, part)), 3) for part in (50, 95, 99)}


def peak_mb() -> float:
    """Most memory this process ever held, MB (10^6 bytes); NaN where the system does not say."""
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def machine() -> dict[str, Any]:
    """CPU, cores this process may use, versions, and how busy the machine was before the measurement."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return {
        "cpu": cpu_name(),
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": versions(PACKAGES),
        "load before": round(load, 2),
        "busy": load > 0.5 * cores,
    }


def cpu_name() -> str:
    """As the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
