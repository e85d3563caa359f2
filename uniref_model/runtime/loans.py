"""State in arrays that are made once: lent, and used again when nobody has them any more.

A loan is a set of arrays cut from one block of memory. The arrays own it: they, and every view of them, keep
its owner alive, and with the last of them the block comes back by itself. So nobody has to say when they are
done, and nothing is written over that somebody can still see. How many blocks there are follows from how many
are lent at the same time, which is what a tracker keeps of its objects; so after the first frames nothing is
allocated for it any more, however long it runs.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from threading import RLock
from typing import Any, Protocol

import numpy as np

ALIGNMENT = 64

Layout = tuple[tuple[tuple[int, ...], np.dtype], ...]
"""Shape and type of each array of a set."""

Places = Sequence[tuple[int, tuple[int, ...], np.dtype]]
"""The same, each with its offset in a block."""


def size_of(shape: Sequence[int], dtype: np.dtype) -> int:
    """Bytes of an array."""
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


class Memory(Protocol):
    """Where blocks are."""

    def allocate(self, size: int) -> Any:
        """A block of so many bytes."""

    def free(self, block: Any) -> None:
        """Give a block up. Nothing is lent from it."""

    def cut(self, block: Any, places: Places) -> tuple[Any, list[Any]]:
        """Arrays at (offset, shape, type) of a block, and their owner: a new object that can be referred to
        weakly and lives as long as any of them. They are written to with `array[...] = other`."""


class HostMemory:
    """The process's own memory; arrays are numpy's."""

    def allocate(self, size: int) -> np.ndarray:
        block = np.empty(size + ALIGNMENT, np.uint8)
        start = -block.ctypes.data % ALIGNMENT
        return block[start : start + size]

    def free(self, block: np.ndarray) -> None:
        """Nothing: it goes with its last reference."""

    def cut(self, block: Any, places: Places) -> tuple[Any, list[np.ndarray]]:
        # Not an array: numpy lets a view of a view refer to the first of them alone.
        owner: Any = (ctypes.c_byte * len(block)).from_buffer(block)
        return owner, [np.ndarray(shape, kind, owner, offset) for offset, shape, kind in places]


HOST = HostMemory()


class Pool:
    """Lends sets of arrays of one layout. Safe between threads: the last of a loan may end in any."""

    def __init__(self, memory: Memory, layout: Layout) -> None:
        self._memory, self._size = memory, 0
        self._places: list[tuple[int, tuple[int, ...], np.dtype]] = []
        for shape, kind in layout:
            self._places.append((self._size, shape, kind))
            self._size += -(-size_of(shape, kind) // ALIGNMENT) * ALIGNMENT
        self._set_bytes = sum(size_of(shape, kind) for shape, kind in layout)
        self._spare: list[Any] = []
        self._closed = False
        self._lock = RLock()  # a loan may end inside any of these methods, by the garbage collector
        self.made = 0
        """Sets there are, lent or not."""

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return self.made * self._set_bytes

    def lend(self, values: Sequence[Any]) -> list[Any]:
        """Arrays that hold copies of these values, for as long as anybody has any of them."""
        with self._lock:
            if self._spare:
                block = self._spare.pop()
            else:
                block = self._memory.allocate(self._size)
                self.made += 1
        owner, arrays = self._memory.cut(block, self._places)
        weakref.finalize(owner, self._take_back, block).atexit = False
        for array, value in zip(arrays, values, strict=True):
            array[...] = value
        return arrays

    def trim(self) -> None:
        """Give up the blocks that are not lent."""
        with self._lock:
            while self._spare:
                self._give_up(self._spare.pop())

    def close(self) -> None:
        """Give up every block: now, or when it comes back."""
        with self._lock:
            self._closed = True
            self.trim()

    def _take_back(self, block: Any) -> None:
        with self._lock:
            if self._closed:
                self._give_up(block)
            else:
                self._spare.append(block)

    def _give_up(self, block: Any) -> None:
        self.made -= 1
        self._memory.free(block)
