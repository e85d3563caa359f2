"""Each contender lives in a process of its own, so that its memory is its own, and works only when asked.

The parent lets them take turns, a stretch of frames each: whatever else slows the machine meets all of them.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from uniref_model.runtime.memory import resident_mb

from . import contenders
from .scene import Scene


@dataclass(frozen=True)
class Stretch:
    """A stretch of frames: index of its first one, milliseconds of each (wall, and CPU over all threads), and
    memory (MB) after it."""

    first: int
    wall_ms: list[float]
    cpu_ms: list[float]
    memory_mb: float


class Worker:
    """A contender's process. Use with `with`. Its errors are raised here, with its traceback as text."""

    def __init__(self, key: str, size: tuple[int, int], device: str, threads: int) -> None:
        self.key, self.size = key, size
        # Threads that spin while they wait would disturb whoever's turn it is.
        environment = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(
                target=_serve, args=(theirs, key, size, device, threads), daemon=True
            )
            self._process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        theirs.close()

    def ready(self) -> dict[str, Any]:
        """Wait until it is built: {"seconds"}."""
        return self._answer()

    def start(self, objects: int) -> float:
        """A new video with so many objects; returns its memory in MB."""
        return self._ask("start", objects)

    def run(self, frames: int, seconds: float) -> Stretch:
        """Step so many frames, fewer when `seconds` are over (one at least)."""
        return self._ask("run", frames, seconds)

    def forward(self, frames: int) -> bool:
        """See `Contender.forward`."""
        return self._ask("forward", frames)

    def _ask(self, *request: Any) -> Any:
        self._pipe.send(request)
        return self._answer()

    def _answer(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"{self.key} died with status {self._process.exitcode}") from None
        if kind == "error":
            raise RuntimeError(f"{self.key}: {value}")
        return value

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe: Connection, key: str, size: tuple[int, int], device: str, threads: int) -> None:
    try:
        started = time.monotonic()
        contender = contenders.make(key, size, device, threads)
        pipe.send(("done", {"seconds": time.monotonic() - started}))
        player = _Player(contender, size, device)
        while True:
            name, *arguments = pipe.recv()
            pipe.send(("done", getattr(player, name)(*arguments)))
    except EOFError:
        return  # the parent is done
    except Exception:
        pipe.send(("error", traceback.format_exc()))


class _Player:
    def __init__(self, contender: contenders.Contender, size: tuple[int, int], device: str) -> None:
        self._contender, self._size, self._device = contender, size, device
        self._scene = Scene(size, 1)
        self._index = 0

    def start(self, objects: int) -> float:
        self._scene = Scene(self._size, objects)
        self._contender.start(self._scene.image(0), self._scene.labels(0), objects)
        self._index = 1
        gc.collect()
        return self._memory()

    def run(self, frames: int, seconds: float) -> Stretch:
        first, wall, cpu = self._index, [], []
        deadline = time.monotonic() + seconds
        for _ in range(frames):
            image = self._scene.image(self._index)
            began, began_cpu = time.perf_counter(), time.process_time()
            labels = self._contender.step(image)
            wall.append(1e3 * (time.perf_counter() - began))
            cpu.append(1e3 * (time.process_time() - began_cpu))
            if labels.shape != self._size:
                raise ValueError(f"labels are {labels.shape}, expected {self._size}")
            self._index += 1
            if time.monotonic() > deadline:
                break
        return Stretch(first, wall, cpu, self._memory())

    def forward(self, frames: int) -> bool:
        grown = self._contender.forward(frames)
        self._index += frames if grown else 0
        return grown

    def _memory(self) -> float:
        """MB: of the GPU where one is used, else resident in this process."""
        if self._device == "cuda":
            import torch

            return torch.cuda.memory_allocated() / 1e6
        return resident_mb()
