"""What records begin with, up to their message: time, id, host, file and offset, of many events of a file at once.

All of it but the digits is the same in every record of a file, so that the heads of a chunk are a matrix of bytes, a
column a character, and cost one copy each. Never here: anything that depends on what an event says, but for its id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import numpy as np

from enricher.core.event_id import id_ends
from enricher.core.record_form import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    Matrix = npt.NDArray[np.uint8]

_FOURS: Final = np.frombuffer(b"".join(b"%04d" % number for number in range(10_000)), dtype=np.uint32)
"""Four digits as one item, by what they say: one division and one look gives four of them."""


class Heads:
    """Makes the heads of the records of one file."""

    def __init__(self, *, host: str, path: bytes, identity: str) -> None:
        place = b'","host.name":' + quoted(host)
        place += b',"log.file.path":' + quoted(path.decode("utf-8", "backslashreplace")) + b',"log.offset":'
        self._constants = b'{"@timestamp":"', b'","event.id":"' + identity.encode(), place, b',"message":"'

    def of(
        self, times: bytes, rows: npt.NDArray[np.intp], offsets: npt.NDArray[np.intp], events: Sequence[bytes]
    ) -> list[bytes]:
        """Heads of events that begin at `rows` among the lines that `times` has a line for, from their first bytes."""
        ids = id_ends(offsets, events)
        known = _matrix(times)
        if known is None:
            texts = times.split(b"\n")
            given = zip([texts[row] for row in rows.tolist()], _lines(ids), offsets.tolist(), strict=True)
            first, second, third, fourth = self._constants
            return [b"%b%b%b%b%b%d%b" % (first, time, second, one, third, at, fourth) for time, one, at in given]
        heads: list[bytes] = []
        for part, digits in numerals(offsets):
            heads += self._joined(known[rows[part], :-1], ids[part], digits)
        return heads

    def _joined(self, *varying: Matrix) -> list[bytes]:
        """The constants with these texts between them."""
        row, places = b"", []
        for constant, texts in zip(self._constants[:-1], varying, strict=True):
            row += constant
            places.append((len(row), len(row) + texts.shape[1]))
            row += bytes(texts.shape[1])
        row += self._constants[-1]
        # All constants at once: one piece after the other takes twice the time.
        heads = np.empty((len(varying[0]), len(row)), dtype=np.uint8)
        heads[:] = np.frombuffer(row, dtype=np.uint8)
        for (begin, end), texts in zip(places, varying, strict=True):
            heads[:, begin:end] = texts
        return _lines(heads)


def numerals(numbers: npt.NDArray[np.intp]) -> Iterator[tuple[slice, Matrix]]:
    """Numbers from 0 on as digits, for each run of neighbours with as many: few runs where numbers ascend."""
    most = len(str(numbers.max()))
    if most == len(str(numbers.min())):
        yield slice(0, len(numbers)), _digits(numbers, most)
        return
    widths = np.searchsorted(10 ** np.arange(1, most), numbers, side="right") + 1
    edges = np.flatnonzero(np.diff(widths)) + 1
    for first, end in zip([0, *edges.tolist()], [*edges.tolist(), len(numbers)], strict=True):
        yield slice(first, end), _digits(numbers[first:end], int(widths[first]))


def _digits(numbers: npt.NDArray[np.intp], width: int) -> Matrix:
    fours = np.empty((len(numbers), -(-width // 4)), dtype=np.uint32)
    for column in reversed(range(fours.shape[1])):
        numbers, last = np.divmod(numbers, 10_000)
        fours[:, column] = _FOURS[last]
    return fours.view(np.uint8)[:, -width:]


def _matrix(text: bytes) -> Matrix | None:
    """Lines that are all as long as each other, each with its newline; None where they are not."""
    width = text.find(b"\n") + 1
    if len(text) % width:
        return None
    lines = np.frombuffer(text, dtype=np.uint8).reshape(-1, width)
    is_even = bool((lines[:, -1] == ord("\n")).all()) and text.count(b"\n") == len(lines)
    return lines if is_even else None


def _lines(matrix: Matrix) -> list[bytes]:
    """The rows, none of which ends with NUL."""
    return cast("list[bytes]", matrix.view(f"S{matrix.shape[1]}").ravel().tolist())
