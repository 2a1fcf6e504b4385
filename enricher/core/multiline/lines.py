"""The lines of a block by their number, and which of them may take part in an event of several lines.

A line that may is told by its first four bytes, for the whole block at once. Must never: run Python code per line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from enricher.core.timestamp_columns import gather

if TYPE_CHECKING:
    import numpy.typing as npt

    Flags = npt.NDArray[np.bool_]

HEAD_BYTES: Final = 4
_SLOT_BITS: Final = 8
_HEAD: Final = np.dtype("<u4")


class Lines:
    """The lines of a block, cut out only when asked for."""

    def __init__(self, data: bytes, starts: npt.NDArray[np.intp]) -> None:
        self.data = data
        self.starts = starts

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, at: int) -> bytes:
        at %= len(self)
        return self.data[self.starts[at] : self.starts[at + 1] - 1].removesuffix(b"\r")

    def is_blank(self, at: int) -> bool:
        """Whether a line is nothing but white space."""
        return not self[at].strip()

    def text_before(self, at: int) -> int:
        """The number of the last line before `at` that is not blank; -1 where there is none."""
        at -= 1
        while at >= 0 and self.is_blank(at):
            at -= 1
        return at

    def heads(self) -> npt.NDArray[np.uint32]:
        """The first four bytes of each line as one number, the first byte the lowest."""
        return np.frombuffer(gather(self.data, self.starts[:-1], HEAD_BYTES), _HEAD)


class HeadSet:
    """A set of four-byte line beginnings that costs the same whatever its size: one look-up in a table of 256."""

    def __init__(self, heads: set[bytes]) -> None:
        numbers = np.frombuffer(b"".join(sorted(heads)), _HEAD)
        self._factor, slots = next(
            (factor, slots)
            for factor in map(np.uint32, range(0x9E3779B1, 0xFFFFFFFF, 2))
            if len(set((slots := self._slots(numbers, factor)).tolist())) == len(numbers)
        )
        # An empty slot holds some beginning of another slot, so that nothing in it compares equal.
        self._table = np.full(1 << _SLOT_BITS, numbers[0], np.uint32)
        self._table[slots] = numbers

    def has(self, heads: npt.NDArray[np.uint32]) -> Flags:
        """Which of the beginnings are in the set."""
        slots = self._slots(heads, self._factor).astype(np.uint8)
        found: Flags = self._table.take(slots, mode="clip") == heads
        return found

    @staticmethod
    def _slots(heads: npt.NDArray[np.uint32], factor: np.uint32) -> npt.NDArray[np.uint32]:
        slots: npt.NDArray[np.uint32] = (heads * factor) >> np.uint32(32 - _SLOT_BITS)
        return slots
