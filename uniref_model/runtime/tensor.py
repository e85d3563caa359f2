"""Numbers that stay on a device between graphs."""

from __future__ import annotations

from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Protocol

import numpy as np

from .loans import Places, size_of

Index = int | None | tuple[int, ...] | EllipsisType


class Device(Protocol):
    """Memory that numpy cannot reach. Copies may be queued: `wait` is until all are done."""

    name: str

    def allocate(self, size: int) -> int:
        """Address of so many bytes."""

    def free(self, address: int) -> None: ...

    def upload(self, address: int, array: np.ndarray) -> None: ...

    def download(self, array: np.ndarray, address: int) -> None: ...

    def copy(self, target: int, source: int, size: int) -> None: ...

    def wait(self) -> None: ...


class DeviceTensor:
    """A contiguous tensor in a device's memory; parts of it are views.

    owner: kept alive by the tensor and its views (see `loans`); whoever allocated the memory frees it.

    Written to with `tensor[...] = other` or `tensor[row, place] = other`: from another tensor of the same
    type on the device itself, from anything else by an upload, converted. All copies are queued in order with
    the graphs. `numpy.asarray(tensor)` waits and brings it back as float32.
    """

    def __init__(
        self, device: Device, address: int, shape: tuple[int, ...], dtype: np.dtype, owner: Any = None
    ) -> None:
        self.device, self.address, self.shape, self.dtype, self.owner = device, address, shape, dtype, owner

    @property
    def nbytes(self) -> int:
        return size_of(self.shape, self.dtype)

    def __getitem__(self, index: Index) -> DeviceTensor:
        if index is None:
            return DeviceTensor(self.device, self.address, (1, *self.shape), self.dtype, self.owner)
        rows = () if index is Ellipsis else index if isinstance(index, tuple) else (index,)
        address, shape = self.address, self.shape
        for row in rows:
            if not 0 <= row < shape[0]:
                raise IndexError(f"row {row} of a tensor of shape {shape}")
            shape = shape[1:]
            address += row * size_of(shape, self.dtype)
        return DeviceTensor(self.device, address, shape, self.dtype, self.owner)

    def __setitem__(self, index: Index, value: Any) -> None:
        target = self[index]
        if isinstance(value, DeviceTensor) and (value.dtype, value.device) == (self.dtype, self.device):
            _check(target.shape, value.shape)
            self.device.copy(target.address, value.address, target.nbytes)
            return
        array = np.ascontiguousarray(value, self.dtype)
        _check(target.shape, array.shape)
        self.device.upload(target.address, array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = np.empty(self.shape, self.dtype)
        self.device.download(array, self.address)
        self.device.wait()
        return array.astype(np.float32 if dtype is None else dtype, copy=False)


class _Loan:
    """Lives as long as any tensor that was cut from a block."""

    __slots__ = ("__weakref__",)


@dataclass(frozen=True)
class DeviceMemory:
    """A device's memory for `loans.Pool`; arrays are `DeviceTensor`s."""

    device: Device

    def allocate(self, size: int) -> int:
        return self.device.allocate(size)

    def free(self, block: int) -> None:
        self.device.free(block)

    def cut(self, block: int, places: Places) -> tuple[_Loan, list[DeviceTensor]]:
        loan = _Loan()
        return loan, [DeviceTensor(self.device, block + at, shape, kind, loan) for at, shape, kind in places]


def _check(wanted: tuple[int, ...], found: tuple[int, ...]) -> None:
    if wanted != tuple(found):
        raise ValueError(f"a tensor of shape {wanted} cannot take one of shape {tuple(found)}")
