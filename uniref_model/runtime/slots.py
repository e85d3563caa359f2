"""State in arrays that are made once: handed out by the set, held while anyone needs them, and used again.

How many sets there are follows from how many are held at the same time, which is what a tracker keeps of its
objects; so after the first frames nothing is allocated for it any more, however long it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Arrays = dict[str, Any]
"""By name: numpy arrays, or a GPU's tensors that can be written to with `tensor[...] = other`."""


class Slot:
    """A set of arrays in use. Whatever refers to the arrays has to refer to their slot: when nothing does any
    more, they are written over."""

    __slots__ = ("_pool", "arrays")

    def __init__(self, pool: Pool, arrays: Arrays) -> None:
        self._pool, self.arrays = pool, arrays

    def __del__(self) -> None:
        self._pool.take_back(self.arrays)


class Pool:
    """Sets of equal arrays. make: makes a set; free: called with a set that is given up for good.

    Sets may come back from any thread, as the last reference to a slot may end in any.
    """

    def __init__(self, make: Callable[[], Arrays], free: Callable[[Arrays], None] | None = None) -> None:
        self._make, self._release = make, free
        self._spare: list[Arrays] = []
        self._closed = False
        self.made = 0
        """Sets there are, in use or not."""
        self.nbytes = 0
        """Bytes of all of them."""

    def copy_of(self, values: Mapping[str, Any]) -> Slot:
        """A slot that holds a copy of these values, one for every array."""
        try:
            arrays = self._spare.pop()  # in one step, so no two threads get the same
        except IndexError:
            arrays = self._make()
            self.made += 1
            self.nbytes += _bytes(arrays)
        slot = Slot(self, arrays)
        for name, array in arrays.items():
            array[...] = values[name]
        return slot

    def take_back(self, arrays: Arrays) -> None:
        """Called by a slot that nothing holds any more."""
        if self._closed:
            self._give_up(arrays)
        else:
            self._spare.append(arrays)

    def trim(self) -> None:
        """Give up the sets that are not in use."""
        while self._spare:
            self._give_up(self._spare.pop())

    def close(self) -> None:
        """Give up every set: now, or when it comes back."""
        self._closed = True
        self.trim()

    def _give_up(self, arrays: Arrays) -> None:
        self.made -= 1
        self.nbytes -= _bytes(arrays)
        if self._release is not None:
            self._release(arrays)


def _bytes(arrays: Arrays) -> int:
    return sum(int(array.nbytes) for array in arrays.values())
