"""Memory of the process: how much it holds, and giving back what is free.

Freed memory stays with the C library and with ONNX Runtime's arena until they are asked; a node that is
deactivated or cleaned up asks.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

IDENTITY = (
    b'\x08\x07:9\n\x10\n\x01a\x12\x01b"\x08Identity\x12\x01gZ\x10\n\x01a\x12\x0b\n\t\x08\x01\x12\x05\n\x03'
    b"\x12\x01nb\x10\n\x01b\x12\x0b\n\t\x08\x01\x12\x05\n\x03\x12\x01nB\x04\n\x00\x10\r"
)
"""A model of one Identity node, float [n], "a" to "b": the smallest thing that can be run. ONNX Runtime
shrinks an arena only at the end of a run, and copies on a device only in one."""

_ARENA_LOCK = Lock()
_arena_is_shared = False  # ONNX Runtime allows one registration in a process


def resident_mb() -> float:
    """Resident memory of this process in MB (10^6 bytes); NaN where /proc does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def give_back_heap() -> None:
    """Return the free part of the C library's heap to the system. Does nothing without glibc."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return
    trim(0)


def share_arena(onnxruntime: Any) -> None:
    """Register one CPU arena for all sessions of the process, once."""
    global _arena_is_shared
    with _ARENA_LOCK:
        if not _arena_is_shared:
            memory = onnxruntime.OrtMemoryInfo(
                "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
            )
            onnxruntime.create_and_register_allocator(memory, None)
            _arena_is_shared = True


def shrink_arena(onnxruntime: Any) -> None:
    """Return the blocks of the shared arena that nothing uses. Safe while sessions run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.use_env_allocators", "1")
    session = onnxruntime.InferenceSession(IDENTITY, options, providers=["CPUExecutionProvider"])
    run = onnxruntime.RunOptions()
    run.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    session.run(None, {"a": np.zeros(1, np.float32)}, run)
