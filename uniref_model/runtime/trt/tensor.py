"""Numbers that stay on the GPU between engines."""

from __future__ import annotations

from types import EllipsisType
from typing import Any

import numpy as np

from .device import CudaDevice

Index = int | tuple[int, ...] | EllipsisType


class DeviceTensor:
    """A contiguous tensor in GPU memory; parts of it are views. Does not own the memory.

    Written to with `tensor[...] = other` or `tensor[row, place] = other`: from another tensor of the same
    type on the GPU itself, from anything else by an upload, converted. All copies are queued on the device's
    stream, in order with the engines. `numpy.asarray(tensor)` waits and brings it back as float32.
    """

    def __init__(self, device: CudaDevice, address: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._device, self.address, self.shape, self.dtype = device, address, shape, dtype

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __getitem__(self, index: Index) -> DeviceTensor:
        rows = () if index is Ellipsis else index if isinstance(index, tuple) else (index,)
        address, shape = self.address, self.shape
        for row in rows:
            if not 0 <= row < shape[0]:
                raise IndexError(f"row {row} of a tensor of shape {shape}")
            shape = shape[1:]
            address += row * int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
        return DeviceTensor(self._device, address, shape, self.dtype)

    def __setitem__(self, index: Index, value: Any) -> None:
        target = self[index]
        if isinstance(value, DeviceTensor) and value.dtype == self.dtype:
            _check(target.shape, value.shape)
            self._device.copy(target.address, value.address, target.nbytes)
            return
        array = np.ascontiguousarray(value, self.dtype)
        _check(target.shape, array.shape)
        self._device.upload(target.address, array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = np.empty(self.shape, self.dtype)
        self._device.download(array, self.address)
        self._device.wait()
        return array.astype(np.float32 if dtype is None else dtype, copy=False)


def _check(wanted: tuple[int, ...], found: tuple[int, ...]) -> None:
    if wanted != tuple(found):
        raise ValueError(f"a tensor of shape {wanted} cannot take one of shape {tuple(found)}")
