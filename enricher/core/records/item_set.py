"""A set of items that grows by thousands at a time and takes 8 bytes for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ItemSet:
    """Sorted arrays, of which each is at least twice as long as the next: as many as the logarithm of their number."""

    def __init__(self) -> None:
        self._runs: list[NDArray[np.int64]] = []

    def add(self, items: NDArray[np.int64]) -> None:
        """Add items, in any order."""
        if not len(items):
            return
        new = np.sort(items)
        while self._runs and len(self._runs[-1]) < 2 * len(new):
            new = np.sort(np.concatenate((self._runs.pop(), new)), kind="stable")
        self._runs.append(new)

    def has(self, items: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of these are in it."""
        found = np.zeros(len(items), dtype=np.bool_)
        for run in self._runs:
            at = np.searchsorted(run, items)
            at[at == len(run)] = 0
            found |= run[at] == items
        return found
