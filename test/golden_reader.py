"""Reads golden files: tensors of the authors' network on made-up weights (see golden/README.md)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


class Golden:
    """One .npz. Large tensors are stored as every s-th element of their C-order flattening."""

    def __init__(self, path: Path):
        self.path = Path(path)
        with np.load(self.path) as file:
            self.meta = json.loads(bytes(file["meta"]).decode())
            self._values, self._strides, self._shapes = {}, {}, {}
            for key in file.files:
                name, _, part = key.partition("|")
                if part == "shape":
                    self._shapes[name] = tuple(int(side) for side in file[key])
                elif part == "" or (part[0] == "s" and part[1:].isdigit()):
                    self._values[name] = file[key]
                    self._strides[name] = int(part[1:]) if part else 1
        del self._values["meta"]

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def names(self) -> list[str]:
        return sorted(self._values)

    def whole(self, name: str) -> np.ndarray:
        assert self._strides[name] == 1, f"{name} is stored in part"
        return self._values[name]

    def difference(self, name: str, found: np.ndarray) -> float:
        """Largest absolute difference over the golden's abs-max; infinities must be the same."""
        shape = self._shapes.get(name, self._values[name].shape)
        found = np.asarray(found)
        assert found.shape == shape, f"{name}: expected shape {shape}, found {found.shape}"
        found = found.reshape(-1)[:: self._strides[name]].astype(np.float64)
        wanted = self._values[name].reshape(-1).astype(np.float64)
        finite = np.isfinite(wanted)
        if not np.array_equal(found[~finite], wanted[~finite]):
            return float("inf")
        if not finite.any():
            return 0.0
        largest = np.abs(wanted[finite]).max()
        difference = np.abs(found[finite] - wanted[finite]).max()
        return float(difference / max(largest, 1e-30)) if np.isfinite(difference) else float("inf")
